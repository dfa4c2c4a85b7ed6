//! `run IMAGE`: what an image has decides the machine. Here it is only printed; `run_boots/images.rs` boots.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};

use assert_cmd::assert::OutputAssertExt;
use data_encoding::HEXUPPER;
use testkit::place::{Place, Printed};
use testkit::program::{AA64, IA32, X64};
use testkit::system::System;
use testkit::{error_of, imagegen, names_in, text, tool};

fn place() -> Place {
    Place::new(env!("CARGO_BIN_EXE_nix-imagegen"))
}

#[test]
fn the_loaders_of_a_disk_decide_its_firmware() {
    let place = place();
    let loaders = ["--partition-table", "hybrid", "--loader", "systemd-boot,grub"];
    place.root_disk("hybrid.qcow2", &loaders);
    place.root_disk("legacy.img", &["--partition-table", "legacy", "--loader", "grub", "--format", "raw"]);
    place.root_disk("efi.qcow2", &["--partition-table", "efi", "--loader", "systemd-boot"]);

    for (arguments, by_efi, root) in [
        (&["hybrid.qcow2"][..], true, 3),
        (&["hybrid.qcow2", "--firmware", "uefi"], true, 3),
        (&["hybrid.qcow2", "--firmware", "bios"], false, 3),
        (&["legacy.img"], false, 1),
        (&["legacy.img", "--firmware", "bios"], false, 1),
        (&["efi.qcow2"], true, 2),
    ] {
        let machine = place.printed(arguments);
        assert!(machine.words[0].ends_with("/qemu-system-x86_64"), "{arguments:?}");
        assert_eq!(machine.flash().len(), if by_efi { 2 } else { 0 }, "{arguments:?}");
        assert_eq!(machine.disks().len(), 1, "{arguments:?}");
        assert_eq!(machine.all("-m"), ["1024"]);
        assert_eq!(machine.all("-virtfs"), [""; 0], "nothing of this machine is shared");
        assert!(machine.words.iter().any(|word| word == "-nographic"));
        let starts = if by_efi {
            "UEFI firmware of x86_64-linux starts /EFI/BOOT/BOOTX64.EFI on partition 1 (systemd-boot 2"
        } else {
            "a BIOS starts GRUB in the first sector; what it writes is gone when it ends"
        };
        assert!(machine.told.starts_with(&format!("{}: {starts}", arguments[0])), "{}", machine.told);
        // They have no store, and nothing else is wrong with them.
        let warning = format!("\nwarning: /nix/store of partition {root} is empty, and the system needs");
        assert!(machine.told.contains(&warning), "{}", machine.told);
        assert_eq!(machine.told.lines().count(), 2, "{}", machine.told);
    }

    let error = place.refused(&["efi.qcow2", "--firmware", "bios"]);
    assert!(
        error.contains(
            "cannot run `efi.qcow2`: it has nothing that a BIOS starts, which is boot code in its first sector; it has \
             /EFI/BOOT/BOOTX64.EFI on partition 1: give `--firmware uefi`"
        ),
        "{error}"
    );
    let error = place.refused(&["legacy.img", "--firmware", "uefi"]);
    assert!(error.contains("it has GRUB in the first sector: give `--firmware bios`"), "{error}");

    // Without the core image that it loads, GRUB's first sector starts nothing.
    let disk = File::options().write(true).open(place.path("legacy.img")).unwrap();
    disk.write_all_at(&[0; 512], 512).unwrap();
    let error = place.refused(&["legacy.img"]);
    assert!(error.contains("GRUB in the first sector, without the core image that it loads"), "{error}");
}

#[test]
fn the_loaders_name_decides_the_processor() {
    let place = place();
    place.esp("arm", &[("bootaa64.efi", AA64)]);
    let machine = place.printed(&["arm"]);
    assert!(machine.words[0].ends_with("/qemu-system-aarch64"), "{:?}", machine.words);
    assert!(machine.all("-machine")[0].starts_with("virt,"));
    assert!(machine.flash()[0].ends_with("/AAVMF_CODE.fd"));
    assert!(
        machine.told.contains("of aarch64-linux starts /efi/boot/bootaa64.efi on partition 1 (a loader 7)")
    );

    place.esp("both", &[("BOOTAA64.EFI", AA64), ("BOOTX64.EFI", X64), ("GRUBX64.EFI", X64)]);
    let own = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    assert!(place.printed(&["both"]).words[0].ends_with(own));

    // A BIOS is a PC's.
    let error = place.refused(&["arm", "--firmware", "bios"]);
    assert!(error.contains("it has /efi/boot/bootaa64.efi on partition 1"), "{error}");
    place.esp("other", &[("BOOTIA32.EFI", IA32)]);
    let error = place.refused(&["other"]);
    assert!(error.contains("/efi/boot/BOOTIA32.EFI on partition 1"), "{error}");
    place.esp("none", &[("other.efi", X64)]);
    let error = place.refused(&["none"]);
    assert!(
        error.contains("it has nothing that firmware starts: no boot code in its first sector, and no /EFI/BOOT/BOOTX64.EFI")
            && error.contains("its partitions: 1 (FAT)"),
        "{error}"
    );
}

