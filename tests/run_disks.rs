//! Disks of a config that are more than it takes them for, and machines without a screen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;

use testkit::place::{Place, Printed};
use testkit::{error_of, text};

/// What a machine needs that boots from a disk.
const BOOT: &str = "mountHostNixStore = false\nuseBootLoader = true\nuseEFIBoot = true\n";

fn place() -> Place {
    Place::new(env!("CARGO_BIN_EXE_nix-imagegen"))
}

/// The machine of a config with these options, printed.
fn command(place: &Place, options: &str, more: &[&str]) -> std::process::Command {
    fs::write(place.path("vm.toml"), options).unwrap();
    let mut command = place.command(&["--config", "vm.toml", "--accel", "tcg", "--print", "--json"]);
    command.args(more).env_remove("NIX_DISK_IMAGE");
    command
}

#[test]
fn a_boot_disk_with_a_root_of_its_own_is_told() {
    let place = place();
    place.root_disk("a disk", &["--partition-table", "hybrid", "--loader", "systemd-boot,grub"]);
    for (root, besides) in [("diskImage = false", "a root in memory"), ("diskImage = \"root\"", "`/")] {
        let machine = Printed::by(command(&place, &format!("{BOOT}bootDisk = \"a disk\"\n{root}\n"), &[]));
        let warned = machine.told.lines().find(|line| line.starts_with("warning: bootDisk: ")).unwrap();
        assert!(
            warned
                .contains("/a disk` has a root file system of its own (partition 3), and this machine has "),
            "{warned}"
        );
        assert!(warned.contains(&format!("this machine has {besides}")), "{warned}");
        let disk = text(&place.path("a disk")).to_owned();
        let alone = format!("`nix-imagegen run {}` starts it by itself", shell_words::quote(&disk));
        assert!(warned.ends_with(&alone), "{warned}");
    }
    // A boot disk has none.
    place.esp("boot", &[("bootx64.efi", testkit::program::X64)]);
    let machine =
        Printed::by(command(&place, &format!("{BOOT}bootDisk = \"boot\"\ndiskImage = false\n"), &[]));
    assert!(!machine.told.contains("bootDisk"), "{}", machine.told);
}

#[test]
fn one_file_is_never_the_root_disk_and_another_disk() {
    let place = place();
    place.root_disk("nixos.qcow2", &["--partition-table", "efi", "--loader", "systemd-boot"]);
    let before = fs::read(place.path("nixos.qcow2")).unwrap();
    // The root disk has this name if none is given.
    let refused = |options: &str| error_of(&mut command(&place, options, &[]));
    let error = refused(&format!("{BOOT}bootDisk = \"nixos.qcow2\"\n"));
    assert!(
        error.contains("diskImage: `") && error.contains("is the machine's root disk and its bootDisk"),
        "{error}"
    );
    assert!(error.contains("nix-imagegen run "), "{error}");
    std::os::unix::fs::symlink("nixos.qcow2", place.path("link")).unwrap();
    let error = refused(&format!("{BOOT}bootDisk = \"nixos.qcow2\"\ndiskImage = \"link\"\n"));
    assert!(error.contains("root disk and its bootDisk"), "{error}");
    // Not even where it is nothing else in the config.
    place.esp("boot", &[("bootx64.efi", testkit::program::X64)]);
    let error = refused(&format!("{BOOT}bootDisk = \"boot\"\n"));
    assert!(
        error.contains("nixos.qcow2` has the name of this machine's own root disk, and is a disk that boots by itself; `nix-imagegen run ")
            && error.trim_end().ends_with("starts it by itself, or name another file as diskImage"),
        "{error}"
    );
    // Who names it means it.
    let named = format!("{BOOT}bootDisk = \"boot\"\ndiskImage = \"nixos.qcow2\"\n");
    assert_eq!(Printed::by(command(&place, &named, &[])).disks().len(), 2);
    let mut by_variable = command(&place, &format!("{BOOT}bootDisk = \"boot\"\n"), &[]);
    by_variable.env("NIX_DISK_IMAGE", "nixos.qcow2");
    assert_eq!(Printed::by(by_variable).disks().len(), 2);
    assert!(fs::read(place.path("nixos.qcow2")).unwrap() == before);

    // A root file system alone boots nothing, and may be the machine's.
    place.root_disk("nixos.qcow2", &[]);
    assert_eq!(Printed::by(command(&place, &format!("{BOOT}bootDisk = \"boot\"\n"), &[])).disks().len(), 2);
    let error = refused(&format!(
        "{BOOT}bootDisk = \"boot\"\nuseNixStoreImage = true\nstoreImage = \"nixos.qcow2\"\n"
    ));
    assert!(error.contains("root disk and its storeImage") && !error.contains("nix-imagegen run"), "{error}");
}

#[test]
fn a_machine_without_a_screen_gets_no_window() {
    let place = place();
    place.esp("boot", &[("bootx64.efi", testkit::program::X64)]);
    let options = format!("{BOOT}bootDisk = \"boot\"\ndiskImage = false\n");
    let words = |machine: &Printed| machine.words.iter().any(|word| word == "-nographic");
    let machine = Printed::by(command(&place, &options, &[]));
    assert!(words(&machine), "{:?}", machine.words);
    assert!(
        machine.told.contains("the machine gets no window: this machine has no screen"),
        "{}",
        machine.told
    );
    for (variable, value) in
        [("DISPLAY", ":0"), ("WAYLAND_DISPLAY", "wayland-0"), ("QEMU_OPTS", "-m 9 -vnc :7")]
    {
        let mut command = command(&place, &options, &[]);
        command.env(variable, value);
        let machine = Printed::by(command);
        assert!(!words(&machine) && !machine.told.contains("window"), "{variable}: {}", machine.told);
    }
    for more in [&["--", "-display", "none"][..], &["--", "--daemonize"]] {
        assert!(!words(&Printed::by(command(&place, &options, more))), "{more:?}");
    }
    let elsewhere = format!("{options}qemu.options = [\"-spice port=5930\"]\n");
    assert!(!words(&Printed::by(command(&place, &elsewhere, &[]))));
}
