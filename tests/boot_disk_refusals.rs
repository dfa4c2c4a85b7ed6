//! What `boot-disk` refuses: one line that names the link, file or name, and nothing left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;

use assert_cmd::assert::OutputAssertExt;
use serde_json::json;
use testkit::nixos::{self, Nixos};
use testkit::program;
use testkit::{error_of, imagegen, names_in, text};

/// The error for the system's disk, after which there is none.
fn refused(system: &Nixos, arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let error = error_of(system.boot_disk(imagegen!()).args(arguments).args(["-o", text(&disk)]));
    assert_eq!(names_in(directory.path()), Vec::<String>::new());
    error
}

/// That this is made all the same.
fn accepted(system: &Nixos, arguments: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    system.boot_disk(imagegen!()).args(arguments).args(["-o", text(&disk)]).assert().success();
}

const SYSTEMD_BOOT: [&str; 2] = ["--loader", "systemd-boot"];
const GRUB: [&str; 2] = ["--loader", "grub"];

#[test]
fn links_that_lead_nowhere_are_named() {
    let system = Nixos::new();
    let toplevel = system.physical(&system.toplevel);
    fs::remove_file(toplevel.join("boot.json")).unwrap();
    let outside = system.root().join("outside");
    fs::write(&outside, "not in the store").unwrap();
    for link in ["kernel", "initrd", "systemd"] {
        let was = fs::read_link(toplevel.join(link)).unwrap();
        let place = format!("{}/{link}", system.toplevel);
        for (target, what) in [
            ("/outside".to_owned(), "leads out of the store"),
            ("../../../outside".to_owned(), "leads out of the store"),
            // Not a store path: nothing of that name can be in it.
            (
                "/nix/store".to_owned(),
                if link == "systemd" { "No such file" } else { "leads out of the store" },
            ),
            ("/etc/passwd".to_owned(), "leads out of the store"),
            (link.to_owned(), "more than 40 symbolic links"),
            (format!("{}/gone", system.kernel), "No such file"),
        ] {
            fs::remove_file(toplevel.join(link)).unwrap();
            symlink(&target, toplevel.join(link)).unwrap();
            let error = refused(&system, &SYSTEMD_BOOT);
            assert!(error.contains(&place) && error.contains(what), "{link} -> {target}: {error}");
        }
        fs::remove_file(toplevel.join(link)).unwrap();
        symlink(was, toplevel.join(link)).unwrap();
    }
    accepted(&system, &SYSTEMD_BOOT);

    for file in ["init", "nixos-version", "kernel-params", "system", "kernel"] {
        let kept = toplevel.join(format!("{file}.kept"));
        fs::rename(toplevel.join(file), &kept).unwrap();
        let error = refused(&system, &SYSTEMD_BOOT);
        assert!(error.contains(&format!("{}/{file}", system.toplevel)), "{file}: {error}");
        fs::rename(&kept, toplevel.join(file)).unwrap();
    }
    accepted(&system, &SYSTEMD_BOOT);
}

#[test]
fn paths_in_a_bootspec_are_checked_as_links_are() {
    let mut system = Nixos::new();
    for (key, path, what) in [
        ("kernel", "/etc/passwd".to_owned(), "cannot find the kernel"),
        ("initrd", format!("{}/gone", system.initrd), "cannot find the initrd"),
        ("init", format!("{}/gone", system.toplevel), "cannot find the init program"),
        ("kernel", system.kernel.clone(), "is not a regular file"),
        ("initrd", format!("{}/../../../etc/passwd", system.initrd), "leads out of the store"),
    ] {
        let was = system.bootspec["org.nixos.bootspec.v1"][key].clone();
        system.set(key, json!(path));
        let error = refused(&system, &SYSTEMD_BOOT);
        assert!(error.contains(what), "{key} {path}: {error}");
        system.set(key, was);
    }
    for (key, value, what) in [
        ("kernelParams", json!(["a\nlinux /evil"]), "unusable kernel parameter"),
        ("label", json!("a\nb"), "unusable label"),
        (
            "kernelParams",
            json!("a string"),
            "is not a bootspec of version 1: its key `org.nixos.bootspec.v1.kernelParams`",
        ),
    ] {
        let was = system.bootspec["org.nixos.bootspec.v1"][key].clone();
        system.set(key, value);
        assert!(refused(&system, &SYSTEMD_BOOT).contains(what), "{key}");
        system.set(key, was);
    }
    fs::write(system.physical(&system.toplevel).join("boot.json"), "{").unwrap();
    assert!(refused(&system, &SYSTEMD_BOOT).contains("is not a bootspec of version 1"));
}

