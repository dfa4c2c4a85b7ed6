//! Short command lines mean the long ones: the same bytes, and clear refusals where two parts contradict each other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use testkit::guest::Guest;
use testkit::machine::{Firmware, Machine};
use testkit::system::System;
use testkit::{imagegen, names_in, text, tool};

/// A small system and a directory for outputs.
struct Place {
    system: System,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { system: System::new(), directory: tempfile::tempdir().unwrap() }
    }

    fn at(&self) -> &Path {
        self.directory.path()
    }

    /// A command in the directory, with the store.
    fn command(&self, arguments: &str) -> Command {
        let mut command = imagegen!();
        command.current_dir(self.at()).args(arguments.split_whitespace().map(|word| {
            word.replace("@root@", text(self.system.store.root.path()))
                .replace("@registration@", text(&self.system.registration))
                .replace("@toplevel@", &self.system.toplevels[0])
        }));
        command
    }

    /// Runs a command that must succeed.
    fn made(&self, arguments: &str) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.at().join(name)).unwrap()
    }

    /// What is said to a command that is wrong usage, and makes nothing.
    fn wrong(&self, arguments: &str) -> String {
        let before = names_in(self.at());
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(output.stdout.is_empty() && said.starts_with("error: "), "{arguments}: {said}");
        assert_eq!(names_in(self.at()), before, "{arguments}");
        said
    }
}

fn format_of(image: &Path) -> String {
    let told: Value =
        serde_json::from_str(&tool(&["qemu-img", "info", "--output=json", text(image)])).unwrap();
    told["format"].as_str().unwrap().to_owned()
}

#[test]
fn the_name_of_an_image_decides_its_container() {
    let place = Place::new();
    for (command, long) in [
        ("disk create --size 1M", ""),
        ("store-image --store-root @root@ --registration @registration@", ""),
        ("boot-disk --store-root @root@ --toplevel @toplevel@ --loader systemd-boot", " --size 12M"),
        ("root-disk --store-root @root@ --registration @registration@", " --additional-space 1M"),
    ] {
        for (name, format) in [
            ("a.qcow2", "qcow2"),
            ("a.img", "raw"),
            ("a.raw", "raw"),
            ("a.IMG", "raw"),
            ("a", "qcow2"),
            ("a.disk", "qcow2"),
        ] {
            place.made(&format!("{command}{long} -o {name}"));
            assert_eq!(format_of(&place.at().join(name)), format, "{command} {name}");
            place.made(&format!("{command}{long} --format {format} -o long"));
            assert!(place.bytes(name) == place.bytes("long"), "{command} {name}");
        }
        for (name, format) in [("b.img", "qcow2"), ("b.raw", "qcow2"), ("b.qcow2", "raw"), ("b.vdi", "raw")] {
            let said = place.wrong(&format!("{command} --format {format} -o {name}"));
            assert!(
                said.contains(&format!("`{name}`")) && said.contains(&format!("--format is {format}")),
                "{said}"
            );
        }
        for (extension, format) in
            [("vdi", "vdi"), ("vmdk", "vmdk"), ("vhdx", "vhdx"), ("vhd", "vpc"), ("vpc", "vpc")]
        {
            let said = place.wrong(&format!("{command} -o c.{extension}"));
            let advice = format!("`qemu-img convert -f qcow2 -O {format} c.qcow2 c.{extension}`");
            assert!(said.contains("only qcow2") && said.contains(&advice), "{said}");
            // How this command is called, not the program.
            let words: Vec<_> = command.split(' ').take_while(|word| !word.starts_with('-')).collect();
            assert!(said.contains(&format!("Usage: nix-imagegen {}", words.join(" "))), "{said}");
        }
    }
    // The advice is one that qemu-img takes.
    place.made("disk create --size 1M -o c.qcow2");
    let [ours, theirs] = ["c.qcow2", "c.vhd"].map(|name| text(&place.at().join(name)).to_owned());
    tool(&["qemu-img", "convert", "-f", "qcow2", "-O", "vpc", &ours, &theirs]);
    assert!(place.wrong("disk create --size 1M -o c.vhd").contains("-O vpc c.qcow2 c.vhd"));
}