#[test]
fn what_a_machine_writes_goes_to_a_private_layer_or_to_the_image() {
    let place = place();
    let programs = [("bootx64.efi", X64)];
    place.esp("disk.img", &programs);
    // Variables beside the image may be another disk's.
    fs::write(place.path("efi-vars.fd"), "of another disk").unwrap();
    let image = place.path("disk.img");
    let before = fs::read(&image).unwrap();
    let machine = place.printed(&["disk.img", "--", "-m", "2G"]);
    assert_eq!(machine.words[machine.words.len() - 2..], ["-m", "2G"]);
    let [directory] = names_in(&place.path("tmp")).try_into().unwrap();
    let directory = place.path("tmp").join(directory);
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(names_in(&directory), ["disk.img", "efi-vars.fd"]);
    let info = tool(&["qemu-img", "info", "--output=json", text(&directory.join("disk.img"))]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["backing-filename"], text(&image));
    assert_eq!(info["backing-filename-format"], "raw");
    let doubled = text(&directory).replace(',', ",,");
    assert!(machine.disks()[0].contains(&format!("file={doubled}/disk.img,")), "{:?}", machine.words);
    assert!(machine.flash()[1].ends_with(&format!("file={doubled}/efi-vars.fd")), "{:?}", machine.words);
    assert!(
        fs::read(directory.join("efi-vars.fd")).unwrap()
            == fs::read("/usr/share/OVMF/OVMF_VARS_4M.fd").unwrap()
    );
    fs::remove_dir_all(&directory).unwrap();

    tool(&["qemu-img", "convert", "-O", "qcow2", text(&image), text(&place.path("disk.qcow2"))]);
    for (name, format) in [("disk.img", "raw"), ("disk.qcow2", "qcow2")] {
        let machine = place.printed(&[name, "--write"]);
        let file = text(&place.path(name)).replace(',', ",,");
        let expected =
            format!("cache=writeback,file={file},format={format},id=drive1,if=none,index=1,werror=report");
        assert_eq!(machine.disks(), [expected]);
        assert!(machine.told.contains("; it writes to the image itself"), "{}", machine.told);
        assert_eq!(machine.all("-device")[1], "virtio-blk-pci,bootindex=1,drive=drive1");
    }
    assert!(fs::read(&image).unwrap() == before);

    // Variables that are to stay have a name.
    let mut command = place.command(&["disk.img", "--accel", "tcg", "--print", "--json"]);
    let machine = Printed::by({
        command.env("NIX_EFI_VARS", "kept.fd");
        command
    });
    assert!(
        machine.flash()[1].ends_with("/kept.fd") && place.path("kept.fd").is_file(),
        "{:?}",
        machine.words
    );
}

#[test]
fn what_does_not_boot_by_itself_is_named_with_what_to_do() {
    let place = place();
    let system = System::new();
    let root = text(system.store.root.path());
    let of_system = ["--store-root", root, "--registration", text(&system.registration)];
    imagegen!().arg("store-image").args(of_system).arg("-o").arg(place.path("store")).assert().success();
    imagegen!().arg("root-disk").args(of_system).arg("-o").arg(place.path("root")).assert().success();
    fs::copy(&system.variables, place.path("variables")).unwrap();
    fs::write(place.path("zeros"), vec![0; 1 << 20]).unwrap();
    fs::write(place.path("text"), "something else\n".repeat(1000)).unwrap();
    fs::write(place.path("vm.toml"), "graphics = false\n").unwrap();
    fs::write(place.path("squashfs"), [&b"hsqs"[..], &[0; 4096]].concat()).unwrap();
    tool(&["qemu-img", "create", "-q", "-f", "vmdk", text(&place.path("vmdk")), "1M"]);
    fs::create_dir(place.path("directory")).unwrap();
    for (image, parts) in [
        ("store", &["it is a store image", "`useNixStoreImage = true`", "`storeImage`", "--config"][..]),
        (
            "root",
            &[
                "it is a root file system without a partition table",
                "`diskImage`",
                "root-disk --partition-table hybrid",
            ],
        ),
        ("variables", &["it holds a firmware's EFI variables", "`efiVars`"]),
        ("zeros", &["it is empty: it begins with zeros"]),
        ("text", &["it has neither a partition table nor a file system that is known"]),
        ("squashfs", &["it is no disk that boots by itself: it holds squashfs file system"]),
        ("vmdk", &["`vmdk` is a VMDK image", "qemu-img convert -f vmdk -O qcow2 vmdk vmdk.qcow2`\n"]),
        ("directory", &["`directory` is a directory; name an image file"]),
        ("missing", &["cannot open `missing`: No such file"]),
        ("vm.toml", &["a config is given as `--config vm.toml`"]),
    ] {
        let error = place.refused(&[image]);
        for part in parts {
            assert!(error.contains(part), "{image}: no `{part}` in {error}");
        }
        assert!(error.starts_with(&format!("error: cannot run `{image}`: ")), "{error}");
    }
}

