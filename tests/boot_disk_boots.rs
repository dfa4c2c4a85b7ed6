//! Boot disks started by real firmware, up to the lines of the guest itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use assert_cmd::assert::OutputAssertExt;
use testkit::guest::Guest;
use testkit::machine::{Firmware, Machine};
use testkit::system::empty_variable_store;
use testkit::{imagegen, run, text, tool};

const OVMF: &str = "/usr/share/OVMF";
/// What the guest's init says last.
const ARRIVED: &str = "NIX-IMAGEGEN-GUEST-OK";

/// Both generations of the guest.
struct Generations {
    root: PathBuf,
    first: String,
    second: String,
    /// An image with the closures of both.
    store: PathBuf,
}

impl Generations {
    fn get() -> &'static Self {
        static GENERATIONS: OnceLock<Generations> = OnceLock::new();
        GENERATIONS.get_or_init(|| {
            let guest = Guest::get();
            let directory = guest.root.parent().unwrap();
            let second = fs::read_to_string(directory.join("second-toplevel")).unwrap().trim().to_owned();
            let registration = directory.join("second-registration");
            // Nothing outlives the process but this, and the next one writes it anew.
            let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("boot-disk-boots.qcow2");
            imagegen!()
                .args([
                    "store-image",
                    "--store-root",
                    text(&guest.root),
                    "--registration",
                    text(&registration),
                ])
                .args(["-o", text(&store)])
                .assert()
                .success();
            Self { root: guest.root, first: guest.toplevel, second, store }
        })
    }

    /// Writes a boot disk that waits for nobody, and has the independent tools look at it.
    fn disk(&self, at: &Path, arguments: &[&str]) -> PathBuf {
        let disk = at.join("disk");
        imagegen!()
            .args(["boot-disk", "--store-root", text(&self.root), "--timeout", "0"])
            .args(arguments)
            .args(["-o", text(&disk)])
            .assert()
            .success();
        disk
    }

    /// Boots it.
    fn boot(&self, firmware: &Firmware<'_>, disk: &Path) -> Said {
        boot(firmware, disk, &self.store)
    }
}

/// Boots a disk until the guest, whose store is an image, is done, and gives what the guest said.
fn boot(firmware: &Firmware<'_>, disk: &Path, store: &Path) -> Said {
    let said = Said(Machine::start(firmware, &[disk, store]).until_off());
    assert!(said.0.lines().any(|line| line == ARRIVED), "{}", said.0);
    said
}

/// All that came out of the serial port.
struct Said(String);

impl Said {
    /// What the guest's line of that name says.
    fn line(&self, name: &str) -> &str {
        let line = self.0.lines().find_map(|line| line.strip_prefix(&format!("GUEST-{name} ")));
        line.unwrap_or_else(|| panic!("no GUEST-{name}: {}", self.0))
    }

    /// Whether the kernel was given this parameter.
    fn has(&self, parameter: &str) -> bool {
        self.line("COMMAND-LINE").split(' ').any(|word| word == parameter)
    }
}

/// The code of an OVMF of 4 MiB, and a copy of its variables to be changed.
fn ovmf(at: &Path) -> [PathBuf; 2] {
    ovmf_of_size(at, "_4M")
}

fn ovmf_of_size(at: &Path, size: &str) -> [PathBuf; 2] {
    let variables = at.join(format!("variables{size}.fd"));
    fs::copy(format!("{OVMF}/OVMF_VARS{size}.fd"), &variables).unwrap();
    [format!("{OVMF}/OVMF_CODE{size}.fd").into(), variables]
}

