//! Store images that a guest's kernel mounts to write to, judged by e2fsck, debugfs and `verify` afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::assert::OutputAssertExt;

use testkit::guest::Guest;
use testkit::machine::{Firmware, Machine};
use testkit::store::Store;
use testkit::{imagegen, run, text, tool};

/// What the images are made with, besides room.
const KINDS: [&[&str]; 3] = [&["--journal"], &[], &["--journal", "--optimise"]];

#[test]
fn a_guest_writes_and_what_was_there_stays() {
    let directory = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| directory.path().join(name);
    let store = Store::awkward();
    let registration = store.register();
    let disks: Vec<PathBuf> = (0..KINDS.len()).map(|i| at(&format!("disk-{i}"))).collect();
    for (disk, kind) in disks.iter().zip(KINDS) {
        let mut command = imagegen!();
        command.args(["store-image", "--store-root", text(store.root.path()), "-o", text(disk)]);
        command.args(["--registration", text(&registration), "--format", "raw", "--additional-space", "64M"]);
        command.args(kind).assert().success();
    }
    fs::create_dir(at("tree")).unwrap();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest_writes/init"), at("tree/init")).unwrap();
    let guest = Guest::get();
    guest.initrd_with(&at("tree"), &at("initrd"));

    let (kernel, initrd) = (guest.part("kernel"), at("initrd"));
    let borrowed: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    let said = Machine::start_writing(&Firmware::Kernel(&kernel, &initrd), &borrowed).until_off();
    assert!(said.lines().any(|line| line == "GUEST-WROTE-EVERYTHING"), "{said}");
    assert!(!said.contains("EXT4-fs error") && !said.contains("EXT4-fs warning"), "{said}");

    fs::write(at("large"), vec![b'x'; 20 << 20]).unwrap();
    let digest = &tool(&["sha256sum", text(&at("large"))])[..64];
    for (disk, device) in disks.iter().zip(["vda", "vdb", "vdc"]) {
        assert!(said.contains(&format!("{device} has {digest}")), "{said}");
        assert!(said.contains(&format!("{device} was mounted rw,")), "{said}");
        tool(&["e2fsck", "-fn", text(disk)]);
        let debugfs = |request: &str| run(&["debugfs", "-R", request, text(disk)]).stdout;
        assert!(debugfs("cat /written/large") == fs::read(at("large")).unwrap());
        let listed = String::from_utf8(debugfs("ls -p /written/many")).unwrap();
        assert_eq!(listed.matches("a-name-that-takes-some-room-").count(), 1500);
        assert!(debugfs("cat /written/linked") == fs::read(store.physical(0).join("size-4097")).unwrap());

        let output =
            imagegen!().args(["verify", text(disk), "--registration", text(&registration)]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains("3 right, 0 wrong, 0 missing, 1 extra"), "{stderr}");

        // The size can still be changed, by the usual tool; it wants a check since the last mount.
        tool(&["e2fsck", "-fp", text(disk)]);
        tool(&["truncate", "-s", "300M", text(disk)]);
        tool(&["resize2fs", text(disk)]);
        tool(&["e2fsck", "-fn", text(disk)]);
        let output =
            imagegen!().args(["verify", text(disk), "--registration", text(&registration)]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains("3 right, 0 wrong, 0 missing, 1 extra"), "{stderr}");
    }
}