/// As GRUB's and systemd-boot's installers leave a disk that is only for one machine.
#[test]
fn a_loader_that_firmware_does_not_find_gets_an_entry() {
    let place = place();
    place.esp("disk", &[]);
    place.add("disk", "EFI/NixOS-boot/grubx64.efi", "a program");
    place.add("disk", "EFI/other/tool.efi", "a program");
    let machine = place.printed(&["disk"]);
    let starts = "starts /efi/NixOS-boot/grubx64.efi on partition 1 by an entry in its variables; what it writes is gone";
    assert!(machine.told.contains(starts), "{}", machine.told);
    let [directory] = names_in(&place.path("tmp")).try_into().unwrap();
    let variables = place.path("tmp").join(directory).join("efi-vars.fd");
    let listed = tool(&["virt-fw-vars", "-i", text(&variables), "--print", "--verbose"]);
    let sgdisk = tool(&["sgdisk", "-i", "1", text(&place.path("disk"))]);
    let guid = sgdisk.lines().find_map(|line| line.strip_prefix("Partition unique GUID: ")).unwrap();
    assert!(listed.contains("devpath=Partition(nr=1)/FilePath(\\efi\\NixOS-boot\\grubx64.efi)"), "{listed}");
    // The first three groups of its digits stand in the order of small machines (UEFI 2.10, appendix A).
    let groups: Vec<Vec<u8>> =
        guid.split('-').map(|group| HEXUPPER.decode(group.as_bytes()).unwrap()).collect();
    let little = groups[..3].iter().flat_map(|group| group.iter().rev());
    let bytes: Vec<u8> = little.chain(groups[3..].iter().flatten()).copied().collect();
    assert!(fs::read(variables).unwrap().windows(16).any(|found| found == bytes), "{guid}: {listed}");
    // A program in the place where firmware looks comes first.
    place.add("disk", "EFI/BOOT/BOOTX64.EFI", "a program");
    let machine = place.printed(&["disk"]);
    assert!(machine.told.contains("starts /efi/boot/BOOTX64.EFI on partition 1; what"), "{}", machine.told);
}

#[test]
fn a_system_that_says_nothing_is_warned_of() {
    let place = place();
    place.esp("disk", &[("bootx64.efi", X64)]);
    assert!(!place.printed(&["disk"]).told.contains("warning"), "there is no entry");
    for (parameters, is_silent) in [("quiet", true), ("console=tty0 console=ttyS0,115200n8", false)] {
        place.add(
            "disk",
            "loader/entries/one.conf",
            &format!("title One\noptions init=/init {parameters}\n"),
        );
        let told = place.printed(&["disk"]).told;
        let warning = "\nwarning: no boot entry has the kernel parameter console=ttyS0, so Linux says nothing here; \
                       `--kernel-param console=ttyS0` of root-disk and boot-disk adds it";
        assert_eq!(told.contains(warning), is_silent, "{told}");
    }
    // Of several entries one is enough.
    place.add("disk", "grub/grub.cfg", "menuentry x {\n linux /kernel quiet\n}\n");
    assert!(!place.printed(&["disk"]).told.contains("warning"));
}