#[test]
fn a_bios_starts_grub() {
    let guest = Generations::get();
    let directory = tempfile::tempdir().unwrap();
    let disk = guest.disk(directory.path(), &["--toplevel", &guest.first, "--loader", "grub"]);
    let said = guest.boot(&Firmware::SeaBios, &disk);
    assert_eq!(said.line("FIRMWARE"), "bios");
    assert!(said.has(&format!("init={}/init", guest.first)));

    // The store that it found is the one on this machine.
    let expected = directory.path().join("expected");
    fs::create_dir(&expected).unwrap();
    std::os::unix::fs::symlink(&guest.root, expected.join("root")).unwrap();
    let registration = guest.root.with_file_name("second-registration");
    std::os::unix::fs::symlink(registration, expected.join("registration")).unwrap();
    let lines = tool(&["scripts/expected-guest.sh", text(&expected)]);
    assert_eq!(lines.lines().count(), 2);
    for line in lines.lines() {
        assert!(said.0.contains(line), "{line}: {}", said.0);
    }
}

#[test]
fn ovmf_of_either_size_finds_systemd_boot_on_an_unknown_disk() {
    let guest = Generations::get();
    let directory = tempfile::tempdir().unwrap();
    let disk = guest.disk(directory.path(), &["--toplevel", &guest.first, "--loader", "systemd-boot"]);
    // From Debian 13 on there is none of 2 MiB.
    let sizes =
        ["_4M", ""].into_iter().filter(|size| Path::new(&format!("{OVMF}/OVMF_CODE{size}.fd")).exists());
    for size in sizes {
        let [code, variables] = ovmf_of_size(directory.path(), size);
        let said = guest.boot(&Firmware::Ovmf(&code, &variables), &disk);
        assert_eq!(said.line("FIRMWARE"), "efi");
        assert!(said.has(&format!("init={}/init", guest.first)));
    }
}

#[test]
fn an_entry_in_the_variables_is_enough_and_without_it_nothing_boots() {
    let guest = Generations::get();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let [code, empty] = ovmf(at);
    let entered = at.join("entered.fd");
    let variables = ["--efi-vars-template", text(&empty), "--efi-vars", text(&entered), "--boot-disk-entry"];
    let system = ["--toplevel", &guest.first, "--loader", "systemd-boot", "--format", "raw"];
    let disk = guest.disk(at, &[&system[..], &variables].concat());
    // Nothing is left but what the entry names.
    let esp = format!("{}@@1M", text(&disk));
    tool(&["mdeltree", "-i", &esp, "::EFI/BOOT"]);
    assert!(!run(&["mdir", "-i", &esp, "::EFI/BOOT"]).status.success());

    let said = guest.boot(&Firmware::Ovmf(&code, &entered), &disk);
    assert!(said.has(&format!("init={}/init", guest.first)));

    // An entry that comes from a store of another layout leads there, too.
    let [small, old, converted] = ["small.fd", "old.fd", "converted.fd"].map(|name| at.join(name));
    fs::write(&small, empty_variable_store()).unwrap();
    let create = ["create", "--template", text(&small), "-o", text(&old), "--boot-disk-entry"];
    let convert = ["convert", text(&old), "--template", text(&empty), "-o", text(&converted)];
    for arguments in [create, convert] {
        imagegen!().arg("efi-vars").args(arguments).assert().success();
    }
    let said = guest.boot(&Firmware::Ovmf(&code, &converted), &disk);
    assert!(said.has(&format!("init={}/init", guest.first)));

    let machine = Machine::start(&Firmware::Ovmf(&code, &empty), &[&disk, &guest.store]);
    // OVMF of today no longer starts its shell by itself.
    let said = machine.until_said(&["Shell>", "No bootable option or device was found"]);
    assert!(!said.contains("GUEST-") && !said.contains("systemd"), "{said}");
}

/// One disk under both kinds of firmware: what the guest says under each.
fn boot_twice(arguments: &[&str]) -> [Said; 2] {
    let guest = Generations::get();
    let directory = tempfile::tempdir().unwrap();
    let disk = guest.disk(directory.path(), &[arguments, &["--loader", "systemd-boot,grub"]].concat());
    let [code, variables] = ovmf(directory.path());
    let before = fs::read(&disk).unwrap();
    let said =
        [&Firmware::SeaBios, &Firmware::Ovmf(&code, &variables)].map(|firmware| guest.boot(firmware, &disk));
    assert!(fs::read(&disk).unwrap() == before);
    assert_eq!(said.each_ref().map(|said| said.line("FIRMWARE")), ["bios", "efi"]);
    said
}

