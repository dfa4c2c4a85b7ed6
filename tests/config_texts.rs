//! Texts of a config for `run` that would leave the field they are put into: they are refused before anything is made, or
//! escaped as findmnt reads them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use testkit::{error_of, imagegen, names_in, text, tool};

/// Every option that is a text, or has one; `@` is where it stands.
fn options() -> Vec<Value> {
    vec![
        json!({ "name": "@" }),
        json!({ "diskImage": "@" }),
        json!({ "bootDevice": "@" }),
        json!({ "sharedDirectories": { "@": { "source": "/tmp", "target": "/tmp/share" } } }),
        json!({ "sharedDirectories": { "tag": { "source": "@", "target": "/tmp/share" } } }),
        json!({ "sharedDirectories": { "tag": { "source": "/tmp", "target": "/@" } } }),
        json!({ "fileSystems": { "/@": { "device": "/dev/vdb" } } }),
        json!({ "fileSystems": { "/data": { "device": "@" } } }),
        json!({ "fileSystems": { "/data": { "label": "@" } } }),
        json!({ "fileSystems": { "/data": { "device": "/dev/vdb", "fsType": "@" } } }),
        json!({ "fileSystems": { "/data": { "device": "/dev/vdb", "options": ["ro", "@"] } } }),
        json!({ "additionalPaths": ["@"] }),
        json!({ "forwardPorts": [{ "host": { "address": "@", "port": 1 }, "guest": { "port": 1 } }] }),
        json!({ "interfaces": { "@": { "vlan": 1 } } }),
        json!({ "qemu": { "package": "@" } }),
        json!({ "qemu": { "options": ["@"] } }),
        json!({ "qemu": { "networkingOptions": ["@"] } }),
        json!({ "qemu": { "consoles": ["@"] } }),
        json!({ "qemu": { "drives": [{ "file": "@" }] } }),
        json!({ "qemu": { "drives": [{ "file": "/x", "name": "@" }] } }),
        json!({ "qemu": { "drives": [{ "file": "/x", "driveExtraOpts": { "@": "x" } }] } }),
        json!({ "qemu": { "drives": [{ "file": "/x", "driveExtraOpts": { "x": "@" } }] } }),
        json!({ "qemu": { "drives": [{ "file": "/x", "deviceExtraOpts": { "@": "x" } }] } }),
        json!({ "qemu": { "drives": [{ "file": "/x", "deviceExtraOpts": { "x": "@" } }] } }),
        json!({ "efi": { "firmware": "@" } }),
        json!({ "efi": { "variables": "@" } }),
        json!({ "efiVars": "@" }),
        json!({ "bios": "@" }),
        json!({ "directBoot": { "initrd": "@" } }),
        json!({ "tpm": { "enable": true, "package": "@" } }),
        json!({ "tpm": { "enable": true, "deviceModel": "@" } }),
        json!({ "storeImage": "@" }),
        json!({ "bootDisk": "@" }),
        json!({ "toplevel": "@" }),
        json!({ "registration": "@" }),
    ]
}

struct Place(tempfile::TempDir);

impl Place {
    fn new(config: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.0.path().join("vm.json"), config).unwrap();
        place
    }

    fn run(&self, how: &str) -> std::process::Command {
        let mut command = imagegen!();
        command.args(["run", how, "--config", "vm.json"]).current_dir(self.0.path());
        command.env("TMPDIR", self.0.path()).env("XDG_CACHE_HOME", self.0.path().join("cache"));
        command.env_remove("NIX_DISK_IMAGE").env_remove("USE_TMPDIR");
        command
    }
}

#[test]
fn control_characters_are_refused_in_every_text() {
    let mut refused = 0;
    for option in options() {
        let is_script =
            option["qemu"]["options"].is_array() || option["qemu"]["networkingOptions"].is_array();
        for character in ["\\n", "\\r", "\\t", "\\u0000", "\\u001b", "\\u007f", "\\u0085"] {
            // To the shell that the module's script is for, these are white space.
            if is_script && ["\\n", "\\t"].contains(&character) {
                continue;
            }
            let place = Place::new(&option.to_string().replace('@', &format!("a{character}b")));
            for how in ["--print", "--print-guest"] {
                let error = error_of(&mut place.run(how));
                let told = error.contains("control character") || error.contains("NUL character");
                assert!(told, "{option} {character}: {error}");
            }
            assert_eq!(names_in(place.0.path()), ["vm.json"], "{option}");
            refused += 1;
        }
    }
    assert_eq!(refused, 35 * 7 - 2 * 2);
}

