//! Crashes of the machine: a guest in which the program makes images records what its disk was told to write and to flush
//! (QEMU's `blklogwrites`). From the record follow the disks that a crash could have left: all that was flushed by then, and
//! of the rest whatever a cache that loses power happens to have written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::guest::Guest;
use testkit::nix::copy_libraries;
use testkit::random::Random;
use testkit::system::System;
use testkit::{imagegen, run, text, tool};

const MIB: u64 = 1 << 20;
const CRASHES: usize = 50;
/// Where the store is, in the guest and, in a namespace, here: the names in the cache follow from it.
const INPUTS: &str = "/mnt/inputs";

/// One entry of the record, as the kernel's dm-log-writes defines it.
struct Entry {
    offset: u64,
    data: Vec<u8>,
    is_flush: bool,
}

/// Reads the record: a block with magic number, version, count and sector size; then for each entry a block with sector,
/// length in sectors and flags, and the data (drivers/md/dm-log-writes.c; QEMU's block/blklogwrites.c).
fn read_record(file: &Path) -> Vec<Entry> {
    let file = fs::File::open(file).unwrap();
    let number = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_le_bytes(bytes)
    };
    assert_eq!((number(0), number(8)), (0x006a_7366_7773_6872, 1), "no record of dm-log-writes");
    let (count, sector) = (number(16), number(24) & 0xffff_ffff);
    let mut at = sector;
    let mut entries = Vec::new();
    for _ in 0..count {
        let (offset, length, flags) = (number(at) * sector, number(at + 8) * sector, number(at + 16));
        at += sector;
        let mut data = vec![0; usize::try_from(length).unwrap()];
        // What is discarded has no data in the record, and reads as zeros at best.
        if flags & 4 == 0 {
            file.read_exact_at(&mut data, at).unwrap();
            at += length;
        }
        entries.push(Entry { offset, data, is_flush: flags & 3 != 0 });
    }
    entries
}

/// The disk after a crash before entry `end`.
fn crashed(base: &[u8], entries: &[Entry], end: usize, random: &mut Random) -> Vec<u8> {
    let mut disk = base.to_vec();
    let flushed = entries[..end].iter().rposition(|entry| entry.is_flush).map_or(0, |last| last + 1);
    for (i, entry) in entries[..end].iter().enumerate() {
        if i < flushed || random.bytes(1)[0] & 1 == 0 {
            let start = usize::try_from(entry.offset).unwrap();
            disk[start..start + entry.data.len()].copy_from_slice(&entry.data);
        }
    }
    disk
}

#[test]
fn no_crash_leaves_a_damaged_image_that_is_used() {
    let directory = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| directory.path().join(name);
    let system = System::new();
    make_initrd(&at("initrd"), &at("tree"), &system);
    let good = |name: &str, more: &[&str]| {
        let mut command = imagegen!();
        command.args(["store-image", "-q", "--registration", text(&system.registration)]);
        command.arg("--store-root").arg(system.store.root.path()).args(more).arg("-o").arg(at(name));
        assert!(command.status().unwrap().success());
        fs::read(at(name)).unwrap()
    };
    let image = good("good", &[]);
    let replaced = [good("even", &["--label", "label-0"]), good("odd", &["--label", "label-1"])];

    fs::File::create(at("disk")).unwrap().set_len(96 * MIB).unwrap();
    tool(&["mkfs.ext4", "-q", "-F", text(&at("disk"))]);
    let base = fs::read(at("disk")).unwrap();
    fs::File::create(at("record")).unwrap().set_len(2048 * MIB).unwrap();
    boot(&at);
    let entries = read_record(&at("record"));

    let mut random = Random::new(14);
    let (mut damaged, mut whole, mut cached) = (0, 0, 0);
    for _ in 0..CRASHES {
        let draw = random.bytes(4).iter().fold(0, |all, &byte| all << 8 | usize::from(byte));
        let end = draw % entries.len();
        fs::write(at("crashed"), crashed(&base, &entries, end, &mut random)).unwrap();
        // 1: errors were corrected, as at the start of a machine.
        assert!(run(&["e2fsck", "-fy", text(&at("crashed"))]).status.code().unwrap() <= 1);
        let found = at("found");
        fs::create_dir(&found).unwrap();
        tool(&["debugfs", "-R", &format!("rdump / \"{}\"", text(&found)), text(&at("crashed"))]);
        let is_done = |name: &str| found.join(format!("done-{name}")).exists();
        let bytes = |name: &str| fs::read(found.join(name)).ok();
        for i in 1..=8 {
            let name = format!("sync-{i}");
            let synced = bytes(&format!("{name}.qcow2"));
            assert!(synced.is_some() || !is_done(&name), "{name} is gone after entry {end}");
            assert!(synced.is_none_or(|bytes| bytes == image), "{name} is damaged after entry {end}");
            whole += usize::from(is_done(&name));
            let name = format!("plain-{i}");
            if is_done(&name) && bytes(&format!("{name}.qcow2")).is_none_or(|bytes| bytes != image) {
                damaged += 1;
            }
        }
        if let Some(bytes) = bytes("replaced.qcow2") {
            assert!(replaced.contains(&bytes), "a replaced image is damaged after entry {end}");
        } else {
            assert!(!is_done("replaced-1"));
        }
        cached += usize::from(use_cache(&found, &system, &image));
        fs::remove_dir_all(found).unwrap();
    }
    println!(
        "{CRASHES} crashes among {} writes and flushes: {whole} images with --sync that were told done, all whole; \
         {damaged} without that were damaged; {cached} times the cache had an image, which was used whole",
        entries.len()
    );
    assert!(damaged > 0, "a simulation that loses nothing says nothing");
    assert!(whole > 0 && cached > 0);
}

