//! The names and contents of boot entries, by the rule of NixOS's own installer for systemd-boot: what it would write for
//! the same generations stays, and all else of its own goes.
//!
//! The rule is nixpkgs' since pull request 447173 (2026), as written in `nixos/modules/system/boot/loader/systemd-boot/`:
//! an entry's file is `nixos-` and the SHA-256 of its text; every file of `EFI/nixos` and every entry `nixos-….conf` that
//! no generation of the profile would have is removed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use assert_cmd::assert::OutputAssertExt;
use serde_json::{Value, json};
use testkit::menu::Menu;
use testkit::nixos::Nixos;
use testkit::{error_of, imagegen, text, tool};

const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";

fn write(system: &Nixos, arguments: &[&str]) -> (tempfile::TempDir, PathBuf, String) {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk");
    let mut command = system.boot_disk(imagegen!());
    command.args(["--loader", "systemd-boot", "--format", "raw", "-o", text(&image)]).args(arguments);
    let said = command.assert().success().get_output().stderr.clone();
    (directory, image, String::from_utf8(said).unwrap())
}

/// By another program than the one under test.
fn sha256(text: &str) -> String {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// The installer's half of NixOS: what it would have on the partition for the generations of a profile.
struct Installer<'a> {
    system: &'a Nixos,
    distribution: &'a str,
}

impl Installer<'_> {
    /// Where a file of the store goes.
    fn path(&self, file: &str) -> String {
        let found = self.system.physical(file).canonicalize().unwrap();
        let inside = found.strip_prefix(self.system.root().join("nix/store")).unwrap();
        let object = inside.iter().next().unwrap().to_str().unwrap();
        let name = inside.file_name().unwrap().to_str().unwrap();
        if object == name {
            format!("EFI/nixos/{name}.efi")
        } else {
            format!("EFI/nixos/{object}-{name}.efi")
        }
    }

    /// The entry of one document, and all files that it takes.
    fn entry(
        &self,
        number: u32,
        specialisation: Option<&str>,
        document: &Value,
    ) -> BTreeMap<String, Option<String>> {
        let bootspec = &document["org.nixos.bootspec.v1"];
        let get = |key: &str| bootspec[key].as_str().unwrap();
        let kernel = self.path(get("kernel"));
        let initrd = match bootspec.get("initrdSecrets") {
            None => self.path(get("initrd")),
            Some(script) => {
                let both = [self.path(get("initrd")), self.path(script.as_str().unwrap())].join("\n");
                format!("EFI/nixos/{}-initrd.efi", sha256(&both))
            }
        };
        let variant = specialisation.map(|name| format!(" ({name})")).unwrap_or_default();
        let mut lines = vec![
            format!("title {}{variant}", self.distribution),
            // The generation's change time: 1 s after 1970 in images of this program.
            format!("version Generation {number} {}, built on 1970-01-01", get("label")),
            format!("linux /{kernel}"),
            format!("initrd /{initrd}"),
        ];
        let extra = document["org.nixos.extra-initrd.v1"]["paths"].as_array().cloned().unwrap_or_default();
        lines.extend(extra.iter().map(|path| format!("initrd /{}", path.as_str().unwrap())));
        let parameters = bootspec["kernelParams"].as_array().unwrap().iter().map(|p| p.as_str().unwrap());
        let options = std::iter::once(format!("init={}", get("init"))).chain(parameters.map(str::to_owned));
        lines.push(format!("options {}", options.collect::<Vec<_>>().join(" ")));
        lines.push(format!("machine-id {MACHINE_ID}"));
        let own = &document["org.nixos.systemd-boot"];
        let tree = own["devicetree"].as_str().map(|tree| self.path(tree));
        lines.extend(tree.iter().map(|tree| format!("devicetree /{tree}")));
        lines.push(format!("sort-key {}", own["sortKey"].as_str().unwrap_or("nixos")));
        let text = lines.join("\n");
        let files = [Some(kernel), Some(initrd), tree].into_iter().flatten().map(|path| (path, None));
        files.chain([(format!("loader/entries/nixos-{}.conf", sha256(&text)), Some(text))]).collect()
    }

    /// All files that the installer knows for its own: those of entries with their text.
    fn files(&self, generations: &[(u32, &str)]) -> BTreeMap<String, Option<String>> {
        let mut files = BTreeMap::new();
        for (number, toplevel) in generations {
            let document = fs::read_to_string(self.system.physical(toplevel).join("boot.json")).unwrap();
            let document: Value = serde_json::from_str(&document).unwrap();
            files.append(&mut self.entry(*number, None, &document));
            for (name, document) in document["org.nixos.specialisation.v1"].as_object().unwrap() {
                files.append(&mut self.entry(*number, Some(name), document));
            }
        }
        files
    }
}

