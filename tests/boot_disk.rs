//! The bytes of boot disks, judged by sgdisk, fsck.fat, mtools, qemu-img, grub-editenv and virt-fw-vars.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use serde_json::{Value, json};
use testkit::nixos::Nixos;
use testkit::program;
use testkit::{error_of, imagegen, names_in, run, text, tool};

const SECTOR: usize = 512;
/// What nixpkgs' `qemu-vm.nix` runs in its helper machine.
const SGDISK: &str = "--set-alignment=1 --new=1:34:2047 --change-name=1:BIOSBootPartition --typecode=1:ef02 \
    --set-alignment=512 --largest-new=2 --change-name=2:EFISystem --typecode=2:ef00 \
    --attributes=1:set:1 --attributes=2:set:2 --disk-guid=97FD5997-D90B-4AA3-8D16-C1723AEA73C1 \
    --partition-guid=1:1C06F03B-704E-4657-B9CD-681A087A2FDC \
    --partition-guid=2:970C694F-AFD0-4B99-B750-CDB7A329AB6F --hybrid 2 --recompute-chs";

/// Writes the system's disk, which must succeed.
fn write(system: &Nixos, disk: &Path, arguments: &[&str]) {
    system.boot_disk(imagegen!()).args(arguments).args(["-o", text(disk)]).assert().success().stdout("");
}

/// The files on the EFI system partition, as mtools finds them.
fn paths_on(disk: &Path) -> BTreeSet<String> {
    let esp = format!("{}@@1M", text(disk));
    let listing = tool(&["mdir", "-b", "-/", "-i", &esp, "::/"]);
    let files = listing.lines().filter(|line| !line.ends_with('/'));
    files.map(|line| line.strip_prefix("::/").unwrap().to_owned()).collect()
}

