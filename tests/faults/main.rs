//! Every call to the system that concerns a file goes wrong in turn, and the program is killed at each: the target is
//! then the old file or the whole new one, and nothing else is left. tests/faults/interpose.c makes the calls fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod case;
use case::{Case, OLD, Tally};
use testkit::random::Random;
use testkit::run;

/// What the system may answer, and where it may end the program.
const KINDS: [&str; 7] = ["EIO", "ENOSPC", "EINTR", "short", "kill", "killed", "term"];

fn show(what: &str, tally: &Tally) {
    println!("{what}: {tally:?}");
}

#[test]
fn a_new_store_image() {
    let tally = Case::store_image(None, &["--format", "raw"]).inject(&KINDS);
    show("store-image, raw, new", &tally);
    assert!(tally.failed > 30 && tally.killed > 30, "{tally:?}");
    assert_eq!(tally.left_hidden, 0, "a new file has no hidden name on the way");
}

#[test]
fn a_store_image_in_the_place_of_another_file() {
    let tally = Case::store_image(Some(OLD), &[]).inject(&KINDS);
    show("store-image, qcow2, replacing", &tally);
    assert!(tally.failed > 30 && tally.killed > 30, "{tally:?}");
}

#[test]
fn store_images_that_share_blocks() {
    for format in ["raw", "qcow2"] {
        let tally = Case::sharing_store_image(&["--format", format]).inject(&KINDS);
        show(&format!("store-image, {format}, sharing"), &tally);
        assert!(tally.failed > 30 && tally.killed > 30 && tally.not_shared > 3, "{tally:?}");
    }
}

#[test]
fn a_boot_disk_and_its_variables() {
    let tally = Case::boot_disk().inject(&["EIO", "ENOSPC", "EINTR", "short", "kill", "term"]);
    show("boot-disk, replacing two files", &tally);
    assert!(tally.failed > 30 && tally.killed > 30, "{tally:?}");
}

#[test]
fn disks_and_variables() {
    for (what, case) in [("disk create", Case::overlay()), ("efi-vars set", Case::variables())] {
        let tally = case.inject(&KINDS);
        show(what, &tally);
        assert!(tally.failed > 5 && tally.killed > 5, "{tally:?}");
    }
}

#[test]
fn what_a_machine_needs() {
    // Whether a file is there is asked in many places, and told among other problems; so no errors here but EINTR.
    let tally = Case::machine().inject(&["EINTR", "short", "kill", "killed", "term"]);
    show("run --print", &tally);
    assert!(tally.done > 20 && tally.killed > 20, "{tally:?}");
}

#[test]
fn kills_at_any_time() {
    let mut random = Random::new(7);
    for (what, case, runs) in [
        ("store-image killed at random", Case::store_image(Some(OLD), &[]), 250),
        ("boot-disk killed at random", Case::boot_disk(), 150),
        ("efi-vars set killed at random", Case::variables(), 100),
    ] {
        let tally = case.kill_at_random(runs, &mut random);
        show(what, &tally);
        assert_eq!(tally.runs, runs);
        assert!(tally.killed > 0, "{tally:?}");
    }
}

#[test]
fn a_root_disk() {
    let tally = Case::root_disk().inject(&KINDS);
    show("root-disk, replacing", &tally);
    assert!(tally.failed > 30 && tally.killed > 30, "{tally:?}");
}

#[test]
fn a_disk_that_fills_up() {
    // Where a user may not have a namespace, nor root mount in one, files are limited in size instead.
    let may_mount =
        run(&["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "t", "/mnt"]);
    let may_mount = may_mount.status.success();
    for (what, case) in [
        ("store-image, raw", Case::store_image(None, &["--format", "raw"])),
        ("store-image, qcow2", Case::store_image(Some(OLD), &[])),
        ("store-image, compressed", Case::store_image(Some(OLD), &["--compress=zlib"])),
        ("root-disk", Case::root_disk()),
        ("boot-disk", Case::boot_disk()),
    ] {
        let mut tally = Tally::default();
        // From nothing to more than enough.
        for kib in [8, 12, 24, 64, 68, 100, 152, 200, 300, 400, 500, 1000, 1500, 1 << 20] {
            if may_mount {
                case.fill_file_system(kib, &mut tally);
            }
            case.limit_file_size(kib, &mut tally);
        }
        let how = if may_mount { "full file systems and limited file sizes" } else { "limited file sizes" };
        show(&format!("{what}, {how}"), &tally);
        assert!(tally.failed > 3 && tally.done > 0 && tally.killed == 0, "{tally:?}");
    }
}