/// Every file of the partition that the installer might remove.
fn collectable(disk: &Path) -> BTreeSet<String> {
    let esp = format!("{}@@1M", text(disk));
    ["EFI/nixos", "loader/entries"]
        .iter()
        .flat_map(|directory| {
            let names = tool(&["mdir", "-b", "-i", &esp, &format!("::/{directory}")]);
            names.lines().map(|line| line.strip_prefix("::/").unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect()
}

/// A system with all that an entry can have, and an older one.
fn two_generations() -> (Nixos, String) {
    let mut system = Nixos::new();
    let script = system.add('x', "append-initrd-secrets", |at| {
        fs::create_dir_all(at.join("bin")).unwrap();
        fs::write(at.join("bin/append-initrd-secrets"), "#!/bin/sh\nexit 0\n").unwrap();
    });
    let tree = system.add('d', "board.dtb", |at| fs::write(at, "a device tree").unwrap());
    let old = system.add_generation('2', &["old"]);
    let old_initrd = system.add('j', "initrd-linux-6.12.1", |at| fs::write(at, "an old initrd").unwrap());
    let boot_json = system.physical(&old).join("boot.json");
    let document =
        fs::read_to_string(&boot_json).unwrap().replace(&format!("{}/initrd", system.initrd), &old_initrd);
    fs::write(&boot_json, document).unwrap();
    system.specialise("lts+3", &["special", "x=\"a b\""]);
    system.bootspec["org.nixos.specialisation.v1"]["lts+3"]["org.nixos.extra-initrd.v1"] =
        json!({ "paths": ["vendorfw/firmware.cpio", "more.cpio"] });
    system.bootspec["org.nixos.systemd-boot"] = json!({ "sortKey": "first", "devicetree": tree });
    system.set("initrdSecrets", json!(format!("{script}/bin/append-initrd-secrets")));
    system.set("label", json!("Acme OS Yarara 26.05 (Linux 6.12.1)"));
    (system, old)
}

#[test]
fn the_guests_own_installer_takes_the_entries_for_its_own() {
    let (system, old) = two_generations();
    let installer = Installer { system: &system, distribution: "Acme OS" };
    let generation = format!("3={old}");
    let (_kept, disk, _) = write(&system, &["--generation", &generation, "--machine-id", MACHINE_ID]);
    let found = collectable(&disk);
    let menu = Menu::read(&disk);

    // With the same profile, everything is there as it would be written, and nothing is removed.
    let both = installer.files(&[(3, &old), (4, &system.toplevel)]);
    assert_eq!(found, both.keys().cloned().collect());
    for (path, expected) in &both {
        let Some(expected) = expected else { continue };
        assert_eq!(&menu.entries[path.strip_prefix("loader/entries/").unwrap()], expected);
    }
    // Once the old generation is deleted, the rest is what a disk of the new one alone has.
    let new = installer.files(&[(4, &system.toplevel)]);
    let left: BTreeSet<_> = found.iter().filter(|path| new.contains_key(*path)).cloned().collect();
    let gone: Vec<_> = found.difference(&left).collect();
    let [old_initrd, old_entry] = gone[..] else { panic!("{gone:?}") };
    assert!(old_initrd.ends_with("-initrd-linux-6.12.1.efi"), "{gone:?}");
    // Its own to remove.
    assert!(old_entry.starts_with("loader/entries/nixos-"), "{gone:?}");
    assert_eq!(left, new.keys().cloned().collect());
}

#[test]
fn every_name_can_be_shown_and_be_the_default() {
    let mut system = Nixos::new();
    let names = [
        "a b",
        "a,b",
        "~x",
        "büro",
        "Gaming",
        "gaming",
        "lts+3",
        "x+3-1",
        "a:b",
        "what?",
        "*",
        "an \u{1F980}",
        "[a]\\",
    ];
    for name in names {
        system.specialise(name, &[&format!("special={}", sha256(name))]);
    }
    let long = "x".repeat(250);
    system.specialise(&long, &["special=long"]);
    let (_kept, disk, said) = write(&system, &[]);
    assert!(!said.contains("note:"), "{said}");
    let menu = Menu::read(&disk);
    assert_eq!(menu.entries.len(), names.len() + 2);
    let without_case: BTreeSet<_> = menu.entries.keys().map(|name| name.to_lowercase()).collect();
    assert_eq!(without_case.len(), menu.entries.len());
    for (name, text) in &menu.entries {
        // What bootctl lists, and in which neither it nor systemd-boot reads a counter or a pattern.
        let digest = name.strip_prefix("nixos-").and_then(|name| name.strip_suffix(".conf")).unwrap();
        assert!(
            digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            "{name}"
        );
        assert_eq!(digest, sha256(text));
    }
    assert_eq!(menu.default(), menu.entry("NixOS").0);
    for name in names {
        let (_kept, disk, _) = write(&system, &["--default-specialisation", name]);
        let menu = Menu::read(&disk);
        let (file, text) = menu.entry(&format!("NixOS ({name})"));
        assert_eq!(menu.default(), file);
        assert!(text.contains(&format!(" special={}\n", sha256(name))), "{text}");
    }
}

#[test]
fn titles_have_the_name_of_the_distribution() {
    let mut system = Nixos::new();
    let title = |system: &Nixos, arguments: &[&str]| {
        let (_kept, disk, _) = write(system, arguments);
        let menu = Menu::read(&disk);
        menu.entries[menu.default()].lines().next().unwrap().to_owned()
    };
    assert_eq!(title(&system, &[]), "title NixOS");
    system.set("label", json!("Acme OS Yarara 26.05 (Linux 6.12.1)"));
    assert_eq!(title(&system, &[]), "title Acme OS");
    // That which the system says of itself is surer.
    let etc = system.add('f', "etc", |at| {
        fs::create_dir_all(at.join("etc")).unwrap();
        fs::write(at.join("etc/os-release"), "ID=my\nNAME=\"My $ystem's OS\"\n").unwrap();
    });
    std::os::unix::fs::symlink(format!("{etc}/etc"), system.physical(&system.toplevel).join("etc")).unwrap();
    assert_eq!(title(&system, &[]), "title My $ystem's OS");
    // Other generations are entries of the installer of this one.
    let old = system.add_generation('2', &["old"]);
    let (_kept, disk, _) = write(&system, &["--generation", &format!("1={old}")]);
    assert!(Menu::read(&disk).entries.values().all(|text| text.starts_with("title My $ystem's OS\n")));

    fs::write(system.physical(&etc).join("etc/os-release"), "NAME='a\u{1b}[m'\n").unwrap();
    let error =
        error_of(system.boot_disk(imagegen!()).args(["--loader", "systemd-boot", "-o", "/nowhere/disk"]));
    assert!(error.contains("unusable distribution name"), "{error}");
}

#[test]
fn extensions_are_followed_or_named_once() {
    let (mut system, old) = two_generations();
    system.bootspec["com.example.notes.v1"] = json!({ "text": "a" });
    system.bootspec["org.nixos.specialisation.v1"]["lts+3"]["com.example.notes.v1"] = json!(1);
    system.bootspec["org.nixos.specialisation.v1"]["lts+3"]["com.example.other"] = json!(null);
    system.write_bootspec();
    let document = fs::read_to_string(system.physical(&system.toplevel).join("boot.json")).unwrap();
    fs::write(system.physical(&old).join("boot.json"), document).unwrap();
    let (_kept, disk, said) = write(&system, &["--generation", &format!("1={old}")]);
    for (what, count) in
        [("com.example.notes.v1", 1), ("com.example.other", 1), ("vendorfw/firmware.cpio", 1)]
    {
        assert_eq!(said.matches(what).count(), count, "{said}");
    }
    assert!(!said.contains("org.nixos.systemd-boot"), "{said}");
    let menu = Menu::read(&disk);
    let initrds = |text: &str| {
        let found = text.lines().filter_map(|line| line.strip_prefix("initrd /"));
        found.map(str::to_owned).collect::<Vec<_>>()
    };
    let special: Vec<_> = menu.entries.values().filter(|text| text.contains(" (lts+3)")).collect();
    assert_eq!(special.len(), 2);
    for text in special {
        assert_eq!(initrds(text)[1..], ["vendorfw/firmware.cpio", "more.cpio"]);
    }
}

#[test]
fn extensions_that_cannot_be_followed_are_refused() {
    let refused = |key: &str, value: Value, arguments: &[&str]| {
        let mut system = Nixos::new();
        system.bootspec[key] = value;
        system.write_bootspec();
        error_of(system.boot_disk(imagegen!()).args(arguments).args(["-o", "/nowhere/disk"]))
    };
    for loader in ["systemd-boot", "grub", "systemd-boot,grub"] {
        let loader = ["--loader", loader];
        for version in ["v1", "v2"] {
            let key = format!("org.xenproject.bootspec.{version}");
            let error = refused(&key, json!({ "xen": "/nix/store/x" }), &loader);
            assert!(
                error.contains(&format!("Xen hypervisor (`{key}`)")) && error.contains("boot.json"),
                "{error}"
            );
        }
        for path in ["", "/", "../a", "a/../b", "a//b", "a b", "a\tb", "a\\b", "a?"] {
            let error = refused("org.nixos.extra-initrd.v1", json!({ "paths": ["good", path] }), &loader);
            assert!(error.contains("unusable path in `org.nixos.extra-initrd.v1`"), "{path}: {error}");
        }
        let error = refused("org.nixos.extra-initrd.v1", json!({ "paths": "a" }), &loader);
        assert!(error.contains("boot.json") && error.contains("org.nixos.extra-initrd.v1.paths"), "{error}");
    }
}
