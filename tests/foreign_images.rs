//! Images of other programs, made by them: each is named, with a command that makes an image of it that is read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::guest::Guest;
use testkit::{imagegen, text, tool};

/// What the program said, and whether it failed as it should.
fn refused(at: &Path, arguments: &[&str]) -> String {
    let output = imagegen!().args(arguments).current_dir(at).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {said}");
    said
}

/// The command in a message.
fn command_in(said: &str, program: &str) -> String {
    let found = said.split('`').find(|part| part.starts_with(program));
    found.unwrap_or_else(|| panic!("no {program}: {said}")).to_owned()
}

#[test]
fn images_of_other_programs_are_named() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let registration = text(&guest.registration);
    let mut store = imagegen!();
    store.args(["store-image", "--store-root", text(&guest.root), "--registration", registration]);
    assert!(
        store
            .args(["--format", "raw", "-o", "store.raw", "--no-verify"])
            .current_dir(at)
            .status()
            .unwrap()
            .success()
    );
    let raw = at.join("store.raw");
    for (format, options, name) in [
        ("vmdk", "", "VMDK"),
        ("vmdk", "subformat=streamOptimized", "VMDK"),
        ("vmdk", "subformat=monolithicFlat", "VMDK"),
        ("vdi", "", "VDI"),
        ("vdi", "static=on", "VDI"),
        ("vhdx", "", "VHDX"),
        ("vpc", "", "VHD"),
        ("vpc", "subformat=fixed", "VHD"),
        ("qed", "", "QED"),
        ("qcow", "", "qcow image of version 1"),
        ("parallels", "", "Parallels"),
    ] {
        let image = at.join("an image.img");
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", format]).arg(&raw).arg(&image);
        if !options.is_empty() {
            convert.args(["-o", options]);
        }
        let made = convert.output().unwrap();
        assert!(made.status.success(), "{format} {options}: {made:?}");
        let image = text(&image);
        let config = format!(
            "name = \"t\"\ngraphics = false\nuseNixStoreImage = true\nstoreImage = \"{image}\"\ntoplevel = \"{}\"\n",
            guest.toplevel
        );
        fs::write(at.join("vm.toml"), config).unwrap();
        let mut commands: Vec<Vec<&str>> = vec![
            vec!["verify", image, "--registration", registration],
            vec!["inspect", image],
            vec!["diff", image, text(&raw)],
            vec!["run", "--config", "vm.toml", "--print", "--store-root", text(&guest.root)],
        ];
        for backing_format in ["raw", "qcow2"] {
            commands.push(vec![
                "disk",
                "create",
                "-o",
                "over.qcow2",
                "--backing",
                image,
                "--backing-format",
                backing_format,
            ]);
        }
        let mut said = String::new();
        for command in commands {
            said = refused(at, &command);
            assert!(
                said.contains(name) && said.contains("qemu-img convert"),
                "{format} {options}, {command:?}: {said}"
            );
        }
        assert!(!at.join("over.qcow2").exists());
        // What the message says to do makes an image that is read.
        let command = command_in(&said, "qemu-img");
        tool(&["sh", "-c", &command]);
        let converted = at.join("an image.qcow2");
        tool(&["qemu-img", "compare", "-q", text(&converted), text(&raw)]);
        let mut verify = imagegen!();
        verify.args(["verify", text(&converted), "--registration", registration]);
        assert!(verify.status().unwrap().success(), "{format} {options}");
        fs::remove_file(converted).unwrap();
        fs::remove_file(image).unwrap();
    }
    // It is taken as it is where that is said.
    fs::write(at.join("odd.raw"), [b"KDMV".as_slice(), &[0; 8188]].concat()).unwrap();
    let mut inspect = imagegen!();
    inspect.args(["inspect", "odd.raw", "--format", "raw"]).current_dir(at);
    assert!(inspect.output().unwrap().status.success());
}

#[test]
fn packed_images_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(at.join("disk.raw"), vec![7; 100_000]).unwrap();
    for (command, file, name, unpack) in [
        (&["gzip", "-k"][..], "disk.raw.gz", "gzip", "gzip"),
        (&["xz", "-k"], "disk.raw.xz", "xz", "xz"),
        (&["bzip2", "-k"], "disk.raw.bz2", "bzip2", "bzip2"),
        (&["zstd", "-q"], "disk.raw.zst", "zstd", "zstd"),
        (&["tar", "-cf", "disk.tar"], "disk.tar", "tar archive", "tar"),
    ] {
        let mut pack = Command::new(command[0]);
        let Ok(status) = pack.args(&command[1..]).arg("disk.raw").current_dir(at).status() else { continue };
        assert!(status.success(), "{command:?}");
        for arguments in
            [&["inspect", file][..], &["verify", file, "--registration", "x"], &["diff", file, "disk.raw"]]
        {
            fs::write(at.join("x"), "").unwrap();
            let said = refused(at, arguments);
            if said.contains("registration") {
                continue;
            }
            assert!(said.contains(name) && said.contains(file), "{arguments:?}: {said}");
            assert!(command_in(&said, unpack).ends_with(file), "{said}");
        }
    }
}

#[test]
fn encrypted_volumes_and_discs_are_named_by_verify() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let path = "/nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-a";
    fs::write(at.join("registration"), format!("{path}\n\n0\n\n0\n")).unwrap();
    let mut disc = vec![0; 65_536];
    disc[32_769..32_774].copy_from_slice(b"CD001");
    let luks = [b"LUKS\xba\xbe\0\x02".to_vec(), vec![0; 65_528]].concat();
    for (bytes, name, advice) in [(luks, "LUKS", "cryptsetup open"), (disc, "ISO 9660", "ISO 9660")] {
        fs::write(at.join("image"), bytes).unwrap();
        let said = refused(at, &["verify", "image", "--registration", "registration"]);
        assert!(said.contains(name) && said.contains(advice), "{said}");
    }
}