#[test]
fn words_that_would_be_two_are_refused() {
    for (option, what) in [
        (json!({ "qemu": { "consoles": ["ttyS0 init=/bin/sh"] } }), "qemu.consoles.<entry 1>: "),
        (json!({ "qemu": { "consoles": ["ttyS0", "\""] } }), "qemu.consoles.<entry 2>: "),
        (json!({ "qemu": { "consoles": [""] } }), "qemu.consoles.<entry 1>: "),
        (json!({ "registration": "/nix/store/a b" }), "registration: "),
        (json!({ "fileSystems": { "/data": { "device": "" } } }), "fileSystems./data: "),
        (
            json!({ "fileSystems": { "/data": { "device": "x", "fsType": "" } } }),
            "fileSystems./data.fsType: ",
        ),
        (json!({ "fileSystems": { "/data": { "device": "x", "options": [""] } } }), "options.<entry 1>: "),
    ] {
        let place = Place::new(&option.to_string());
        let error = error_of(&mut place.run("--print-guest"));
        assert!(error.contains(what), "{option}: {error}");
    }
}

#[test]
fn every_column_of_fstab_is_escaped() {
    let odd = "a b\\c #d\u{a0}";
    let config = json!({ "useBootLoader": true, "bootDisk": "boot.qcow2", "fileSystems": {
        format!("/data {odd}"): { "device": format!("#{odd}"), "fsType": odd, "options": [odd, "ro"] },
    } });
    let place = Place::new(&config.to_string());
    let Output { stdout, status, .. } = place.run("--print-guest").output().unwrap();
    assert!(status.success());
    fs::write(place.0.path().join("fstab"), stdout).unwrap();
    let fstab = place.0.path().join("fstab");
    let columns = "SOURCE,TARGET,FSTYPE,OPTIONS";
    let found = tool(&["findmnt", "--json", "--tab-file", text(&fstab), "--output", columns]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let mount = |found: &Value| found["source"] == json!(format!("#{odd}"));
    let mounts = all_mounts(&found["filesystems"]);
    let mount = mounts.iter().find(|found| mount(found)).unwrap_or_else(|| panic!("{found}"));
    assert_eq!(mount["target"], json!(format!("/data {odd}")));
    assert_eq!(mount["fstype"], json!(odd));
    assert_eq!(mount["options"], json!(format!("{odd},ro")));
}

/// The file systems of findmnt's tree.
fn all_mounts(value: &Value) -> Vec<Value> {
    let mut list = Vec::new();
    for entry in value.as_array().into_iter().flatten() {
        list.push(entry.clone());
        list.extend(all_mounts(&entry["children"]));
    }
    list
}

/// Whatever file is named: a bounded read and one line that can be read.
#[test]
fn wrong_files_are_told_in_a_line() {
    let place = Place::new("{}");
    let at = |name: &str| text(&place.0.path().join(name)).to_owned();
    fs::write(at("zeros"), vec![0; 1 << 20]).unwrap();
    fs::write(at("line"), "a".repeat(1 << 20)).unwrap();
    fs::write(at("words.json"), format!("\"{}\"", "a".repeat(1 << 20))).unwrap();
    fs::File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
    tool(&["mkfifo", &at("fifo")]);
    let variables = "/usr/share/OVMF/OVMF_VARS_4M.fd";
    let (store, output) = (at("store.qcow2"), at("output"));
    let made = imagegen!().args(["disk", "create", "--size=1M", "-o", &store]).output().unwrap();
    assert!(made.status.success());
    for wrong in
        ["zeros", "line", "words.json", "sparse", "fifo", "."].map(at).into_iter().chain(["/dev/zero".into()])
    {
        let commands: Vec<Vec<&str>> = vec![
            vec!["store-image", "--registration", &wrong, "-o", &output],
            vec!["store-image", "--references-graph", &wrong, "-o", &output],
            vec!["verify", &store, "--registration", &wrong],
            vec!["run", "--config", &wrong],
            vec!["efi-vars", "list", &wrong],
            vec!["efi-vars", "import", variables, &wrong, "-o", &output],
            vec!["efi-vars", "create", "--template", &wrong, "-o", &output],
            vec!["boot-disk", "--toplevel", &wrong, "--loader=grub", "-o", &output],
        ];
        for arguments in commands {
            let mut command = std::process::Command::new("timeout");
            command.args(["--signal=KILL", "60"]).arg(imagegen!().get_program()).args(&arguments);
            let error = error_of(command.current_dir(place.0.path()));
            assert!(error.len() < 2000, "{arguments:?}: {} bytes", error.len());
        }
    }
}
