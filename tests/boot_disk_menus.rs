//! What the boot menus on a disk say, read with mtools and judged by grub-script-check.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::assert::OutputAssertExt;
use serde_json::json;
use testkit::menu::Menu;
use testkit::nixos::Nixos;
use testkit::{imagegen, run, text, tool};

/// A system's disk.
struct Disk {
    directory: tempfile::TempDir,
    image: PathBuf,
}

impl Disk {
    fn write(system: &Nixos, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("disk");
        let mut command = system.boot_disk(imagegen!());
        command.args(arguments).args(["--format", "raw", "-o", text(&image)]).assert().success();
        Self { directory, image }
    }

    fn esp(&self) -> String {
        format!("{}@@1M", text(&self.image))
    }

    /// A text file of the EFI system partition.
    fn text(&self, path: &str) -> String {
        tool(&["mtype", "-i", &self.esp(), &format!("::/{path}")])
    }

    fn menu(&self) -> Menu {
        Menu::read(&self.image)
    }

    /// `grub.cfg`, which GRUB's own parser must like.
    fn grub_menu(&self) -> String {
        let menu = self.text("grub/grub.cfg");
        let file = self.directory.path().join("grub.cfg");
        fs::write(&file, &menu).unwrap();
        assert_eq!(tool(&["grub-script-check", text(&file)]), "");
        menu
    }
}

fn base(path: &str) -> &str {
    Path::new(path).file_name().unwrap().to_str().unwrap()
}

#[test]
fn entries_of_systemd_boot() {
    let mut system = Nixos::new();
    system.specialise("special", &["quiet", "special=1"]);
    let disk = Disk::write(&system, &["--loader", "systemd-boot"]);
    let (kernel, initrd, toplevel) = (base(&system.kernel), base(&system.initrd), &system.toplevel);
    let entry = |title: &str, parameters: &str| {
        format!(
            "title {title}\n\
             version Generation 1 NixOS 25.11.test (Linux 6.12.1), built on 1970-01-01\n\
             linux /EFI/nixos/{kernel}-bzImage.efi\n\
             initrd /EFI/nixos/{initrd}-initrd.efi\n\
             options init={toplevel}/init {parameters}\n\
             sort-key nixos"
        )
    };
    let menu = disk.menu();
    assert_eq!(menu.entries.len(), 2);
    let (name, text) = menu.entry("NixOS");
    assert_eq!(text, entry("NixOS", "console=ttyS0 quiet"));
    assert_eq!(menu.loader_conf, format!("timeout 5\ndefault {name}\nconsole-mode keep\n"));
    assert_eq!(menu.entry("NixOS (special)").1, entry("NixOS (special)", "quiet special=1"));
}

#[test]
fn every_setting_of_systemd_boot() {
    let mut system = Nixos::new();
    system.specialise("special", &["quiet"]);
    let device_tree = system.add('d', "board.dtb", |at| fs::write(at, "a device tree").unwrap());
    system.bootspec["org.nixos.systemd-boot"] = json!({ "sortKey": "first", "devicetree": device_tree });
    system.write_bootspec();
    for (timeout, console) in [("0", "0"), ("menu-force", "auto"), ("menu-hidden", "max"), ("30", "keep")] {
        let id = "0123456789abcdef0123456789abcdef";
        let shown = ["--timeout", timeout, "--console-mode", console, "--no-editor", "--machine-id", id];
        let added =
            ["--kernel-param", "-a", "--kernel-param", "b=c d", "--default-specialisation", "special"];
        let disk = Disk::write(&system, &[&["--loader", "systemd-boot"][..], &shown, &added].concat());
        let menu = disk.menu();
        let (default, _) = menu.entry("NixOS (special)");
        assert_eq!(
            menu.loader_conf,
            format!("timeout {timeout}\ndefault {default}\neditor 0\nconsole-mode {console}\n")
        );
        let (_, entry) = menu.entry("NixOS");
        for line in [
            "sort-key first".to_owned(),
            format!("options init={}/init console=ttyS0 quiet -a b=c d", system.toplevel),
            format!("machine-id {id}"),
            format!("devicetree /EFI/nixos/{}.efi", base(&device_tree)),
        ] {
            assert!(entry.lines().any(|found| found == line), "{line}: {entry}");
        }
        assert_eq!(disk.text(&format!("EFI/nixos/{}.efi", base(&device_tree))), "a device tree");
    }
}

#[test]
fn a_toplevel_without_bootspec_means_the_same() {
    let mut system = Nixos::new();
    // The label is the one that its files imply.
    system.set("label", json!("NixOS 25.11.test (Linux 6.12.1)"));
    let arguments = ["--loader", "systemd-boot,grub"];
    let with = Disk::write(&system, &arguments);
    fs::remove_file(system.physical(&system.toplevel).join("boot.json")).unwrap();
    let without = Disk::write(&system, &arguments);
    assert!(fs::read(&with.image).unwrap() == fs::read(&without.image).unwrap());

    // Specialisations are the toplevels in its directory.
    let special = system.add_generation('5', &[]);
    let special_at = system.physical(&special);
    fs::remove_file(special_at.join("boot.json")).unwrap();
    fs::write(special_at.join("kernel-params"), "from the link\n").unwrap();
    let directory = system.physical(&system.toplevel).join("specialisation");
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::symlink(&special, directory.join("night")).unwrap();
    let menu = Disk::write(&system, &arguments).menu();
    let (_, entry) = menu.entry("NixOS (night)");
    assert!(entry.contains(&format!("options init={special}/init from the link\n")), "{entry}");
}

