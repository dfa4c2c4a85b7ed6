//! Short command lines mean the long ones: the same bytes, and clear refusals where two parts contradict each other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

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