#[test]
fn names_that_fat_cannot_hold_are_named() {
    // A kernel's name becomes one on the partition, of any system.
    let mut system = Nixos::new();
    let kernel = format!("{}/bz|Image", system.kernel);
    fs::write(system.physical(&kernel), program::kernel(b"kernel")).unwrap();
    system.set("kernel", json!(kernel));
    for loader in [SYSTEMD_BOOT, GRUB] {
        let error = refused(&system, &loader);
        assert!(error.contains("bz|Image") && error.contains("'|'"), "{error}");
    }
    // Of two names that FAT takes for one, neither is.
    let (lower, upper) = (format!("{}/image", system.kernel), format!("{}/Image", system.kernel));
    for name in [&lower, &upper] {
        fs::write(system.physical(name), program::kernel(b"kernel")).unwrap();
    }
    system.set("kernel", json!(lower));
    system.specialise("night", &["quiet"]);
    system.bootspec["org.nixos.specialisation.v1"]["night"]["org.nixos.bootspec.v1"]["kernel"] = json!(upper);
    system.write_bootspec();
    let error = refused(&system, &SYSTEMD_BOOT);
    assert!(error.contains("-Image") && error.contains("differ only in case"), "{error}");
}

#[test]
fn secrets_of_an_initrd_are_not_forgotten() {
    let mut system = Nixos::new();
    let with = "#!/bin/sh -e\n(cd secrets; find . | cpio -o -H newc | gzip >> \"$1\")\n";
    let without = "#!/bin/sh -e\nexit 0\n(cd secrets; cpio -o >> \"$1\")\n";
    let [with, without] = [('x', with), ('y', without)].map(|(digit, script)| {
        system.add(digit, "append-initrd-secrets", |at| {
            fs::create_dir(at).unwrap();
            fs::write(at.join("append"), script).unwrap();
        }) + "/append"
    });
    system.set("initrdSecrets", json!(without));
    accepted(&system, &SYSTEMD_BOOT);
    system.set("initrdSecrets", json!(with));
    let new = system.toplevel.clone();
    let old = {
        // The copy has the same script.
        let bootspec = system.bootspec["org.nixos.bootspec.v1"].clone();
        let old = system.add_generation('2', &["old"]);
        let mut document = system.bootspec.clone();
        document["org.nixos.bootspec.v1"] = bootspec;
        document["org.nixos.bootspec.v1"]["init"] = json!(format!("{old}/init"));
        fs::write(system.physical(&old).join("boot.json"), document.to_string()).unwrap();
        old
    };
    let generation = format!("4={old}");
    for loader in [SYSTEMD_BOOT, GRUB] {
        let refused = |more: &[&str]| refused(&system, &[&loader[..], more].concat());
        let error = refused(&[]);
        assert!(error.contains(&new) && error.contains("--ignore-initrd-secrets=1"), "{error}");
        let generations = ["--generation", &generation];
        for (ignored, expected) in [("4", "--ignore-initrd-secrets=5"), ("5", "--ignore-initrd-secrets=4")] {
            let ignored = format!("--ignore-initrd-secrets={ignored}");
            let error = refused(&[&generations[..], &[&ignored]].concat());
            assert!(error.contains(expected), "{error}");
        }
        let error = refused(&[&generations[..], &["--ignore-initrd-secrets=3"]].concat());
        assert!(error.contains("there is no generation 3, only 4, 5"), "{error}");
        let accepted = |more: &[&str]| accepted(&system, &[&loader[..], &generations, more].concat());
        accepted(&["--ignore-initrd-secrets"]);
        accepted(&["--ignore-initrd-secrets=4", "--ignore-initrd-secrets=5"]);
    }
    // A variant's are not forgotten either.
    system.set("initrdSecrets", json!(without));
    accepted(&system, &SYSTEMD_BOOT);
    system.specialise("night", &["quiet"]);
    system.bootspec["org.nixos.specialisation.v1"]["night"]["org.nixos.bootspec.v1"]["initrdSecrets"] =
        json!(with);
    system.write_bootspec();
    assert!(refused(&system, &SYSTEMD_BOOT).contains("(specialisation `night`) adds secrets"));
    accepted(&system, &[&SYSTEMD_BOOT[..], &["--ignore-initrd-secrets=1"]].concat());
}

