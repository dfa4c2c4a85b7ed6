//! Root disks that a guest makes larger, before its file system is mounted and afterwards, judged by e2fsprogs, `verify` and
//! `inspect`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::assert::OutputAssertExt;

use testkit::guest::Guest;
use testkit::machine::{Firmware, Machine};
use testkit::store::Store;
use testkit::{imagegen, run, text, tool};

const MIB: u64 = 1 << 20;

/// A field of `dumpe2fs -h`; nothing if there is no such line.
fn field(disk: &Path, name: &str) -> String {
    let shown = tool(&["dumpe2fs", "-h", text(disk)]);
    let line = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

fn number(disk: &Path, name: &str) -> u64 {
    field(disk, name).parse().unwrap_or_else(|_| panic!("{name}"))
}

fn root_disk(store: &Store, registration: &Path, disk: &Path, more: &[&str]) {
    let mut command = imagegen!();
    command.args(["root-disk", "--store-root", text(store.root.path()), "-o", text(disk)]);
    command.args(["--registration", text(registration), "--with-store", "--format", "raw"]);
    command.args(more).assert().success();
}

fn grow_file(disk: &Path, size: u64) {
    fs::OpenOptions::new().write(true).open(disk).unwrap().set_len(size).unwrap();
}

fn empty_file(disk: &Path, size: u64) {
    fs::File::create(disk).unwrap().set_len(size).unwrap();
}

/// What every reader says of a disk that has grown to this size, the store in it included.
fn judge(disk: &Path, registration: &Path, size: u64, extra: u32) {
    tool(&["e2fsck", "-fn", text(disk)]);
    assert_eq!(number(disk, "Block count") * 4096, size);
    let output =
        imagegen!().args(["verify", text(disk), "--registration", text(registration)]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains(&format!("3 right, 0 wrong, 0 missing, {extra} extra")), "{stderr}");
    let inspected =
        String::from_utf8(imagegen!().args(["inspect", text(disk)]).output().unwrap().stdout).unwrap();
    assert!(inspected.contains("ext4") && !inspected.contains("damaged"), "{inspected}");
}

#[test]
fn a_guest_makes_its_root_disk_larger() {
    let directory = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| directory.path().join(name);
    let store = Store::awkward();
    let registration = store.register();
    let disks: Vec<PathBuf> = ["before", "mounted", "meta_bg"].iter().map(|name| at(name)).collect();
    for disk in &disks[..2] {
        root_disk(&store, &registration, disk, &["--size", "600M"]);
    }
    // One that Linux can only grow by turning it into meta_bg: nothing is kept for more descriptors.
    empty_file(&disks[2], 600 * MIB);
    let tree = store.directory();
    let features = ["-O", "^resize_inode", "-d", text(&tree)];
    tool(&[&["mke2fs", "-q", "-t", "ext4", "-b", "4096"], &features[..], &[text(&disks[2])]].concat());
    let size = 100 << 30;
    for disk in &disks {
        grow_file(disk, size);
    }

    let tools = at("tree/e2fsprogs");
    fs::create_dir_all(&tools).unwrap();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest_grows/init"), at("tree/init")).unwrap();
    for name in ["e2fsck", "resize2fs"] {
        let program = Path::new("/sbin").join(name);
        fs::copy(&program, tools.join(name)).unwrap();
        testkit::nix::copy_libraries(&program, &tools);
    }
    let guest = Guest::get();
    guest.initrd_with(&at("tree"), &at("initrd"));
    let (kernel, initrd) = (guest.part("kernel"), at("initrd"));
    let borrowed: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    let said = Machine::start_writing(&Firmware::Kernel(&kernel, &initrd), &borrowed).until_off();
    assert!(said.lines().any(|line| line == "GUEST-GREW-EVERYTHING"), "{said}");
    assert!(!said.contains("EXT4-fs error") && !said.contains("EXT4-fs warning"), "{said}");

    for disk in &disks {
        // In a file system without `/nix/store` the root's other entries count as paths that nobody registered.
        judge(disk, &registration, size, if disk == &disks[2] { 10 } else { 0 });
        let large = run(&["debugfs", "-R", "cat /written/large", text(disk)]).stdout;
        assert!(large == vec![b'x'; 20 << 20]);
    }
    for disk in &disks[..2] {
        let features = field(disk, "Filesystem features");
        assert!(features.contains("resize_inode") && !features.contains("meta_bg"), "{features}");
        assert_eq!(number(disk, "Inode count") * 16384, size);
    }
    // What the readers had to read was there.
    assert!(field(&disks[2], "Filesystem features").contains("meta_bg"), "{said}");
}

#[test]
fn as_much_is_kept_for_growth_as_mke2fs_keeps() {
    let directory = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| directory.path().join(name);
    let store = Store::awkward();
    let registration = store.register();
    let (disk, other) = (at("disk"), at("other"));
    for more in [
        &["--size", "100M"][..],
        // The last group would have room for its superblock and descriptors, but not for what is kept behind them.
        &["--size", "134234112"],
        &["--size", "600M"],
        &["--size", "3G"],
        &["--size", "100G"],
        &["--additional-space", "0"],
        &["--additional-space", "1G"],
    ] {
        root_disk(&store, &registration, &disk, more);
        tool(&["e2fsck", "-fn", text(&disk)]);
        let blocks = number(&disk, "Block count");
        assert_eq!(blocks * 4096, fs::metadata(&disk).unwrap().len(), "{more:?}");
        empty_file(&other, blocks * 4096);
        tool(&["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-O", "^64bit", text(&other)]);
        for name in ["Reserved GDT blocks", "Blocks per group"] {
            assert_eq!(number(&disk, name), number(&other, name), "{name} {more:?}");
        }
        // Of a full group, whatever there is of it now.
        assert!(number(&disk, "Inodes per group") >= 32768 * 4096 / 16384, "{more:?}");

        // The usual tool makes it larger without moving anything out of the way.
        let size = (blocks * 4096 * 1024).min(2 << 40);
        grow_file(&disk, size);
        tool(&["resize2fs", text(&disk)]);
        judge(&disk, &registration, size, 0);
        let features = field(&disk, "Filesystem features");
        assert!(features.contains("resize_inode") && !features.contains("meta_bg"), "{features}");
    }
}

#[test]
fn inodes_are_as_many_as_asked_for() {
    let directory = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let disk = directory.path().join("disk");
    let store = Store::awkward();
    let registration = store.register();
    for (bytes, expected) in
        [("1024", 1024), ("4K", 4096), ("5000", 5000), ("16384", 16384), ("32K", 32768), ("1M", 1 << 20)]
    {
        root_disk(&store, &registration, &disk, &["--bytes-per-inode", bytes]);
        tool(&["e2fsck", "-fn", text(&disk)]);
        let group = number(&disk, "Blocks per group") * 4096;
        let of_group = number(&disk, "Inodes per group");
        // Whole blocks of an inode table, and enough for the 3,000 files and for the free space.
        let files = number(&disk, "Inode count") - number(&disk, "Free inodes");
        let groups = number(&disk, "Block count").div_ceil(group / 4096);
        let least = (files + (512 * MIB / expected)).div_ceil(groups);
        assert_eq!(of_group, (group / expected).max(least).next_multiple_of(16), "{bytes}");
    }
    let more = ["--bytes-per-inode", "1024", "--size", "5T"];
    let mut command = imagegen!();
    command.args(["root-disk", "--registration", text(&registration), "-o", text(&disk)]).args(more);
    command.args(["--store-root", text(store.root.path())]);
    let error = testkit::error_of(&mut command);
    assert!(error.contains("give a larger --bytes-per-inode"), "{error}");
    for refused in ["1000", "65M", "many", "5T"] {
        let mut command = imagegen!();
        command.args(["root-disk", "--registration", text(&registration), "-o", text(&disk)]);
        assert_eq!(command.args(["--bytes-per-inode", refused]).output().unwrap().status.code(), Some(2));
    }
}
