//! Root disks with partitions and boot loaders: one disk that has everything. sgdisk, sfdisk, fsck.fat, e2fsck and others
//! judge them here, and machines in `root_disk_boots.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use serde_json::Value;

use testkit::guest::Guest;
use testkit::{error_of, imagegen, names_in, run, text, tool};

const MIB: u64 = 1 << 20;

/// Each kind of table with loaders for it.
const KINDS: [(&str, &str); 3] =
    [("legacy", "grub"), ("efi", "systemd-boot"), ("hybrid", "systemd-boot,grub")];

fn one_disk(guest: &Guest, output: &Path, more: &[&str]) -> Command {
    let mut command = imagegen!();
    let root = ["--store-root", text(&guest.root), "--registration", text(&guest.registration)];
    command.arg("root-disk").args(root).args(["--toplevel", &guest.toplevel, "-o", text(output)]).args(more);
    command
}

/// A raw disk with the store, and little free space.
fn build(guest: &Guest, output: &Path, kind: &str, loader: &str, more: &[&str]) {
    let arguments = ["--with-store", "--format", "raw", "--partition-table", kind, "--loader", loader];
    let space = ["--additional-space", "1M"];
    one_disk(guest, output, &[&arguments[..], &space, more].concat()).assert().success();
}

/// Takes a partition out of a raw disk.
fn cut(disk: &Path, start: u64, bytes: u64) -> PathBuf {
    let partition = disk.with_extension(format!("at-{start}"));
    let (input, output) = (format!("if={}", text(disk)), format!("of={}", text(&partition)));
    let (skip, count) = (format!("skip={start}"), format!("count={bytes}"));
    let flags = ["iflag=skip_bytes,count_bytes", "conv=sparse", "bs=64K", "status=none"];
    tool(&[&["dd", &input, &output, &skip, &count], &flags[..]].concat());
    partition
}

fn inspect(disk: &Path) -> Value {
    serde_json::from_str(&tool(&[env!("CARGO_BIN_EXE_nix-imagegen"), "inspect", "--json", text(disk)]))
        .unwrap()
}

/// What sgdisk says of a partition.
fn partition(disk: &Path, number: u32) -> String {
    tool(&["sgdisk", "-i", &number.to_string(), text(disk)])
}

#[test]
fn tables_and_file_systems_are_sound_and_where_make_disk_image_has_them() {
    let guest = Guest::get();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (kind, loader) in KINDS {
        let disk = directory.path().join(kind);
        build(&guest, &disk, kind, loader, &[]);
        let size = fs::metadata(&disk).unwrap().len();
        let root_start = if kind == "legacy" { MIB } else { 256 * MIB };
        let behind = if kind == "legacy" { 0 } else { 33 * 512 };
        let root_bytes = size - root_start - behind;

        if kind == "legacy" {
            assert!(tool(&["sfdisk", "--verify", text(&disk)]).contains("No errors detected"));
            let dump = tool(&["sfdisk", "--dump", text(&disk)]);
            let sectors = root_bytes / 512;
            assert!(dump.contains("label: dos\nlabel-id: 0x4e49584f\n"), "{dump}");
            let line = format!("1 : start=        2048, size= {sectors:>11}, type=83, bootable\n");
            assert!(dump.ends_with(&line), "{dump}");
        } else {
            let checked = tool(&["sgdisk", "-v", text(&disk)]);
            assert!(checked.contains("No problems found"), "{checked}");
            let esp = partition(&disk, 1);
            for line in [
                "(EFI system partition)",
                "unique GUID: 1C06F03B-704E-4657-B9CD-681A087A2FDC",
                "First sector: 16384 ",
                "Last sector: 524287 ",
                "Partition name: 'ESP'",
            ] {
                assert!(esp.contains(line), "{line}: {esp}");
            }
            let root = partition(&disk, if kind == "efi" { 2 } else { 3 });
            for line in [
                "(Linux filesystem)",
                "unique GUID: F222513B-DED1-49FA-B591-20CE86A2FE7F",
                "First sector: 524288 ",
                "Partition name: 'primary'",
            ] {
                assert!(root.contains(line), "{line}: {root}");
            }
            let esp = cut(&disk, 8 * MIB, 248 * MIB);
            tool(&["fsck.fat", "-n", text(&esp)]);
            assert!(tool(&["blkid", "-p", text(&esp)]).contains("LABEL=\"ESP\""));
        }
        if kind == "hybrid" {
            let bios_boot = partition(&disk, 2);
            for line in ["(BIOS boot partition)", "First sector: 34 ", "Last sector: 2047 "] {
                assert!(bios_boot.contains(line), "{line}: {bios_boot}");
            }
        }
        // The disk ends where the file system, and the backup of the table, end: nothing is rounded.
        let root = cut(&disk, root_start, root_bytes);
        tool(&["e2fsck", "-fn", text(&root)]);
        let dumped = tool(&["dumpe2fs", "-h", text(&root)]);
        assert!(dumped.contains(&format!("Block count:              {}\n", root_bytes / 4096)), "{dumped}");

        // Our own readers find the same.
        let inspected = inspect(&disk);
        let partitions = inspected["contents"]["partitions"].as_array().unwrap();
        assert_eq!(inspected["contents"]["problems"].as_array().unwrap().len(), 0, "{inspected}");
        assert_eq!(partitions.last().unwrap()["contents"]["kind"], "ext4");
        assert_eq!(partitions.last().unwrap()["start_bytes"], root_start);
        let verify = [env!("CARGO_BIN_EXE_nix-imagegen"), "verify", "--registration"];
        tool(&[&verify[..], &[text(&guest.registration), text(&disk)]].concat());
    }
}

