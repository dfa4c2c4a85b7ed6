//! Disks that boot by themselves, without a config.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use assert_cmd::assert::OutputAssertExt;
use testkit::guest::Guest;
use testkit::{imagegen, names_in, project, text, tool};

fn root_disk(guest: &Guest, disk: &Path, form: &[&str]) {
    let mut command = imagegen!();
    command.args(["root-disk", "--store-root", text(&guest.root)]);
    command.args(["--registration", text(&guest.registration), "--toplevel", &guest.toplevel]);
    command.args(["--with-store", "--timeout", "0"]).args(form).arg("-o").arg(disk).assert().success();
}

/// Runs the machine until it switches itself off; its serial console is the program's output.
fn run(directory: &Path, arguments: &[&str]) -> Output {
    let temporary = directory.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new("timeout");
    command
        .arg("400")
        .arg(env!("CARGO_BIN_EXE_nix-imagegen"))
        .args(["run", "--accel", "tcg"])
        .args(arguments);
    command.current_dir(directory).env("TMPDIR", &temporary).env_remove("QEMU_OPTS").stdin(Stdio::null());
    let output = command.output().unwrap();
    testkit::home::wait(|| names_in(&temporary).is_empty(), || format!("{:?}", names_in(&temporary)));
    output
}

/// Checks what the guest and the program said.
fn judge(guest: &Guest, output: &Output, firmware: &str) {
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{said}");
    // A store on a root disk has another mode than in a store image, but the same contents.
    let expected =
        tool(&[text(&project().join("scripts/expected-guest.sh")), text(guest.root.parent().unwrap())]);
    let contents = expected.lines().find(|line| line.starts_with("GUEST-CONTENTS ")).unwrap();
    let firmware = format!("GUEST-FIRMWARE {firmware}");
    for line in [&firmware, contents, "GUEST-STORE-IS-WRITABLE", "NIX-IMAGEGEN-GUEST-OK"] {
        assert!(said.lines().any(|found| found == line), "{line}: {said}");
    }
    assert_eq!(told.matches("Ctrl-A X ends the machine").count(), 1, "{told}");
}

fn digest(image: &Path) -> String {
    tool(&["sha256sum", text(image)])
}

#[test]
fn one_disk_boots_under_both_kinds_of_firmware_and_stays_as_it_is() {
    let guest = Guest::get();
    let directory = tempfile::Builder::new().prefix("a, b's $HOME ").tempdir().unwrap();
    let disk = directory.path().join("disk.qcow2");
    root_disk(&guest, &disk, &["--partition-table", "hybrid", "--loader", "systemd-boot,grub"]);
    let before = digest(&disk);
    judge(&guest, &run(directory.path(), &["disk.qcow2"]), "efi");
    assert_eq!(digest(&disk), before);
    judge(&guest, &run(directory.path(), &["disk.qcow2", "--firmware", "bios"]), "bios");
    assert_eq!(digest(&disk), before);
    assert_eq!(names_in(directory.path()), ["disk.qcow2", "tmp"]);
}

#[test]
fn a_loader_that_firmware_does_not_find_is_started_by_an_entry() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    root_disk(&guest, &disk, &["--partition-table", "efi", "--loader", "systemd-boot", "--format", "raw"]);
    tool(&["mdel", "-i", &format!("{}@@8M", text(&disk)), "::/EFI/BOOT/BOOTX64.EFI"]);
    let output = run(directory.path(), &["disk.img"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("/EFI/systemd/systemd-bootx64.efi on partition 1 (systemd-boot 2"), "{told}");
    judge(&guest, &output, "efi");
}

/// A raw disk, in whose first sector the guest's kernel finds the partition: what the guest writes stays with `--write` alone.
#[test]
fn a_machine_writes_to_its_image_where_it_may() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    root_disk(&guest, &disk, &["--partition-table", "legacy", "--loader", "grub", "--format", "raw"]);
    let before = digest(&disk);
    judge(&guest, &run(directory.path(), &["disk.img", "--write"]), "bios");
    assert_ne!(digest(&disk), before);
    let root = directory.path().join("root");
    let [input, output] = [("if", &disk), ("of", &root)].map(|(name, path)| format!("{name}={}", text(path)));
    tool(&["dd", &input, &output, "skip=1", "bs=1M", "conv=sparse", "status=none"]);
    tool(&["e2fsck", "-fn", text(&root)]);
}

#[test]
fn an_arm_disk_boots_by_its_loaders_name() {
    let guest = Guest::at("target/guest-aarch64");
    let directory = tempfile::tempdir().unwrap();
    root_disk(
        &guest,
        &directory.path().join("disk.qcow2"),
        &["--partition-table", "efi", "--loader", "systemd-boot"],
    );
    let output = run(directory.path(), &["disk.qcow2"]);
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in ["GUEST-FIRMWARE efi", "NIX-IMAGEGEN-GUEST-OK"] {
        assert!(said.lines().any(|found| found == line), "{line}: {said}");
    }
}