/// Starts a machine from the cache that the crash left, and says whether it had an image.
fn use_cache(found: &Path, system: &System, good: &[u8]) -> bool {
    let cache = found.join("cache/nix-imagegen");
    let names = || -> Vec<_> {
        let entries = fs::read_dir(&cache).into_iter().flatten().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "qcow2")).collect()
    };
    let was_there = names();
    for image in &was_there {
        assert!(fs::read(image).unwrap() == good, "the cache's image got its name before it was whole");
    }
    let program = env!("CARGO_BIN_EXE_nix-imagegen");
    let line = format!(
        "mount -t tmpfs tmpfs /mnt && mkdir {INPUTS} && mount --bind \"$1\" {INPUTS} && \
         exec \"$0\" run --config {INPUTS}/vm.toml --store-root {INPUTS} --accel tcg"
    );
    let root = text(system.store.root.path());
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &line, program, root]).env("XDG_CACHE_HOME", found.join("cache"));
    let output = command.env("TMPDIR", found).current_dir(found).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [image] = names().try_into().unwrap();
    assert!(fs::read(&image).unwrap() == good, "a damaged image was used");
    assert!(was_there.is_empty() || was_there == [image]);
    !was_there.is_empty()
}

fn boot(at: &impl Fn(&str) -> std::path::PathBuf) {
    let kernel = Guest::get().part("kernel");
    let node = |name: &str, file: &str| format!("driver=file,node-name={name},filename={}", text(&at(file)));
    let mut command = Command::new("timeout");
    command.args(["900", "qemu-system-x86_64", "-machine", "pc,accel=tcg", "-cpu", "max", "-m", "512"]);
    command
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-serial"])
        .arg(format!("file:{}", text(&at("console"))));
    command.args(["-kernel", text(&kernel), "-initrd", text(&at("initrd"))]);
    command.args(["-append", "console=ttyS0 quiet panic=-1"]);
    command.args(["-blockdev", &node("data", "disk"), "-blockdev", &node("log", "record")]);
    command.args(["-blockdev", "driver=blklogwrites,node-name=disk,file=data,log=log"]);
    command.args(["-device", "virtio-blk-pci,drive=disk,write-cache=on"]);
    assert!(command.stdin(Stdio::null()).status().unwrap().success());
    let said = String::from_utf8_lossy(&fs::read(at("console")).unwrap()).into_owned();
    assert!(said.contains("GUEST-DONE"), "{said}");
}

/// The guest's initrd with another init, the program under test, and a store to make images from.
fn make_initrd(initrd: &Path, tree: &Path, system: &System) {
    let inputs = tree.join(INPUTS.trim_start_matches('/'));
    for directory in [tree.join("bin"), tree.join("lib"), tree.join("proc"), tree.join("sys"), inputs.clone()]
    {
        fs::create_dir_all(directory).unwrap();
    }
    symlink("lib", tree.join("lib64")).unwrap();
    let program = tree.join("bin/nix-imagegen");
    tool(&["strip", "-o", text(&program), env!("CARGO_BIN_EXE_nix-imagegen")]);
    copy_libraries(&program, &tree.join("lib"));
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/init"), tree.join("init")).unwrap();
    // The config and what stands in for QEMU lie beside the store, in the guest and here.
    let root = system.store.root.path();
    let qemu = root.join("qemu/bin/qemu-system-x86_64");
    fs::create_dir_all(qemu.parent().unwrap()).unwrap();
    fs::write(&qemu, "#!/bin/sh\n[ \"$1\" = --version ] && echo QEMU emulator version 9.2.0\nexit 0\n")
        .unwrap();
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!(
        "toplevel = {:?}\nregistration = \"{INPUTS}/registration\"\nuseNixStoreImage = true\ndiskImage = false\n\
         mountHostNixStore = false\ndirectBoot.enable = false\nqemu.package = \"{INPUTS}/qemu\"\nsystem = \"x86_64-linux\"\n",
        system.toplevels[0]
    );
    fs::write(root.join("vm.toml"), config).unwrap();
    for name in ["nix", "qemu", "vm.toml"] {
        tool(&["cp", "-a", text(&root.join(name)), text(&inputs)]);
    }
    fs::copy(&system.registration, inputs.join("registration")).unwrap();
    Guest::get().initrd_with(tree, initrd);
}