#[test]
fn what_grub_would_change_is_refused() {
    let mut system = Nixos::new();
    for (parameters, what) in [
        (json!(["a='b'"]), "cannot hand over the kernel parameter `a='b'`"),
        (json!(["a\\b"]), "cannot hand over the kernel parameter `a\\b`"),
        (json!(["a=\"b"]), "an odd number of double quotes"),
    ] {
        system.set("kernelParams", parameters);
        let error = refused(&system, &GRUB);
        assert!(error.contains(what), "{error}");
        accepted(&system, &SYSTEMD_BOOT);
    }
}

#[test]
fn grub_is_found_or_asked_for() {
    let mut system = Nixos::new();
    accepted(&system, &GRUB);
    // Named, it need not be referred to.
    let script = system.physical(&system.toplevel).join("bin/switch-to-configuration");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    let error = refused(&system, &GRUB);
    assert!(
        error.contains(&system.toplevel) && error.contains("refers to no GRUB for BIOS; give --grub"),
        "{error}"
    );
    accepted(&system, &[&GRUB[..], &["--grub", &system.grub]].concat());
    // A link is a reference, too.
    let link = system.physical(&system.toplevel).join("grub");
    symlink(&system.grub, &link).unwrap();
    accepted(&system, &GRUB);
    // One of two has to be chosen.
    let other = system.add('h', "grub-2.12", nixos::grub);
    fs::write(&script, format!("#!/bin/sh\n{other}/bin/grub-install\n")).unwrap();
    let error = refused(&system, &GRUB);
    assert!(error.contains(&system.grub) && error.contains(&other) && error.contains("--grub"), "{error}");
    accepted(&system, &[&GRUB[..], &["--grub", &other]].concat());

    let not_grub = refused(&system, &[&GRUB[..], &["--grub", &system.systemd]].concat());
    assert!(not_grub.contains(&format!("`{}` is not a GRUB for BIOS", system.systemd)), "{not_grub}");
    let inside = format!("{}/lib/grub", system.grub);
    assert!(refused(&system, &[&GRUB[..], &["--grub", &inside]].concat()).contains("is not a store path"));
    fs::remove_file(system.physical(&other).join("lib/grub/i386-pc/diskboot.img")).unwrap();
    let damaged = refused(&system, &[&GRUB[..], &["--grub", &other]].concat());
    assert!(damaged.contains("diskboot.img"), "{damaged}");
    // A menu in graphics needs a font.
    let resolution = ["--grub", &system.grub, "--resolution", "1024x768"];
    let no_font = refused(&system, &[&GRUB[..], &resolution].concat());
    assert!(no_font.contains("share/grub/unicode.pf2") && no_font.contains("--resolution"), "{no_font}");
}

#[test]
fn systemd_is_found_or_asked_for() {
    let mut system = Nixos::new();
    let other = system.add('z', "systemd-258", |at| nixos::systemd(at, &["ia32"]));
    let error = refused(&system, &[&SYSTEMD_BOOT[..], &["--systemd", &other]].concat());
    assert!(error.contains("systemd-bootx64.efi") && error.contains("--systemd"), "{error}");
    let program = system.physical(&system.systemd).join("lib/systemd/boot/efi/systemd-bootx64.efi");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    assert!(refused(&system, &SYSTEMD_BOOT).contains("is not an EFI program"));
    system.set("system", json!("m68k-linux"));
    assert!(refused(&system, &SYSTEMD_BOOT).contains("`m68k-linux`"));
}