/// A file on the EFI system partition, as mtools reads it.
fn file_on(disk: &Path, path: &str) -> Vec<u8> {
    let output = run(&["mcopy", "-i", &format!("{}@@1M", text(disk)), &format!("::/{path}"), "-"]);
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Has sgdisk and fsck.fat look for damage.
fn check(disk: &Path) {
    let verified = tool(&["sgdisk", "-v", text(disk)]);
    assert!(verified.contains("No problems found"), "{verified}");
    let bytes = fs::read(disk).unwrap();
    let esp = disk.with_extension("esp");
    fs::write(&esp, &bytes[2048 * SECTOR..bytes.len() - 33 * SECTOR]).unwrap();
    let checked = tool(&["fsck.fat", "-n", text(&esp)]);
    assert_eq!(checked.lines().count(), 2, "fsck.fat has remarks: {checked}");
}

#[test]
fn the_partition_table_is_sgdisks() {
    let system = Nixos::new();
    let directory = tempfile::tempdir().unwrap();
    let theirs = directory.path().join("theirs");
    File::create(&theirs).unwrap().set_len(60 << 20).unwrap();
    tool(&[&["sgdisk"][..], &SGDISK.split_whitespace().collect::<Vec<_>>(), &[text(&theirs)]].concat());
    let theirs = fs::read(&theirs).unwrap();

    for loader in ["systemd-boot", "grub", "systemd-boot,grub"] {
        let disk = directory.path().join(loader);
        write(&system, &disk, &["--loader", loader, "--format", "raw"]);
        check(&disk);
        let ours = fs::read(&disk).unwrap();
        // Boot code, then what every disk has.
        let table = if loader == "systemd-boot" { 0..34 * SECTOR } else { 440..34 * SECTOR };
        assert!(ours[table.clone()] == theirs[table], "{loader}");
        let backup = theirs.len() - 33 * SECTOR..;
        assert!(ours[backup.clone()] == theirs[backup], "{loader}");

        let qcow2 = directory.path().join(format!("{loader}.qcow2"));
        write(&system, &qcow2, &["--loader", loader]);
        tool(&["qemu-img", "check", "-f", "qcow2", text(&qcow2)]);
        let same = tool(&["qemu-img", "compare", "-f", "raw", "-F", "qcow2", text(&disk), text(&qcow2)]);
        assert!(same.contains("identical"), "{same}");
    }
}

#[test]
fn every_file_is_where_nixos_puts_it() {
    let mut system = Nixos::new();
    system.specialise("special", &["special"]);
    let old = system.add_generation('2', &["quiet"]);
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let arguments = ["--loader", "systemd-boot,grub", "--format", "raw", "--resolution", "1024x768"];
    fs::create_dir_all(system.physical(&system.grub).join("share/grub")).unwrap();
    fs::write(system.physical(&system.grub).join("share/grub/unicode.pf2"), "FILE font").unwrap();
    write(&system, &disk, &[&arguments[..], &["--generation", &format!("4={old}")]].concat());
    check(&disk);

    let base = |path: &str| path.rsplit_once('/').unwrap().1.to_owned();
    let (kernel, initrd) = (base(&system.kernel), base(&system.initrd));
    let platform = system.physical(&system.grub).join("lib/grub/i386-pc");
    let mut expected: BTreeSet<String> = [
        "converted-font.pf2",
        "EFI/BOOT/BOOTX64.EFI",
        "EFI/systemd/systemd-bootx64.efi",
        "loader/loader.conf",
        "loader/entries.srel",
        "grub/grub.cfg",
        "grub/grubenv",
    ]
    .map(str::to_owned)
    .into();
    // Two generations, each with its specialisation.
    let found = paths_on(&disk);
    let entries: Vec<_> = found.iter().filter(|path| path.starts_with("loader/entries/")).collect();
    assert_eq!(entries.len(), 4);
    expected.extend(entries.into_iter().cloned());
    // Shared by all generations, and there once for each boot loader.
    expected.extend([
        format!("EFI/nixos/{kernel}-bzImage.efi"),
        format!("EFI/nixos/{initrd}-initrd.efi"),
        format!("kernels/{kernel}-bzImage"),
        format!("kernels/{initrd}-initrd"),
    ]);
    let modules = names_in(&platform);
    let modules: Vec<_> =
        modules.iter().filter(|name| matches!(name.rsplit_once('.'), Some((_, "mod" | "lst")))).collect();
    assert!(modules.len() > 250);
    expected.extend(modules.iter().map(|name| format!("grub/i386-pc/{name}")));
    assert_eq!(found.difference(&expected).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(expected.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new());

    let source = |path: &str, name: &str| fs::read(system.physical(path).join(name)).unwrap();
    for (path, bytes) in [
        (format!("EFI/nixos/{kernel}-bzImage.efi"), source(&system.kernel, "bzImage")),
        (format!("EFI/nixos/{initrd}-initrd.efi"), source(&system.initrd, "initrd")),
        (format!("kernels/{kernel}-bzImage"), source(&system.kernel, "bzImage")),
        (format!("kernels/{initrd}-initrd"), source(&system.initrd, "initrd")),
        ("grub/i386-pc/linux.mod".to_owned(), source(&system.grub, "lib/grub/i386-pc/linux.mod")),
        ("converted-font.pf2".to_owned(), b"FILE font".to_vec()),
    ] {
        assert!(file_on(&disk, &path) == bytes, "{path}");
    }
    let program = source(&system.systemd, "lib/systemd/boot/efi/systemd-bootx64.efi");
    for path in ["EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"] {
        assert!(file_on(&disk, path) == program, "{path}");
    }

    // grub-reboot in the guest can set its variable.
    let environment = directory.path().join("grubenv");
    fs::write(&environment, file_on(&disk, "grub/grubenv")).unwrap();
    tool(&["grub-editenv", text(&environment), "set", "next_entry=1"]);
    assert_eq!(tool(&["grub-editenv", text(&environment), "list"]), "next_entry=1\n");
}

#[test]
fn the_sectors_before_the_partition_start_grub() {
    let system = Nixos::new();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    write(&system, &disk, &["--loader", "grub", "--format", "raw"]);
    let bytes = fs::read(&disk).unwrap();
    let platform = system.physical(&system.grub).join("lib/grub/i386-pc");
    let boot_img = fs::read(platform.join("boot.img")).unwrap();
    let mut expected = boot_img.clone();
    expected[0x03..0x5a].fill(0);
    expected[0x5c..0x65].copy_from_slice(&[34, 0, 0, 0, 0, 0, 0, 0, 0xff]);
    expected[0x66..0x68].fill(0x90);
    assert!(bytes[..0x1b8] == expected[..0x1b8]);

    let first = &bytes[34 * SECTOR..35 * SECTOR];
    let disk_boot = fs::read(platform.join("diskboot.img")).unwrap();
    assert!(first[..0x1f4] == disk_boot[..0x1f4]);
    assert_eq!(first[0x1f4..0x1fc], 35_u64.to_le_bytes());
    assert_eq!(first[0x1fe..], [0x20, 0x08]);
    // As long as it says, and nothing behind it.
    let sectors = usize::from(u16::from_le_bytes([first[0x1fc], first[0x1fd]]));
    let end = (35 + sectors) * SECTOR;
    assert!(bytes[end - SECTOR..end].iter().any(|&byte| byte != 0));
    assert!(bytes[end..2048 * SECTOR].iter().all(|&byte| byte == 0));
}

#[test]
fn a_disk_is_the_same_whatever_the_circumstances() {
    let mut system = Nixos::new();
    system.specialise("special", &["special"]);
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let arguments = ["--loader", "systemd-boot,grub", "--format", "qcow2"];
    write(&system, &one, &arguments);

    // Other times in the source, another everything around the program.
    for file in tool(&["find", text(system.root()), "-type", "f"]).lines() {
        File::options().append(true).open(file).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    }
    let script = "umask 077; exec \"$@\"";
    let ours = system.boot_disk(imagegen!());
    let mut other = Command::new("sh");
    other.args(["-c", script, "sh"]).arg(ours.get_program()).args(ours.get_args());
    other.args(["--loader", "grub,systemd-boot", "--format", "qcow2", "-o", text(&two)]);
    other
        .env_clear()
        .env("TZ", "Asia/Kathmandu")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("TMPDIR", directory.path());
    other.env("SOURCE_DATE_EPOCH", "1700000000").current_dir("/");
    other.assert().success();
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
}

#[test]
fn what_does_not_fit_says_what_would() {
    let system = Nixos::new();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let kernel = system.physical(&system.kernel).join("bzImage");
    let resize = |length: u64| {
        fs::write(&kernel, program::kernel(b"kernel")).unwrap();
        File::options().write(true).open(&kernel).unwrap().set_len(length).unwrap();
    };
    for (loader, kernel_size, size) in
        [("systemd-boot", 70 << 20, "60M"), ("systemd-boot,grub", 35 << 20, "60M"), ("grub", 20 << 20, "16M")]
    {
        resize(kernel_size);
        let refused = |size: &str| {
            error_of(system.boot_disk(imagegen!()).args([
                "--loader",
                loader,
                "--size",
                size,
                "-o",
                text(&disk),
            ]))
        };
        let error = refused(size);
        assert!(error.contains(" more than the EFI system partition has room for"), "{error}");
        let (_, advice) = error.split_once("--size ").unwrap();
        let enough = advice.split_whitespace().next().unwrap();
        // It is enough, and no less is.
        write(&system, &disk, &["--loader", loader, "--format", "raw", "--size", enough]);
        check(&disk);
        fs::remove_file(&disk).unwrap();
        let mib: u64 = enough.strip_suffix('M').unwrap().parse().unwrap();
        assert!(refused(&format!("{}M", mib - 1)).contains(&format!("--size {enough} is")));
        assert!(!disk.exists());
    }
    // And it says how much is missing, to a tenth of a MiB.
    let resize = |tenths: u64| resize((tenths << 20) / 10);
    let attempt = || {
        system.boot_disk(imagegen!()).args(["--loader", "systemd-boot", "-o", text(&disk)]).output().unwrap()
    };
    resize(700);
    let error = String::from_utf8(attempt().stderr).unwrap();
    let (_, missing) = error.split_once("the files need ").unwrap();
    let missing: u64 = missing.split_once(" MiB more").unwrap().0.replace('.', "").parse().unwrap();
    resize(700 - missing + 1);
    assert!(!attempt().status.success());
    resize(700 - missing - 1);
    assert!(attempt().status.success());
}

#[test]
fn a_report_says_what_is_on_the_disk() {
    let mut system = Nixos::new();
    system.specialise("special", &["special"]);
    let old = system.add_generation('2', &["quiet"]);
    let directory = tempfile::tempdir().unwrap();
    let (disk, file) = (directory.path().join("disk"), directory.path().join("report.json"));
    let generation = format!("3={old}");
    let arguments = ["--loader", "grub,systemd-boot", "--report", text(&file), "--generation", &generation];
    write(&system, &disk, &arguments);

    let report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let raw = directory.path().join("raw");
    tool(&["qemu-img", "convert", "-f", "qcow2", "-O", "raw", text(&disk), text(&raw)]);
    let paths = paths_on(&raw);
    let directories: BTreeSet<&Path> =
        paths.iter().flat_map(|path| Path::new(path).ancestors().skip(1)).collect();
    assert_eq!(report["files"], paths.len());
    // The root is none of them.
    assert_eq!(report["directories"], directories.len() - 1);
    let bytes: usize = paths.iter().map(|path| file_on(&raw, path).len()).sum();
    assert_eq!(report["source_bytes"], bytes);
    let value = |key: &str| report[key].clone();
    assert_eq!(value("image"), text(&disk));
    assert_eq!((value("format"), value("virtual_bytes")), (json!("qcow2"), json!(60 << 20)));
    assert_eq!(value("image_bytes"), disk.metadata().unwrap().len());
    assert_eq!(value("sha256"), tool(&["sha256sum", text(&disk)])[..64]);
    // Kernel, initrd, systemd and GRUB.
    assert_eq!((value("store_paths"), value("symlinks")), (json!(4), json!(0)));
    assert_eq!((value("verified_paths"), value("unverified_paths")), (json!(0), json!(4)));
    assert_eq!(value("loaders"), json!(["systemd-boot", "grub"]));
    let generation = |number, toplevel: &str, default| json!({ "number": number, "toplevel": toplevel, "default": default, "specialisations": ["special"] });
    assert_eq!(
        value("generations"),
        json!([generation(3, &old, false), generation(4, &system.toplevel, true)])
    );
    let phases: Vec<_> = report["phases"].as_array().unwrap().iter().map(|phase| &phase["name"]).collect();
    assert_eq!(phases, ["write", "digest"]);

    // What is fixed is what the other tools find on the disk.
    let fixed = |key: &str| report["fixed"][key].as_str().unwrap().to_owned();
    let table = tool(&["sgdisk", "-p", text(&raw)]);
    assert!(table.to_lowercase().contains(&fixed("disk_guid")), "{table}");
    for (number, key) in [("1", "bios_boot_partition_guid"), ("2", "esp_guid")] {
        let partition = tool(&["sgdisk", "-i", number, text(&raw)]);
        assert!(partition.to_lowercase().contains(&format!("partition unique guid: {}", fixed(key))));
    }
    let listing = tool(&["mdir", "-i", &format!("{}@@1M", text(&raw)), "::/"]);
    assert!(listing.contains(&format!("Volume Serial Number is {}", fixed("esp_volume_id"))), "{listing}");
    assert!(listing.contains(&format!("Volume in drive : is {}", fixed("esp_label"))), "{listing}");
    assert!(listing.contains(&format!("{}   0:00", fixed("file_date"))), "{listing}");
    let menu = String::from_utf8(file_on(&raw, "grub/grub.cfg")).unwrap();
    assert!(menu.contains(&fixed("build_date")));
}

#[test]
fn efi_variables_come_with_the_disk() {
    let system = Nixos::new();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (disk, variables) = (at.join("disk"), at.join("variables.fd"));
    let template = Path::new("/usr/share/OVMF/OVMF_VARS_4M.fd");
    let files = ["--efi-vars-template", text(template), "--efi-vars", text(&variables)];
    let arguments = |more: &[&str]| -> Command {
        let mut command = system.boot_disk(imagegen!());
        command.args(["--loader", "systemd-boot", "-o", text(&disk)]).args(files).args(more);
        command
    };
    arguments(&[]).assert().success();
    assert!(fs::read(&variables).unwrap() == fs::read(template).unwrap());
    assert!(!variables.metadata().unwrap().permissions().readonly());

    // The same entry as `efi-vars create` makes, for a disk of any size.
    for size in ["60M", "100M"] {
        arguments(&["--boot-disk-entry", "--size", size]).assert().success();
        let expected = at.join("expected.fd");
        let create = ["efi-vars", "create", "--boot-disk-entry", "--boot-disk-size", size, "--template"];
        imagegen!().args(create).args([text(template), "-o", text(&expected)]).assert().success();
        assert!(fs::read(&variables).unwrap() == fs::read(&expected).unwrap());
        let printed = tool(&["virt-fw-vars", "--input", text(&variables), "--print"]);
        assert!(printed.contains("title=\"Linux Boot Manager\""), "{printed}");
    }

    // A template that is none leaves nothing behind.
    let names = names_in(at);
    fs::remove_file(&disk).unwrap();
    fs::remove_file(&variables).unwrap();
    let refused = |template: &str| -> String {
        let mut command = system.boot_disk(imagegen!());
        command.args(["--loader", "systemd-boot", "-o", text(&disk), "--efi-vars-template", template]);
        error_of(command.args(["--efi-vars", text(&variables)]))
    };
    for template in ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/bin/sh"] {
        let error = refused(template);
        assert!(error.contains(template) && error.contains("EFI variables"), "{error}");
    }
    assert!(refused("/nowhere").contains("cannot read the EFI variables of `/nowhere`"));
    assert_eq!(names_in(at).len(), names.len() - 2);
}

#[test]
fn aarch64_has_its_own_names() {
    let mut system = Nixos::new();
    system.set("system", json!("aarch64-linux"));
    let kernel = system.physical(&system.kernel).join("bzImage");
    let directory = tempfile::tempdir().unwrap();
    let on_arm = |kernel_says: &str| {
        let mut command = system.boot_disk(imagegen!());
        let error = error_of(command.args(["--loader", "systemd-boot", "-o", "/nowhere/disk"]));
        assert!(error.contains(kernel_says) && error.contains("an Image that is not compressed"), "{error}");
    };
    on_arm("machine 0x8664 (x86_64), and the system is for aarch64");
    fs::write(&kernel, b"\x1f\x8b\x08\x00 as Image.gz is").unwrap();
    on_arm("compressed with gzip");
    fs::write(&kernel, program::efi_program(program::AA64, b"kernel")).unwrap();
    let (disk, variables) = (directory.path().join("disk"), directory.path().join("variables.fd"));
    let template = PathBuf::from("/usr/share/AAVMF/AAVMF_VARS.fd");
    let files = ["--efi-vars-template", text(&template), "--efi-vars", text(&variables)];
    write(
        &system,
        &disk,
        &[&["--loader", "systemd-boot", "--format", "raw", "--boot-disk-entry"][..], &files].concat(),
    );
    check(&disk);
    let paths = paths_on(&disk);
    let program = system.physical(&system.systemd).join("lib/systemd/boot/efi/systemd-bootaa64.efi");
    for path in ["EFI/BOOT/BOOTAA64.EFI", "EFI/systemd/systemd-bootaa64.efi"] {
        assert!(file_on(&disk, path) == fs::read(&program).unwrap(), "{path}");
    }
    assert!(!paths.iter().any(|path| path.to_lowercase().contains("x64")), "{paths:?}");
    assert_eq!(variables.metadata().unwrap().len(), template.metadata().unwrap().len());
    let printed = tool(&["virt-fw-vars", "--input", text(&variables), "--print"]);
    assert!(printed.contains("FilePath(\\EFI\\systemd\\systemd-bootaa64.efi)"), "{printed}");

    let error = error_of(system.boot_disk(imagegen!()).args(["--loader", "grub", "-o", text(&disk)]));
    assert!(error.contains("GRUB for BIOS boots x86_64 and i686 systems"), "{error}");
}
