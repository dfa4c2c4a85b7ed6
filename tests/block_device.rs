//! `--force`: the program overwrites block devices, in a virtual machine that has some to lose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use testkit::attempts::Attempts;
use testkit::guest::Guest;
use testkit::interposer::interposer;
use testkit::machine::{Firmware, Machine};
use testkit::nix::copy_libraries;
use testkit::system::System;
use testkit::{imagegen, text, tool};

const MIB: usize = 1 << 20;
/// What is on the disks before.
const OLD: u8 = 0xff;
/// The sizes of the disks vda, vdb and so on, in MiB.
const DISKS: [usize; 7] = [80, 32, 64, 1, 16, 32, 1];

#[test]
fn devices_are_overwritten_with_what_files_would_hold() {
    let directory = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| directory.path().join(name);
    let system = System::new();
    let initrd = at("initrd");
    make_initrd(&initrd, &at("tree"), &system);
    let disks: Vec<PathBuf> = (0..DISKS.len()).map(|i| at(&format!("disk-{i}"))).collect();
    for (disk, size) in disks.iter().zip(DISKS) {
        fs::write(disk, vec![OLD; size * MIB]).unwrap();
    }
    // The one that the machine mounts.
    tool(&["mkfs.ext4", "-q", "-F", text(&disks[4])]);
    let mounted = fs::read(&disks[4]).unwrap();

    let guest = Guest::get();
    let kernel = guest.part("kernel");
    let borrowed: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    let console = Machine::start_writing(&Firmware::Kernel(&kernel, &initrd), &borrowed).until_off();
    let said = Attempts::read(&console);

    assert!(said.of("unforced", 1).contains("all on it would be lost; give --force and --format raw"));
    assert!(said.of("as-qcow2", 1).contains("takes no qcow2 image; give --format raw"));
    let too_small = said.of("too-small", 1);
    assert!(too_small.contains("`/dev/vdd` is too small: it has 1.0 MiB (1048576 bytes), and the image"));
    assert!(said.of("mounted", 1).contains("cannot open the block device `/dev/vde`; unmount it"));
    assert_eq!(fs::read(&disks[3]).unwrap(), vec![OLD; MIB], "nothing is written where it does not fit");

    let root = ["--store-root", text(system.store.root.path()), "--format", "raw", "-q"];
    let registration = ["--registration", text(&system.registration)];
    let boot_disk = made(
        &[&["boot-disk", "--loader=systemd-boot", "--toplevel", &system.toplevels[0]], &root[..]].concat(),
        &at("boot"),
    );
    let store_image = made(&[&["store-image"], &registration[..], &root].concat(), &at("store"));
    let with_store = ["root-disk", "--with-store", "--additional-space=8M"];
    let root_disk = made(&[&with_store[..], &registration, &root].concat(), &at("root"));

    assert!(said.of("boot-disk", 0).contains("before the device's; `sgdisk --move-second-header"));
    assert!(tool(&["sha256sum", text(&at("store"))]).starts_with(said.of("digest", 0).trim()));
    check(&disks[0], &boot_disk, &vec![OLD; 80 * MIB]);
    said.of("store-image", 0);
    check(&disks[1], &store_image, &vec![OLD; 32 * MIB]);
    said.of("root-disk", 0);
    check(&disks[2], &root_disk, &vec![OLD; 64 * MIB]);
    said.of("disk-create", 0);
    // Rounded up to a sector.
    check(&disks[4], &vec![0; 10_000_384], &mounted);

    assert!(!said.of("fault-early", 1).contains("overwritten"));
    let fault = said.of("fault-late", 1);
    assert!(fault.contains("Input/output error"), "{fault}");
    assert!(fault.contains("; `/dev/vdf` is partly overwritten now"), "{fault}");
    // As a shell tells of SIGTERM, and in its words.
    assert_eq!(
        said.of("signal", 128 + 15),
        "error: stopped by SIGTERM; `/dev/vdf` is partly overwritten now\nTerminated\n"
    );
    // sgdisk finds both tables, where they are and where it is told to move the second to.
    tool(&["sgdisk", "--move-second-header", text(&disks[0])]);
    assert!(tool(&["sgdisk", "--verify", text(&disks[0])]).contains("No problems found"));
    tool(&["e2fsck", "-fn", text(&disks[1])]);
    tool(&["e2fsck", "-fn", text(&disks[2])]);
}

/// Makes an image as a file, and gives its bytes.
fn made(arguments: &[&str], file: &Path) -> Vec<u8> {
    let output = imagegen!().args(arguments).arg("-o").arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(file).unwrap()
}

/// The image is on the disk, and what was behind it still is.
fn check(disk: &Path, image: &[u8], before: &[u8]) {
    let found = fs::read(disk).unwrap();
    assert_eq!(found.len(), before.len());
    let differs = found.iter().zip(image).position(|(found, expected)| found != expected);
    assert_eq!(differs, None, "{}", disk.display());
    assert!(image.len() < found.len() && found[image.len()..] == before[image.len()..], "{}", disk.display());
}

/// The guest's initrd with another init, the program under test, and a store to make images from.
fn make_initrd(initrd: &Path, tree: &Path, system: &System) {
    for directory in ["bin", "inputs", "lib", "proc", "sys"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    symlink("lib", tree.join("lib64")).unwrap();
    let program = tree.join("bin/nix-imagegen");
    // Without what a debugger needs it is a tenth of the size.
    tool(&["strip", "-o", text(&program), env!("CARGO_BIN_EXE_nix-imagegen")]);
    copy_libraries(&program, &tree.join("lib"));
    fs::copy(interposer(env!("CARGO_TARGET_TMPDIR")), tree.join("lib/interpose.so")).unwrap();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/block_device/init"), tree.join("init")).unwrap();
    tool(&["cp", "-a", text(&system.store.root.path().join("nix")), text(&tree.join("inputs"))]);
    fs::copy(&system.registration, tree.join("inputs/registration")).unwrap();
    fs::write(tree.join("inputs/toplevel"), &system.toplevels[0]).unwrap();

    Guest::get().initrd_with(tree, initrd);
}