#[test]
fn generations_that_contradict_one_another_are_refused() {
    let mut system = Nixos::new();
    let old = system.add_generation('2', &["old"]);
    let [one, same, missing] =
        [format!("1={old}"), format!("1={}", system.toplevel), "3=/nix/store/x".to_owned()];
    let refused = |more: &[&str]| refused(&system, &[&SYSTEMD_BOOT[..], more].concat());
    let error = refused(&["--generation", &one, "--generation", &same]);
    assert!(error.contains("generation 1 is both") && error.contains(&old), "{error}");
    assert!(refused(&["--generation", &missing]).contains("/nix/store/x"));
    let error = refused(&["--default-specialisation", "night"]);
    assert!(error.contains(&format!("{} has no specialisation `night`", system.toplevel)), "{error}");
}

#[test]
fn options_without_their_loader_are_wrong_usage() {
    let system = Nixos::new();
    let grub = system.grub.clone();
    for (loader, option) in [
        (SYSTEMD_BOOT, &["--grub", &grub][..]),
        (SYSTEMD_BOOT, &["--resolution", "1024x768"]),
        (SYSTEMD_BOOT, &["--serial-console", "ttyS0"]),
        (GRUB, &["--no-editor"]),
        (GRUB, &["--console-mode", "max"]),
        (GRUB, &["--systemd", &system.systemd]),
    ] {
        let mut command = system.boot_disk(imagegen!());
        let assert =
            command.args(loader).args(option).args(["-o", "/nowhere/disk"]).assert().failure().code(2);
        let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(said.starts_with(&format!("error: {} is for ", option[0])), "{said}");
    }
    for arguments in [
        &["--loader", "lilo"][..],
        &["--loader", "grub", "--resolution", "1024"],
        &["--loader", "grub", "--serial-console", "ttyAMA0"],
        &["--loader", "grub", "--timeout", "soon"],
        &["--loader", "systemd-boot", "--generation", "0=/nix/store/x"],
        &["--loader", "systemd-boot", "--machine-id", "1"],
        &["--loader", "systemd-boot", "--boot-disk-entry"],
        &["--loader", "systemd-boot", "--ignore-initrd-secrets=0"],
        &["--loader", "systemd-boot", "--ignore-initrd-secrets=new"],
    ] {
        system
            .boot_disk(imagegen!())
            .args(arguments)
            .args(["-o", "/nowhere/disk"])
            .assert()
            .failure()
            .code(2);
    }
}

#[test]
fn outputs_have_names_of_their_own() {
    let system = Nixos::new();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let template = directory.path().join("template.fd");
    fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &template).unwrap();
    let refused = |variables: &str, report: &str| {
        let files = ["--efi-vars-template", text(&template), "--efi-vars", variables, "--report", report];
        error_of(system.boot_disk(imagegen!()).args(SYSTEMD_BOOT).args(files).args(["-o", text(&disk)]))
    };
    let at = |name: &str| format!("{}/./{name}", text(directory.path()));
    assert!(refused(&at("disk"), &at("report")).contains("the disk and the EFI variables cannot both be"));
    assert!(refused(&at("vars"), &at("disk")).contains("the disk and the report cannot both be"));
    assert!(refused(&at("vars"), &at("vars")).contains("the EFI variables and the report cannot both be"));
    for (variables, report) in [(at("template.fd"), at("report")), (at("vars"), at("template.fd"))] {
        assert!(refused(&variables, &report).contains("template.fd"));
    }
    let kernel = system.physical(&system.kernel).join("bzImage");
    assert!(refused(text(&kernel), &at("report")).contains("bzImage"));
    assert_eq!(names_in(directory.path()), ["template.fd"]);
}