#[test]
fn a_report_names_the_container_that_the_name_decided() {
    let place = Place::new();
    let command = "store-image --store-root @root@ --registration @registration@ --report report";
    for (name, format) in [("a.img", "raw"), ("a.qcow2", "qcow2"), ("a", "qcow2")] {
        place.made(&format!("{command} -o {name}"));
        let report: Value = serde_json::from_slice(&place.bytes("report")).unwrap();
        assert_eq!(report["format"], format);
        let arguments: Vec<_> = report["program"]["arguments"].as_array().unwrap().iter().collect();
        let formats: Vec<_> =
            arguments.iter().filter(|word| word.as_str().unwrap().starts_with("--format")).collect();
        assert_eq!(formats, [&&Value::from(format!("--format={format}"))]);
    }
}

/// The guest, and a directory with a link `result` to its toplevel.
struct Linked {
    guest: Guest,
    directory: tempfile::TempDir,
}

impl Linked {
    fn new() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let guest = Guest::get();
        symlink(&guest.toplevel, directory.path().join("result")).unwrap();
        Self { guest, directory }
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = imagegen!();
        let words = arguments.split_whitespace().map(|word| match word {
            "@registration@" => text(&self.guest.registration).to_owned(),
            word => word.to_owned(),
        });
        command.current_dir(self.directory.path()).args(words);
        command.args(["--store-root", text(&self.guest.root)]);
        command
    }

    /// Runs a command that must succeed, and gives what it said.
    fn made(&self, arguments: &str) -> String {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && output.stdout.is_empty(), "{arguments}: {said}");
        said
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.path().join(name)).unwrap()
    }

    fn assert_same(&self, short: &str, long: &str) -> String {
        let said = self.made(&format!("{short} -o short.qcow2 --report report"));
        self.made(&format!("{long} -o long.qcow2"));
        assert!(self.bytes("short.qcow2") == self.bytes("long.qcow2"), "{short}");
        // The report says all of it, in the long form.
        let report: Value = serde_json::from_slice(&self.bytes("report")).unwrap();
        let mut again = imagegen!();
        again.current_dir(report["program"]["directory"].as_str().unwrap());
        again.args(
            report["program"]["arguments"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()),
        );
        assert!(again.args(["-o", "again.qcow2"]).status().unwrap().success(), "{again:?}");
        assert!(!format!("{again:?}").contains("table=auto"), "{again:?}");
        assert!(self.bytes("short.qcow2") == self.bytes("again.qcow2"), "{short}");
        said
    }
}

#[test]
fn a_path_alone_is_a_closure() {
    let result = Linked::new();
    let busybox = result.guest.path("-busybox");
    result.assert_same("store-image ./result", "store-image --closure ./result");
    result.assert_same(
        &format!("store-image {busybox} result/systemd --optimise"),
        &format!("store-image --closure {busybox} result/systemd --optimise"),
    );
    let registration = result.command("registration ./result").output().unwrap();
    assert_eq!(registration.stdout, fs::read(&result.guest.registration).unwrap());
}