#[test]
fn both_containers_hold_the_same_and_are_the_same_twice() {
    let guest = Guest::get();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (kind, loader) in KINDS {
        let [raw, qcow2, again] = ["raw", "qcow2", "again"].map(|name| directory.path().join(name));
        build(&guest, &raw, kind, loader, &[]);
        let arguments = ["--with-store", "--partition-table", kind, "--loader", loader];
        let space = ["--additional-space", "1M"];
        for (output, jobs) in [(&qcow2, "2"), (&again, "1")] {
            one_disk(&guest, output, &[&arguments[..], &space, &["--jobs", jobs]].concat())
                .assert()
                .success();
        }
        assert!(fs::read(&qcow2).unwrap() == fs::read(&again).unwrap(), "{kind}");
        tool(&["qemu-img", "check", text(&qcow2)]);
        let compared = tool(&["qemu-img", "compare", "-f", "raw", "-F", "qcow2", text(&raw), text(&qcow2)]);
        assert_eq!(compared, "Images are identical.\n", "{kind}");
        // Of an EFI system partition of 248 MiB only the files are in the image.
        assert!(fs::metadata(&qcow2).unwrap().len() < 120 * MIB, "{kind}");
    }
}

#[test]
fn grub_finds_its_menu_and_the_kernels_on_the_root_file_system() {
    let guest = Guest::get();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (with_store, kernels) in [(true, "/nix/store/"), (false, "/boot/kernels/")] {
        let disk = directory.path().join("disk");
        let arguments = ["--format", "raw", "--partition-table", "legacy", "--loader", "grub"];
        let mut command = one_disk(&guest, &disk, &arguments);
        command.args(["--additional-space", "1M"]).args(with_store.then_some("--with-store"));
        command.assert().success();
        let root = cut(&disk, MIB, fs::metadata(&disk).unwrap().len() - MIB);
        let debugfs = |request: &str| tool(&["debugfs", "-R", request, text(&root)]);
        let menu = debugfs("cat /boot/grub/grub.cfg");
        let script = directory.path().join("grub.cfg");
        fs::write(&script, &menu).unwrap();
        tool(&["grub-script-check", text(&script)]);
        assert!(menu.contains("search --set=drive1 --fs-uuid f222513b-ded1-49fa-b591-20ce86a2fe7f\n"));
        let line = menu.lines().find_map(|line| line.strip_prefix("  linux ($drive1)")).unwrap();
        let kernel = line.split(' ').next().unwrap();
        assert!(kernel.starts_with(kernels), "{kernel}");
        // The file that the menu names is the kernel, and with the store there is no other copy.
        let original = fs::read_link(guest.physical(&guest.toplevel).join("kernel")).unwrap();
        let source = fs::read(guest.physical(text(&original))).unwrap();
        let dumped = directory.path().join("kernel");
        debugfs(&format!("dump {kernel} {}", text(&dumped)));
        assert!(fs::read(&dumped).unwrap() == source);
        assert_eq!(debugfs("ls -p /boot").contains("/kernels/"), !with_store);
        // GRUB's prefix, at the end of its module area, is checked by the boots.
        assert!(debugfs("ls -p /boot/grub/i386-pc").contains("/ext2.mod/"));
    }
}

