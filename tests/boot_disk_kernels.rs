//! Kernels, initrds and command lines that the machine could not start, or not with all they say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;

use serde_json::json;
use testkit::nixos::Nixos;
use testkit::program::{self, AA64, X64};
use testkit::{error_of, imagegen, names_in, text};

const SYSTEMD_BOOT: [&str; 2] = ["--loader", "systemd-boot"];
const GRUB: [&str; 2] = ["--loader", "grub"];

/// The error for the system's disk, after which there is none; nothing where there is a disk.
fn error(system: &Nixos, arguments: &[&str]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let mut command = system.boot_disk(imagegen!());
    command.args(arguments).args(["-o", text(&disk)]);
    if command.output().unwrap().status.success() {
        return None;
    }
    fs::remove_file(&disk).ok();
    let error = error_of(&mut command);
    assert_eq!(names_in(directory.path()), Vec::<String>::new());
    Some(error)
}

/// That the error, or that there is none, is as expected.
fn judge(what: &str, system: &Nixos, arguments: &[&str], expected: Option<&str>) {
    match (error(system, arguments), expected) {
        (None, None) => {}
        (Some(error), Some(expected)) => assert!(error.contains(expected), "{what} {arguments:?}: {error}"),
        (error, expected) => panic!("{what} {arguments:?}: {error:?} and not {expected:?}"),
    }
}

/// A kernel with some bytes changed.
fn kernel_with(changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut kernel = program::kernel(&[0x90; 8192]);
    for (at, bytes) in changes {
        kernel[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    kernel
}

#[test]
fn kernels_that_cannot_be_started_are_refused() {
    let system = Nixos::new();
    let file = system.physical(&system.kernel).join("bzImage");
    let good = kernel_with(&[]);
    let elf = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 5000]].concat();
    let gzip = [b"\x1f\x8b\x08".as_slice(), &[7; 5000]].concat();
    let no_pe = Some("it has no PE header");
    let no_bz_image = Some("it has no bzImage header");
    let none = None::<&str>;
    for (what, bytes, by_systemd_boot, by_grub) in [
        ("good", good.clone(), none, none),
        ("empty", Vec::new(), Some("is empty (0 bytes)"), Some("is empty (0 bytes)")),
        ("one byte", vec![b'M'], no_pe, no_bz_image),
        ("text", vec![b'a'; 5000], no_pe, no_bz_image),
        ("script", b"#!/bin/sh\n".to_vec(), Some("it is a script"), Some("it is a script")),
        ("vmlinux", elf, Some("it is an ELF file, as vmlinux is"), Some("it is an ELF file, as vmlinux is")),
        ("gzip", gzip, Some("it is compressed with gzip"), Some("it is compressed with gzip")),
        // The firmware starts any program, GRUB any kernel.
        ("program", program::efi_program(X64, &[0; 5000]), none, no_bz_image),
        ("no stub", kernel_with(&[(0, &[0, 0])]), Some("without EFI stub"), none),
        ("no PE", kernel_with(&[(0x40, &[0])]), no_pe, none),
        ("far PE", kernel_with(&[(0x3c, &[0xff; 4])]), no_pe, none),
        ("ARM", kernel_with(&[(0x44, &AA64.to_le_bytes())]), Some("machine 0xaa64 (aarch64)"), none),
        (
            "Alpha",
            kernel_with(&[(0x44, &[0x84, 1])]),
            Some("machine 0x0184, and the system is for x86_64"),
            none,
        ),
        ("driver", kernel_with(&[(0x58 + 68, &[11])]), Some("subsystem 11"), none),
        ("no sections", kernel_with(&[(0x46, &[0xff, 0xff])]), Some("PE header is damaged"), none),
        ("half", good[..good.len() / 2].to_vec(), Some("cut off"), Some("cut off")),
        ("one byte less", good[..good.len() - 1].to_vec(), Some("cut off"), Some("cut off")),
        ("headers", good[..1024].to_vec(), Some("cut off"), Some("cut off")),
        ("half of the headers", good[..0x60].to_vec(), no_pe, no_bz_image),
        ("no flag", kernel_with(&[(0x1fe, &[0, 0])]), none, no_bz_image),
        ("zImage", kernel_with(&[(0x211, &[0])]), none, Some("it is a zImage")),
        ("Linux 2.2", kernel_with(&[(0x206, &[2, 2])]), none, Some("boot protocol 2.02")),
        ("much setup code", kernel_with(&[(0x1f1, &[65])]), none, Some("65 setup sectors")),
    ] {
        fs::write(&file, bytes).unwrap();
        judge(what, &system, &SYSTEMD_BOOT, by_systemd_boot);
        judge(what, &system, &GRUB, by_grub);
        if let Some(error) = by_systemd_boot.and_then(|_| error(&system, &SYSTEMD_BOOT)) {
            assert!(error.contains("kernel `") && error.contains("/bzImage"), "{what}: {error}");
        }
    }
}