#[test]
fn a_system_alone_is_a_disk_with_all_of_it() {
    let result = Linked::new();
    let whole = "root-disk --closure ./result --toplevel ./result --with-store --additional-space 1M";
    for (short, long, loaders) in [
        ("", "--partition-table hybrid", Some("systemd-boot,grub")),
        (
            "--optimise --partition-table hybrid",
            "--optimise --partition-table hybrid",
            Some("systemd-boot,grub"),
        ),
        ("--partition-table efi", "--partition-table efi", Some("systemd-boot")),
        ("--partition-table legacy", "--partition-table legacy", Some("grub")),
        ("--partition-table hybrid --loader grub", "--partition-table hybrid", Some("grub")),
        ("--loader systemd-boot --no-editor", "--no-editor --partition-table efi", Some("systemd-boot")),
        ("--loader grub --kernel-param quiet", "--kernel-param quiet --partition-table legacy", Some("grub")),
        ("--partition-table none", "", None),
    ] {
        let loader = loaders.map(|loaders| format!("--loader {loaders}")).unwrap_or_default();
        let said = result.assert_same(
            &format!("root-disk ./result --additional-space 1M {short}"),
            &format!("{whole} {long} {loader}"),
        );
        let does_not_boot = said.matches("does not boot by itself").count();
        assert_eq!(does_not_boot, usize::from(loaders.is_none()), "{short}: {said}");
        let expected = loaders.map(|loaders| format!("boots by {}", loaders.replace(',', " and ")));
        assert!(expected.is_none_or(|expected| said.contains(&expected)), "{short}: {said}");
    }
}

#[test]
fn a_system_alone_is_a_boot_disk() {
    let result = Linked::new();
    let loaders = "--loader systemd-boot,grub";
    result.assert_same("boot-disk ./result", &format!("boot-disk --toplevel ./result {loaders}"));
    result.assert_same(
        "boot-disk --toplevel ./result --timeout 0",
        &format!("boot-disk --toplevel ./result --timeout 0 {loaders}"),
    );
    result.assert_same("boot-disk ./result --loader grub", "boot-disk --toplevel ./result --loader grub");
}

#[test]
fn a_disk_of_a_system_alone_boots_under_both_kinds_of_firmware() {
    let result = Linked::new();
    result.made("root-disk ./result -o disk.qcow2");
    let disk = result.directory.path().join("disk.qcow2");
    let variables = result.directory.path().join("vars.fd");
    fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).unwrap();
    for firmware in
        [Firmware::SeaBios, Firmware::Ovmf(Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd"), &variables)]
    {
        let said = Machine::start(&firmware, &[&disk]).until_off();
        assert!(said.contains("NIX-IMAGEGEN-GUEST-OK"), "{said}");
    }
}

/// A system whose configuration has no GRUB, one that leads to no loader at all, and one whose files need more than usual.
#[test]
fn loaders_that_a_system_does_not_lead_to_are_left_out() {
    let place = Place::new();
    let root = "root-disk --store-root @root@ --registration @registration@ --toplevel @toplevel@ --with-store \
                --no-verify --additional-space 1M";
    let boot = "boot-disk --store-root @root@";
    place.made(&format!("{root} --partition-table auto -o auto"));
    place.made(&format!("{root} --partition-table efi --loader systemd-boot -o efi"));
    assert!(place.bytes("auto") == place.bytes("efi"));
    place.made(&format!("{boot} @toplevel@ -o auto"));
    place.made(&format!("{boot} --toplevel @toplevel@ --loader systemd-boot -o efi"));
    assert!(place.bytes("auto") == place.bytes("efi"));
    assert!(
        place
            .wrong(&format!("{boot} @toplevel@ --resolution 1024x768 -o x"))
            .contains("--resolution is for grub")
    );
    let said = place.wrong(&format!("{root} --partition-table auto --resolution 1024x768 -o x"));
    assert!(said.contains("--resolution is for grub"), "{said}");

    let initrd = place.system.store.physical(2).join("initrd");
    fs::File::options().write(true).open(initrd).unwrap().set_len(100 << 20).unwrap();
    place.made(&format!("{boot} @toplevel@ -o large --report report"));
    let report: Value = serde_json::from_slice(&place.bytes("report")).unwrap();
    let size = report["virtual_bytes"].as_u64().unwrap();
    assert!(size > 100 << 20);
    let output =
        place.command(&format!("{boot} --toplevel @toplevel@ --loader systemd-boot -o x")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("--size {}M is the smallest", size >> 20)), "{said}");

    let no_system = place.system.store.logical(0);
    for command in [format!("{boot} {no_system} -o x"), format!("{boot} --toplevel {no_system} -o x")] {
        let output = place.command(&command).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(&no_system), "{said}");
        assert!(said.contains("is it a system"), "{said}");
    }

    let toplevel = place.system.store.root.path().join(&place.system.toplevels[0][1..]);
    fs::remove_file(toplevel.join("systemd")).unwrap();
    let output = place.made(&format!("{root} --partition-table auto -o auto"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("auto does not boot by itself: the system leads to no boot loader"), "{said}");
    place.made(&format!("{root} -o none"));
    assert!(place.bytes("auto") == place.bytes("none"));
    let output = place.command(&format!("{boot} @toplevel@ -o x")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("leads to no boot loader"), "{said}");
}