#[test]
fn every_generation_of_the_menu_is_in_the_profile() {
    let guest = Guest::get();
    let registration = guest.root.with_file_name("second-registration");
    let second = fs::read_to_string(guest.root.with_file_name("second-toplevel")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let mut command = imagegen!();
    command.args(["root-disk", "--store-root", text(&guest.root), "--registration", text(&registration)]);
    command.args(["--toplevel", second.trim(), "--generation", &format!("4={}", guest.toplevel)]);
    command.args(["--partition-table", "legacy", "--loader", "grub", "--format", "raw", "-o", text(&disk)]);
    command.assert().success();
    let root = cut(&disk, MIB, fs::metadata(&disk).unwrap().len() - MIB);
    let debugfs = |request: &str| tool(&["debugfs", "-R", request, text(&root)]);
    let profiles = "/nix/var/nix/profiles";
    assert!(debugfs(&format!("stat {profiles}/system")).contains("\"system-5-link\""));
    for (number, toplevel) in [(4, guest.toplevel.as_str()), (5, second.trim())] {
        // Links longer than an inode are a file of their own.
        assert_eq!(debugfs(&format!("cat {profiles}/system-{number}-link")), toplevel);
    }
    // A system that is not registered could not be started.
    let mut command = one_disk(&guest, &disk, &["--partition-table", "legacy", "--loader", "grub"]);
    let error = error_of(command.args(["--generation", &format!("1={}", second.trim())]));
    assert!(error.contains(second.trim()) && error.contains("is not in the closure"), "{error}");
}

#[test]
fn sizes_are_exact_and_what_is_too_small_says_what_would_do() {
    let guest = Guest::get();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let disk = directory.path().join("disk");
    for (kind, loader) in KINDS {
        let arguments = ["--with-store", "--format", "raw", "--partition-table", kind, "--loader", loader];
        let sized = |size: &str| {
            let mut command = one_disk(&guest, &disk, &arguments);
            command.args(["--size", size]);
            command
        };
        // The least that is named does, and a block less does not.
        let error = error_of(&mut sized("1M"));
        let least: u64 = error.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(error.contains(&format!("the files need a disk of {least} bytes")), "{error}");
        sized(&least.to_string()).assert().success();
        assert_eq!(fs::metadata(&disk).unwrap().len(), least, "{kind}");
        let error = error_of(&mut sized(&(least - 4096).to_string()));
        assert!(error.contains(&format!("{least} bytes, 4096 more than")), "{error}");
    }
    let esp_of = |size: &str| {
        let arguments = ["--partition-table", "hybrid", "--loader", "systemd-boot,grub", "--boot-size", size];
        one_disk(&guest, &disk, &arguments)
    };
    let error = error_of(&mut esp_of("20M"));
    let least = error.split("--boot-size ").nth(1).unwrap().split('M').next().unwrap();
    let least: u64 = least.parse().unwrap();
    esp_of(&format!("{least}M")).assert().success();
    error_of(&mut esp_of(&format!("{}M", least - 1)));
    assert!(error_of(&mut esp_of("8M")).contains("begins at 8 MiB"));
    // An MBR cannot tell of more.
    let mut command = one_disk(&guest, &disk, &["--partition-table", "legacy", "--size", "3T"]);
    assert!(error_of(&mut command).contains("counts sectors in 32 bits"));
}

#[test]
fn options_that_do_not_go_together_are_wrong_usage() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    for (arguments, what) in [
        ("--loader grub", "grub has no place on a disk with --partition-table none"),
        ("--partition-table legacy --loader systemd-boot", "systemd-boot has no place on a disk"),
        ("--partition-table efi --loader systemd-boot,grub", "grub has no place on a disk"),
        ("--partition-table hybrid --loader grub --no-editor", "--no-editor is for systemd-boot"),
        ("--partition-table hybrid --kernel-param quiet", "--kernel-param is for boot loaders"),
        ("--partition-table legacy+gpt", "invalid value"),
    ] {
        let arguments: Vec<_> = arguments.split(' ').collect();
        let output = one_disk(&guest, &disk, &arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(what), "{said}");
    }
    let mut command = imagegen!();
    let registration = ["--registration", text(&guest.registration), "-o", text(&disk)];
    command.arg("root-disk").args(registration).args([
        "--partition-table",
        "efi",
        "--loader",
        "systemd-boot",
    ]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--toplevel"));
    assert_eq!(names_in(directory.path()), Vec::<String>::new());
    assert!(!run(&["test", "-e", text(&disk)]).status.success());
}