#[test]
fn kernels_of_every_entry_are_looked_at() {
    let mut system = Nixos::new();
    let bad = system.add('b', "linux-bad", |at| {
        fs::create_dir(at).unwrap();
        fs::write(at.join("bzImage"), "not a kernel").unwrap();
    });
    let kernel = json!(format!("{bad}/bzImage"));
    system.specialise("night", &["quiet"]);
    let good = system.bootspec.clone();
    system.bootspec["org.nixos.specialisation.v1"]["night"]["org.nixos.bootspec.v1"]["kernel"] =
        kernel.clone();
    system.write_bootspec();
    for loader in [SYSTEMD_BOOT, GRUB] {
        judge("specialisation", &system, &loader, Some(&bad));
    }
    system.bootspec = good;
    system.write_bootspec();
    let old = system.add_generation('2', &["old"]);
    let boot_json = system.physical(&old).join("boot.json");
    let document = fs::read_to_string(&boot_json).unwrap();
    fs::write(&boot_json, document.replace(&format!("{}/bzImage", system.kernel), &format!("{bad}/bzImage")))
        .unwrap();
    for loader in [SYSTEMD_BOOT, GRUB] {
        judge(
            "generation",
            &system,
            &[&loader[..], &["--generation", &format!("1={old}")]].concat(),
            Some(&bad),
        );
    }
}

#[test]
fn initrds_that_are_none_are_refused() {
    let mut system = Nixos::new();
    let initrd = system.physical(&system.initrd).join("initrd");
    fs::write(&initrd, "").unwrap();
    let empty = format!("the initrd `{}/initrd` is empty (0 bytes)", system.initrd);
    for loader in [SYSTEMD_BOOT, GRUB] {
        judge("empty initrd", &system, &loader, Some(&empty));
    }
    fs::remove_file(&initrd).unwrap();
    fs::create_dir(&initrd).unwrap();
    judge("directory", &system, &SYSTEMD_BOOT, Some("is not a regular file"));
    fs::remove_dir(&initrd).unwrap();
    fs::write(&initrd, "initrd").unwrap();
    let tree = system.add('d', "board.dtb", |at| fs::write(at, "").unwrap());
    system.bootspec["org.nixos.systemd-boot"] = json!({ "devicetree": tree });
    system.write_bootspec();
    judge("device tree", &system, &SYSTEMD_BOOT, Some("the device tree `"));
}

/// The parameters with which a command line that holds `others` bytes besides is of this length.
fn parameter(length: usize, others: usize) -> serde_json::Value {
    json!([format!("x={}", "a".repeat(length - others - 3))])
}

#[test]
fn a_command_line_ends_where_the_kernel_ends_it() {
    let mut system = Nixos::new();
    let init = format!("init={}/init", system.toplevel).len();
    let base = |path: &str| path.rsplit_once('/').unwrap().1.to_owned();
    let initrd = format!("initrd=\\EFI\\nixos\\{}-initrd.efi ", base(&system.initrd)).len();
    let boot_image = format!("BOOT_IMAGE=(hd0,gpt2)/kernels/{}-bzImage ", base(&system.kernel)).len();
    let file = system.physical(&system.kernel).join("bzImage");
    let check = |system: &Nixos, loader: &[&str], expected: Option<[usize; 2]>| {
        let Some([length, limit]) = expected else { return judge("fits", system, loader, None) };
        let error = error(system, loader).unwrap();
        let (has, most) = (format!("has {length} bytes"), format!("at most {limit}"));
        assert!(error.contains(&has) && error.contains(&most), "{error}");
    };
    // What is read of bytes is not what is read of characters.
    for (length, expected) in [(2047, None), (2048, Some([2048, 2047])), (5000, Some([5000, 2047]))] {
        system.set("kernelParams", parameter(length, init + initrd));
        check(&system, &SYSTEMD_BOOT, expected);
        system.set("kernelParams", parameter(length, init + boot_image));
        check(&system, &GRUB, expected);
    }
    system.set("kernelParams", json!([format!("x={}", "ü".repeat(1000))]));
    check(&system, &SYSTEMD_BOOT, Some([init + initrd + 1 + 2002, 2047]));

    // Each initrd is named on it.
    let extra = "initrd=\\firmware\\a.cpio ".len() + "initrd=\\b ".len();
    system.bootspec["org.nixos.extra-initrd.v1"] = json!({ "paths": ["firmware/a.cpio", "b"] });
    for (length, expected) in [(2047, None), (2048, Some([2048, 2047]))] {
        system.set("kernelParams", parameter(length, init + initrd + extra));
        check(&system, &SYSTEMD_BOOT, expected);
    }
    system.bootspec.as_object_mut().unwrap().remove("org.nixos.extra-initrd.v1");

    // GRUB goes by what the kernel says.
    for (header, limit) in [
        ([0x0f, 2, 0xe8, 3], 1000),
        // Protocol 2.05 had no field for it.
        ([5, 2, 0xe8, 3], 255),
        ([0x0f, 2, 0xff, 0xff], 2047),
    ] {
        fs::write(&file, kernel_with(&[(0x206, &header[..2]), (0x238, &[header[2], header[3], 0, 0])]))
            .unwrap();
        system.set("kernelParams", parameter(limit, init + boot_image));
        check(&system, &GRUB, None);
        system.set("kernelParams", parameter(limit + 1, init + boot_image));
        check(&system, &GRUB, Some([limit + 1, limit]));
    }
}

#[test]
fn the_limit_counts_for_root_disks_too() {
    let mut system = Nixos::new();
    system.set("kernelParams", json!(["x".repeat(2000)]));
    let registration = system.root().join("registration");
    fs::write(&registration, format!("{}\n\n0\n\n0\n", system.toplevel)).unwrap();
    let output = system.root().join("disk");
    let mut command = imagegen!();
    command.args(["root-disk", "--store-root", text(system.root()), "--registration", text(&registration)]);
    command.args(["--toplevel", &system.toplevel, "--partition-table", "efi", "-o", text(&output)]);
    let error = error_of(command.args(SYSTEMD_BOOT));
    assert!(error.contains("Linux takes at most 2047"), "{error}");
}