#[test]
fn a_path_and_what_contradicts_it_are_wrong_usage() {
    let place = Place::new();
    for arguments in [
        "store-image ./result --closure ./result -o x",
        "store-image ./result --registration @registration@ -o x",
        "store-image ./result --references-graph graph -o x",
        "registration ./result --closure ./result",
        "verify image ./result --registration @registration@",
        "verify image",
        "root-disk ./result --toplevel ./result -o x",
        "root-disk ./result --closure ./result -o x",
        "root-disk ./result --registration @registration@ -o x",
        "root-disk ./result ./other -o x",
        "root-disk ./result --partition-table none --loader grub -o x",
        "root-disk ./result --partition-table legacy --loader systemd-boot -o x",
        "boot-disk ./result --toplevel ./result -o x",
        "boot-disk ./result ./other -o x",
        "boot-disk --loader grub -o x",
        "boot-disk ./result --loader grub --no-editor -o x",
        "store-image -o x",
    ] {
        place.wrong(arguments);
    }
}

#[test]
fn every_source_of_a_closure_verifies() {
    let result = Linked::new();
    result.made("store-image ./result -o store.qcow2");
    let at = |name: &str| result.directory.path().join(name);
    let info = result.command("registration ./result").output().unwrap().stdout;
    fs::write(at("registration"), &info).unwrap();
    // As `exportReferencesGraph` writes it: no hashes, so that nothing but the names can be compared.
    let (mut graph, mut entries) = (String::new(), Vec::new());
    let registration = String::from_utf8(info).unwrap();
    let mut lines = registration.lines();
    while let Some(path) = lines.next() {
        let [hash, size, _deriver, count] = std::array::from_fn(|_| lines.next().unwrap());
        let references: Vec<_> = lines.by_ref().take(count.parse().unwrap()).collect();
        graph += &[&[path, "", count], &references[..], &[""]].concat().join("\n");
        let size: u64 = size.parse().unwrap();
        entries.push(serde_json::json!({
            "path": path, "narHash": format!("sha256:{hash}"), "narSize": size, "references": references,
        }));
    }
    fs::write(at("graph"), graph).unwrap();
    fs::write(at("info.json"), Value::from(entries).to_string()).unwrap();
    let judged = |arguments: &str| {
        let output = result.command(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for source in
        ["./result", "--closure ./result", "--registration registration", "--references-graph info.json"]
    {
        let (status, said) = judged(&format!("verify store.qcow2 {source}"));
        assert!(
            status == Some(0) && said.contains("9 right, 0 wrong, 0 missing, 0 extra"),
            "{source}: {said}"
        );
    }
    let (status, said) = judged("verify store.qcow2 --references-graph graph");
    assert!(status == Some(0) && said.contains("9 store paths were not checked"), "{said}");
    let (status, said) = judged("verify store.qcow2 ./result/systemd");
    assert!(status == Some(1) && said.contains("0 missing") && !said.contains(" 0 extra"), "{said}");
}