#[test]
fn entries_of_grub() {
    let mut system = Nixos::new();
    system.specialise("special", &["quiet", "special=1"]);
    let old = system.add_generation('2', &["old"]);
    let settings = ["--timeout", "7", "--resolution", "800x600", "--serial-console", "ttyS1,38400"];
    let generation = format!("4={old}");
    let default = ["--generation", &generation, "--default-specialisation", "special"];
    let font = system.physical(&system.grub).join("share/grub");
    fs::create_dir_all(&font).unwrap();
    fs::write(font.join("unicode.pf2"), "FILE font").unwrap();
    let disk = Disk::write(
        &system,
        &[&["--loader", "grub", "--kernel-param", "x=$y"][..], &settings, &default].concat(),
    );
    let menu = disk.grub_menu();

    let entry = |title: &str, flags: &str, toplevel: &str, parameters: &str| {
        format!(
            "menuentry {title} --class nixos{flags} {{\n  \
               search --set=drive1 --fs-uuid 4E49-584F\n  \
               linux ($drive1)/kernels/{}-bzImage init={toplevel}/init {parameters} 'x=$y'\n  \
               initrd ($drive1)/kernels/{}-initrd\n}}\n\n",
            base(&system.kernel),
            base(&system.initrd)
        )
    };
    let label = "1970-01-01 - 25.11.test (Linux 6.12.1)";
    let submenu = |number: u32, name: &str| format!("'NixOS - Configuration {number} ({name}{label})'");
    let (new, special) = (&system.toplevel, "quiet special=1");
    let expected = [
        entry("NixOS", " --unrestricted", new, "console=ttyS0 quiet"),
        entry("'NixOS - special'", " --unrestricted", new, special),
        "submenu 'NixOS - All configurations' --class submenu {\n".to_owned(),
        entry(&submenu(5, ""), "", new, "console=ttyS0 quiet"),
        entry(&submenu(5, "special - "), "", new, special),
        entry(&submenu(4, ""), "", &old, "old"),
        // The copy has the same specialisation as the original.
        entry(&submenu(4, "special - "), "", new, special),
        "}\n".to_owned(),
    ];
    let entries = menu.find("menuentry").unwrap();
    assert_eq!(menu[entries..], expected.concat());
    for line in [
        "  set default='1'",
        "  set timeout=7",
        "  set gfxmode=800x600",
        "if loadfont ($drive1)/converted-font.pf2; then",
        "serial --unit=1 --speed=38400",
    ] {
        assert!(menu[..entries].lines().any(|found| found == line), "{line}: {menu}");
    }
}

#[test]
fn grub_follows_extensions_and_has_the_name_of_the_distribution() {
    let mut system = Nixos::new();
    system.specialise("special", &["quiet"]);
    system.bootspec["org.nixos.extra-initrd.v1"] = json!({ "paths": ["/vendorfw/firmware.cpio", "it's"] });
    system.set("label", json!("Acme's OS Yarara 26.05 (Linux 6.12.1)"));
    let menu = Disk::write(&system, &["--loader", "grub"]).grub_menu();
    let initrd = format!("  initrd ($drive1)/kernels/{}-initrd", base(&system.initrd));
    let with_extra = format!("{initrd} ($drive1)/vendorfw/firmware.cpio ($drive1)/'it'\\''s'");
    assert_eq!(menu.lines().filter(|line| *line == with_extra).count(), 2, "{menu}");
    assert_eq!(menu.lines().filter(|line| *line == initrd).count(), 2, "{menu}");
    for title in [
        r"menuentry 'Acme'\''s OS' --",
        r"menuentry 'Acme'\''s OS - special' --",
        r"submenu 'Acme'\''s OS - All configurations' --",
        r"menuentry 'Acme'\''s OS - Configuration 1 (1970-01-01 - Yarara 26.05 (Linux 6.12.1))' --",
    ] {
        assert!(menu.lines().any(|line| line.starts_with(title)), "{title}: {menu}");
    }
}

#[test]
fn names_and_parameters_never_become_script() {
    let mut system = Nixos::new();
    let names =
        ["it's", "\"two\" words", "$(reboot) ${root}", "} menuentry x { reboot", "a;reboot #", "back\\slash"];
    for name in names {
        system.specialise(name, &["$a", "b={c};reboot", "d=\"e } f\"", "g&&h||i<j>k", "*?[l]"]);
    }
    system.set("label", json!("NixOS it's } $x \"y\" {"));
    let menu = Disk::write(&system, &["--loader", "grub"]).grub_menu();
    assert!(menu.contains("menuentry 'NixOS - } menuentry x { reboot' --class"), "{menu}");
    assert!(menu.contains(r"menuentry 'NixOS - it'\''s' --class"), "{menu}");
    // As many entries as there should be, no more: the system, and every specialisation, twice each.
    assert_eq!(menu.lines().filter(|line| line.starts_with("menuentry ")).count(), 2 * (1 + names.len()));
    assert_eq!(
        menu.lines()
            .filter(|line| line.ends_with(" '$a' 'b={c};reboot' 'd=e } f' 'g&&h||i<j>k' '*?[l]'"))
            .count(),
        2 * names.len()
    );
    // The judge is awake.
    assert!(!run(&["grub-script-check", "/bin/sh"]).status.success());
}
