//! Root disks in a machine: Debian's own Nix runs in the guest and looks at the database and the store it finds there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use assert_cmd::assert::OutputAssertExt;

use testkit::guest::Guest;
use testkit::machine::{Firmware, Machine};
use testkit::nix::NixStore;
use testkit::{imagegen, text, tool};

/// What the guest's init runs: Nix through the loader that came with it, as it was on this machine.
const CHECK: &str = r#"#! @shell@
here=${0%/*}
export NIX_REMOTE= HOME=/root USER=root NIX_CONFIG="build-users-group =
substitute = false"
nix_store() { "$here/ld-linux-x86-64.so.2" --library-path "$here" --argv0 nix-store "$here/nix-store" "$@"; }
echo "GUEST-ROOT $(while read -r device place kind rest; do [ $place = / ] && echo $kind; done < /proc/mounts)"
nix_store --verify --check-contents && echo "GUEST-NIX-FINDS-ALL-VALID"
nix_store --query --requisites /nix/var/nix/profiles/system | sort | sha256sum |
    { read -r sum _; echo "GUEST-REQUISITES $sum"; }
nix_store --dump-db $(nix_store --query --requisites /nix/var/nix/profiles/system | sort) | sha256sum |
    { read -r sum _; echo "GUEST-REGISTRATION $sum"; }
"#;

/// A store with the guest's closure and Debian's Nix for the guest to run.
struct Prepared {
    store: NixStore,
    check: String,
    directory: tempfile::TempDir,
}

impl Prepared {
    fn new(guest: &Guest) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = NixStore::with_guest(guest, env!("CARGO_TARGET_TMPDIR"));
        let files = directory.path().join("guest-check");
        fs::create_dir(&files).unwrap();
        let nix = fs::canonicalize("/usr/bin/nix-store").unwrap();
        fs::copy(&nix, files.join("nix-store")).unwrap();
        testkit::nix::copy_libraries(&nix, &files);
        let check = files.join("check");
        fs::write(&check, CHECK.replace("@shell@", &format!("{}/bin/sh", guest.path("-busybox")))).unwrap();
        fs::set_permissions(&check, fs::Permissions::from_mode(0o755)).unwrap();
        let check = store.nix(&["nix-store", "--add", text(&files)]);
        Self { store, check, directory }
    }

    fn write(&self, subcommand: &str, arguments: &[&str]) -> PathBuf {
        let output = self.directory.path().join(format!("{subcommand}.qcow2"));
        let mut command = imagegen!();
        command
            .args([subcommand, "--store-root", text(&self.store.root), "-o", text(&output)])
            .args(arguments);
        command.assert().success();
        output
    }

    /// An empty store of EFI variables, to be changed.
    fn variables(&self) -> PathBuf {
        let variables = self.directory.path().join("vars.fd");
        fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).unwrap();
        variables
    }

    /// Checks what the guest said.
    fn judge(&self, guest: &Guest, said: &str) {
        let requisites = self.store.nix(&["nix-store", "--query", "--requisites", &guest.toplevel]);
        let mut requisites: Vec<_> = requisites.lines().collect();
        requisites.sort_unstable();
        let file = self.directory.path().join("expected");
        let expect = |name: &str, contents: &[u8]| {
            fs::write(&file, contents).unwrap();
            let line = format!("GUEST-{name} {}", &tool(&["sha256sum", text(&file)])[..64]);
            assert!(said.lines().any(|found| found == line), "{line}: {said}");
        };
        expect("REQUISITES", (requisites.join("\n") + "\n").as_bytes());
        expect("REGISTRATION", &fs::read(&guest.registration).unwrap());
        for line in ["GUEST-ROOT ext4", "GUEST-NIX-FINDS-ALL-VALID", "NIX-IMAGEGEN-GUEST-OK"] {
            assert!(said.lines().any(|found| found == line), "{line}: {said}");
        }
    }
}

fn ovmf(variables: &Path) -> Firmware<'_> {
    Firmware::Ovmf(Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd"), variables)
}

#[test]
fn a_guest_knows_the_paths_of_its_store_image_under_seabios() {
    let guest = Guest::get();
    let prepared = Prepared::new(&guest);
    let closure = ["--closure", &guest.toplevel, &prepared.check];
    let boot =
        prepared.write("boot-disk", &["--toplevel", &guest.toplevel, "--loader", "grub", "--timeout", "0"]);
    let root = prepared.write("root-disk", &[&closure[..], &["--toplevel", &guest.toplevel]].concat());
    let store = prepared.write("store-image", &closure);
    let said = Machine::start(&Firmware::SeaBios, &[&boot, &root, &store]).until_off();
    prepared.judge(&guest, &said);
}

#[test]
fn a_guest_knows_the_paths_on_its_root_disk_under_uefi() {
    let guest = Guest::get();
    let prepared = Prepared::new(&guest);
    let closure = ["--closure", &guest.toplevel, &prepared.check];
    let arguments = ["--toplevel", &guest.toplevel, "--loader", "systemd-boot", "--timeout", "0"];
    let boot = prepared.write("boot-disk", &arguments);
    let arguments = ["--toplevel", &guest.toplevel, "--with-store"];
    let root = prepared.write("root-disk", &[&closure[..], &arguments].concat());
    let variables = prepared.variables();
    let said = Machine::start(&ovmf(&variables), &[&boot, &root]).until_off();
    prepared.judge(&guest, &said);
}

/// One disk that has everything, under both kinds of firmware where it has a loader for both. What the guest's kernel was
/// told of its firmware is the proof that it was that one.
fn boot_one_disk(table: &str, loaders: &str, firmwares: &[&str]) {
    let guest = Guest::get();
    let prepared = Prepared::new(&guest);
    let system = ["--closure", &guest.toplevel, &prepared.check, "--toplevel", &guest.toplevel];
    let form = ["--with-store", "--partition-table", table, "--loader", loaders, "--timeout", "0"];
    let disk = prepared.write("root-disk", &[&system[..], &form].concat());
    for kind in firmwares {
        let variables = prepared.variables();
        let firmware = if *kind == "efi" { ovmf(&variables) } else { Firmware::SeaBios };
        let said = Machine::start(&firmware, &[&disk]).until_off();
        assert!(said.contains(&format!("GUEST-FIRMWARE {kind}\n")), "{said}");
        prepared.judge(&guest, &said);
    }
}

#[test]
fn one_disk_with_an_mbr_boots_under_seabios() {
    boot_one_disk("legacy", "grub", &["bios"]);
}

#[test]
fn one_disk_with_an_efi_system_partition_boots_under_uefi() {
    boot_one_disk("efi", "systemd-boot", &["efi"]);
}

#[test]
fn one_disk_boots_under_seabios_and_uefi() {
    boot_one_disk("hybrid", "systemd-boot,grub", &["bios", "efi"]);
}

#[test]
fn one_disk_boots_an_arm_machine() {
    let guest = Guest::at("target/guest-aarch64");
    let directory = tempfile::tempdir().unwrap();
    let [disk, variables] = ["disk", "variables.fd"].map(|name| directory.path().join(name));
    let mut command = imagegen!();
    command.args([
        "root-disk",
        "--store-root",
        text(&guest.root),
        "--registration",
        text(&guest.registration),
    ]);
    command.args(["--toplevel", &guest.toplevel, "--with-store", "--partition-table", "efi"]);
    command.args(["--loader", "systemd-boot", "--timeout", "0", "-o", text(&disk)]).assert().success();
    fs::copy("/usr/share/AAVMF/AAVMF_VARS.fd", &variables).unwrap();
    let code = Path::new("/usr/share/AAVMF/AAVMF_CODE.fd");
    let said = Machine::start(&Firmware::Aavmf(code, &variables), &[&disk]).until_off();
    for line in ["GUEST-FIRMWARE efi", "NIX-IMAGEGEN-GUEST-OK"] {
        assert!(said.lines().any(|found| found == line), "{line}: {said}");
    }
}