#[test]
fn outputs_of_derivations_and_systems_are_known() {
    let place = place();
    place.esp("disk", &[("bootx64.efi", X64)]);
    for (directory, name) in [("one", "nixos.qcow2"), ("two", "nixos.img"), ("three", "disk.img")] {
        fs::create_dir(place.path(directory)).unwrap();
        fs::hard_link(place.path("disk"), place.path(directory).join(name)).unwrap();
        let machine = place.printed(&[directory]);
        assert!(machine.told.starts_with(&format!("{directory}/{name}: UEFI firmware")), "{}", machine.told);
    }
    let system = System::new();
    let toplevel = format!("{}{}", text(system.store.root.path()), system.toplevels[0]);
    std::os::unix::fs::symlink(toplevel, place.path("result")).unwrap();
    let error = place.refused(&["result"]);
    assert!(
        error.contains(
            "it is a system, not a disk; make one of it: `nix-imagegen root-disk result -o disk.qcow2`"
        ),
        "{error}"
    );
}

/// As Nix has them, which puts nothing in `/usr`.
#[test]
fn firmware_is_found_beside_its_qemu() {
    let place = place();
    place.esp("disk", &[("bootx64.efi", X64)]);
    let (bin, share) = (place.path("qemu/bin"), place.path("qemu/share/qemu"));
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(&share).unwrap();
    let qemu = tool(&["sh", "-c", "command -v qemu-system-x86_64"]);
    fs::copy(qemu.trim(), bin.join("qemu-system-x86_64")).unwrap();
    for (from, to) in [("CODE", "edk2-x86_64-code.fd"), ("VARS", "edk2-i386-vars.fd")] {
        fs::copy(format!("/usr/share/OVMF/OVMF_{from}_4M.fd"), share.join(to)).unwrap();
    }
    let path = format!("{}:{}", text(&bin), std::env::var("PATH").unwrap());
    let mut command = place.command(&["disk", "--accel", "tcg", "--print", "--json"]);
    command.env("PATH", path);
    let machine = Printed::by(command);
    let code = text(&share.join("edk2-x86_64-code.fd")).replace(',', ",,");
    assert!(machine.flash()[0].ends_with(&format!("file={code}")), "{:?}", machine.flash());
}

#[test]
fn options_that_do_not_go_with_an_image_are_wrong_usage() {
    let place = place();
    for (arguments, what) in [
        (&["disk", "--config", "vm.toml"][..], "cannot be used with"),
        (&["--config", "vm.toml", "--write"], "cannot be used with"),
        (&["--config", "vm.toml", "--firmware", "bios"], "cannot be used with"),
        (&["disk", "--print-guest"], "cannot be used with"),
        (&["disk", "--firmware", "coreboot"], "invalid value"),
        (&["disk", "--window"], "neither DISPLAY nor WAYLAND_DISPLAY"),
        (&["--print"], "<IMAGE|--config <FILE>>"),
    ] {
        let output = place.command(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(what), "{arguments:?}: {said}");
    }
    place.esp("disk", &[("bootx64.efi", X64)]);
    let mut command = place.command(&["disk", "--window", "--accel", "tcg", "--print", "--json"]);
    command.env("DISPLAY", ":0");
    assert!(!Printed::by(command).words.iter().any(|word| word == "-nographic"));
}

#[test]
fn what_a_machine_needs_and_is_missing_is_told_without_options() {
    let place = place();
    place.esp("disk", &[("bootx64.efi", X64)]);
    let mut command = place.command(&["disk"]);
    let error = error_of(command.env("PATH", "/does/not/exist"));
    assert_eq!(
        error,
        "error: cannot run `disk`: there is no qemu-system-x86_64 on PATH; install QEMU 5.1 or newer (Debian: \
         qemu-system-x86)\n"
    );
}

#[test]
fn names_of_any_bytes_are_started() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = place();
    place.esp("disk", &[("bootx64.efi", X64)]);
    let name = OsStr::from_bytes(b"gr\xfc\xdfe\n,x");
    fs::rename(place.path("disk"), place.directory.path().join(name)).unwrap();
    for more in [&[][..], &["--write"]] {
        // A shell script in QEMU's place sees the bytes; JSON could not have them.
        let bin = place.path("bin");
        fs::create_dir_all(&bin).unwrap();
        let program = bin.join("qemu-system-x86_64");
        let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo QEMU emulator version 9.2.0 && exit\nprintf '%s\\0' \"$@\"\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = place.command(&["--accel", "tcg"]);
        let path = format!("{}:{}", text(&bin), std::env::var("PATH").unwrap());
        let output = command.arg(name).args(more).env("PATH", path).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        assert!(told.contains("Ctrl-A X ends the machine"), "{told}");
        let escaped = b"gr\xfc\xdfe\n,,x";
        let has_name = output.stdout.windows(escaped.len()).any(|bytes| bytes == escaped);
        assert_eq!(has_name, !more.is_empty());
    }
}