#[test]
fn both_loaders_start_the_generation_that_is_the_default() {
    let Generations { first, second, .. } = Generations::get();
    let generations = [format!("1={first}"), format!("2={second}")];
    let [one, two] = generations.each_ref().map(|generation| ["--generation", generation]);
    for said in boot_twice(&[&["--toplevel", second][..], &one].concat()) {
        assert!(said.has(&format!("init={second}/init")) && said.has("guest.generation=second"));
        assert!(!said.has("guest.specialisation=special"));
    }
    // The newest is not always the one.
    for said in boot_twice(&[&["--toplevel", first][..], &one, &two].concat()) {
        assert!(said.has(&format!("init={first}/init")) && !said.has("guest.generation=second"));
    }
}

/// The system partition is FAT32: of the boot disk's size, where clusters are of one sector, and of mkfs.fat's choice.
#[test]
fn both_loaders_start_from_fat32() {
    let Generations { first, .. } = Generations::get();
    for size in [["--fat", "32"], ["--size", "520M"]] {
        for said in boot_twice(&[&["--toplevel", first][..], &size].concat()) {
            assert!(said.has(&format!("init={first}/init")));
        }
    }
}

#[test]
fn both_loaders_start_the_specialisation_that_is_the_default() {
    let Generations { first, second, .. } = Generations::get();
    let system = ["--toplevel", second, "--default-specialisation", "special"];
    let others = ["--generation", &format!("1={first}"), "--kernel-param", "guest.added=\"to all\""];
    // With everything that GRUB can show its menu by.
    let show = ["--resolution", "800x600", "--serial-console", "ttyS0,115200"];
    let [bios, efi] = boot_twice(&[&system[..], &others, &show].concat());
    for said in [&bios, &efi] {
        assert!(said.has("guest.specialisation=special") && said.has("guest.generation=second"));
    }
    // The kernel reads both alike.
    assert!(bios.line("COMMAND-LINE").ends_with(" \"guest.added=to all\""), "{}", bios.0);
    assert!(efi.line("COMMAND-LINE").ends_with(" guest.added=\"to all\""), "{}", efi.0);
}

#[test]
fn aavmf_starts_an_arm_machine_by_the_entry_in_its_variables() {
    let guest = Guest::at("target/guest-aarch64");
    let directory = tempfile::tempdir().unwrap();
    let [disk, store, variables] = ["disk", "store", "variables.fd"].map(|name| directory.path().join(name));
    let root = ["--store-root", text(&guest.root)];
    let system = ["--toplevel", &guest.toplevel, "--loader", "systemd-boot", "--timeout", "0"];
    let template = ["--efi-vars-template", "/usr/share/AAVMF/AAVMF_VARS.fd", "--efi-vars", text(&variables)];
    let mut boot_disk = imagegen!();
    boot_disk.arg("boot-disk").args(root).args(system).args(template).args([
        "--boot-disk-entry",
        "-o",
        text(&disk),
    ]);
    boot_disk.assert().success();
    let mut store_image = imagegen!();
    let registration = ["--registration", text(&guest.registration)];
    store_image.arg("store-image").args(root).args(registration).args(["-o", text(&store)]);
    store_image.assert().success();

    let code = Path::new("/usr/share/AAVMF/AAVMF_CODE.fd");
    let said = boot(&Firmware::Aavmf(code, &variables), &disk, &store);
    assert!(said.0.contains("starting Boot0000 \"Linux Boot Manager\""), "{}", said.0);
    assert!(said.has("console=ttyAMA0") && said.has(&format!("init={}/init", guest.toplevel)));
    assert!(said.line("KERNEL").ends_with("-arm64"));
}
