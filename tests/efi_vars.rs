//! `efi-vars`, judged by virt-fw-vars and by OVMF itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::assert::OutputAssertExt;
use serde_json::Value;

const TEMPLATES: &str = "/usr/share/OVMF";
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// `Boot0000` as a machine was seen to boot by it: active, `Linux Boot Manager`, partition 2 with the ESP's
/// GUID, LBA 2048, 120,799 sectors, `\EFI\systemd\systemd-bootx64.efi`.
const BOOT_ENTRY: &str = "010000007400\
    4c0069006e0075007800200042006f006f00740020004d0061006e0061006700650072000000\
    04012a00020000000008000000000000dfd70100000000004f690c97d0af994bb750cdb7a329ab6f0202\
    040446005c004500460049005c00730079007300740065006d0064005c00\
    730079007300740065006d0064002d0062006f006f0074007800360034002e006500660069000000\
    7fff0400";

fn imagegen(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nix-imagegen"));
    command.current_dir(directory).arg("efi-vars");
    command
}

/// Runs `efi-vars`, which must succeed, and gives what it printed.
fn ours(directory: &Path, arguments: &[&str]) -> String {
    let assert = imagegen(directory).args(arguments).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// Runs `efi-vars`, which must fail, and gives its message.
fn refused(directory: &Path, status: i32, arguments: &[&str]) -> String {
    let assert = imagegen(directory).args(arguments).assert().failure().code(status);
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn virt_fw_vars(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("virt-fw-vars")
        .current_dir(directory)
        .args(arguments)
        .output()
        .expect("virt-fw-vars, of virt-firmware");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All variables of an image, as virt-fw-vars reads them.
fn their_json(directory: &Path, image: &str) -> String {
    virt_fw_vars(directory, &["--input", image, "--output-json", "-"])
}

fn variables(json: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(json).unwrap();
    document["variables"].as_array().unwrap().clone()
}

fn variable(json: &str, name: &str) -> Value {
    variables(json).into_iter().find(|variable| variable["name"] == name).unwrap_or_default()
}

/// The stores that Debian's ovmf package has: empty and with keys enrolled, of both sizes until Debian 12.
fn templates() -> Vec<PathBuf> {
    let is_store = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains("_VARS");
    let mut found: Vec<_> =
        fs::read_dir(TEMPLATES).unwrap().map(|entry| entry.unwrap().path()).filter(is_store).collect();
    found.sort();
    assert!(found.len() >= 3, "the ovmf package is not installed: {found:?}");
    found
}

fn template(name: &str) -> String {
    format!("{TEMPLATES}/{name}")
}

/// Code and empty variables of the builds of OVMF that Debian has: the one of 4 MiB, and until Debian 12 one of 2 MiB.
fn builds() -> Vec<(String, String)> {
    let of_size =
        |size: &str| (template(&format!("OVMF_CODE{size}.fd")), template(&format!("OVMF_VARS{size}.fd")));
    let is_there = |(code, _): &(String, String)| Path::new(code).exists();
    std::iter::once(of_size("_4M")).chain(Some(of_size("")).filter(is_there)).collect()
}

/// Bytes of an image that are not the variable store's.
fn around_the_store(image: &[u8]) -> (&[u8], &[u8]) {
    let size = u32::from_le_bytes(image[0x58..0x5c].try_into().unwrap());
    (&image[..0x64], &image[0x48 + usize::try_from(size).unwrap()..])
}

#[test]
fn every_template_is_read_as_virt_fw_vars_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(at.join("nothing.json"), r#"{"version": 2, "variables": []}"#).unwrap();
    for template in templates() {
        let template = template.to_str().unwrap();
        let theirs = their_json(at, template);
        assert_eq!(ours(at, &["export", template]).trim_end(), theirs.trim_end(), "{template}");

        // Written without a change, the same variables are there, and all else is untouched.
        ours(at, &["import", template, "nothing.json", "-o", "same.fd"]);
        assert_eq!(their_json(at, "same.fd"), theirs);
        let (before, after) = (fs::read(template).unwrap(), fs::read(at.join("same.fd")).unwrap());
        assert_eq!(around_the_store(&before), around_the_store(&after));
        assert_eq!(before.len(), after.len());
        ours(at, &["import", "same.fd", "nothing.json", "-o", "again.fd"]);
        assert_eq!(fs::read(at.join("again.fd")).unwrap(), after);
    }
}

#[test]
fn a_boot_disk_entry_is_created_on_every_template() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for template in templates() {
        let template = template.to_str().unwrap();
        let before = their_json(at, template);
        ours(at, &["create", "--template", template, "-o", "vars.fd", "--boot-disk-entry"]);
        let after = their_json(at, "vars.fd");
        // Debian's enrolled stores have some entries, and no BootOrder.
        let free = (0..9).find(|number| variable(&before, &format!("Boot000{number}")).is_null()).unwrap();
        let (name, order) = (format!("Boot000{free}"), format!("0{free}00"));
        for (name, data) in [(&*name, BOOT_ENTRY), ("BootOrder", &*order)] {
            let expected = serde_json::json!({ "name": name, "guid": GLOBAL, "attr": 7, "data": data });
            assert_eq!(variable(&after, name), expected, "{template}");
        }
        let kept = variables(&before);
        assert_eq!(variables(&after)[..kept.len()], kept[..]);
        assert_eq!(variables(&after).len(), kept.len() + 2);

        let printed = virt_fw_vars(at, &["--input", "vars.fd", "--print"]);
        assert!(printed.contains("title=\"Linux Boot Manager\""), "{printed}");
        assert!(printed.contains("FilePath(\\EFI\\systemd\\systemd-bootx64.efi)"), "{printed}");

        // The same again, and the entry is not doubled.
        ours(at, &["create", "--template", "vars.fd", "-o", "again.fd", "--boot-disk-entry"]);
        assert_eq!(fs::read(at.join("again.fd")).unwrap(), fs::read(at.join("vars.fd")).unwrap());
    }
}

#[test]
fn the_new_entry_comes_first_and_takes_the_lowest_free_number() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let entries = ["\\EFI\\a.efi", "\\EFI\\b.efi", "\\EFI\\c.efi"];
    let appended = entries.iter().flat_map(|entry| ["--append-boot-filepath", *entry]);
    let mut arguments = vec!["--input", "/usr/share/OVMF/OVMF_VARS_4M.fd", "--output", "three.fd"];
    arguments.extend(appended);
    virt_fw_vars(at, &arguments);
    ours(at, &["delete", "three.fd", "--name", "Boot0001"]);
    ours(at, &["create", "--template", "three.fd", "-o", "four.fd", "--boot-disk-entry"]);
    let json = their_json(at, "four.fd");
    assert_eq!(variable(&json, "Boot0001")["data"], BOOT_ENTRY);
    // 0001 had its place in the order already; it is there once.
    assert_eq!(variable(&json, "BootOrder")["data"], "010000000200");

    // A larger disk: the entry for the same file on the same partition is written anew, in its place.
    let larger =
        ["create", "--template", "four.fd", "-o", "five.fd", "--boot-disk-entry", "--boot-disk-size", "1G"];
    ours(at, &larger);
    let json = their_json(at, "five.fd");
    assert_ne!(variable(&json, "Boot0001")["data"], BOOT_ENTRY);
    assert_eq!(variables(&json).len(), 4);
    let list = ours(at, &["list", "five.fd"]);
    // 2,097,152 sectors less 2,048 in front and 33 behind.
    assert!(list.contains("HD(2,GPT,970c694f-afd0-4b99-b750-cdb7a329ab6f,0x800,0x1ff7df)"), "{list}");
}

#[test]
fn variables_are_set_and_deleted_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::copy(template("OVMF_VARS_4M.ms.fd"), at.join("vars.fd")).unwrap();
    let before = variables(&their_json(at, "vars.fd"));
    fs::write(at.join("data"), b"\0\xffdata").unwrap();

    ours(at, &["set", "vars.fd", "--name", "Timeout", "--data-hex", "0A00"]);
    ours(
        at,
        &[
            "set",
            "vars.fd",
            "--name",
            "Grüße",
            "--guid",
            "LoaderInfo",
            "--data-file",
            "data",
            "--attributes",
            "nv,bs",
        ],
    );
    ours(at, &["delete", "vars.fd", "--name", "db", "--guid", "d719b2cb-3d3a-4596-a3bc-dad00e67656f"]);
    let mut expected: Vec<Value> = before.into_iter().filter(|variable| variable["name"] != "db").collect();
    // Not every build's has one.
    let timeout = serde_json::json!({ "name": "Timeout", "guid": GLOBAL, "attr": 7, "data": "0a00" });
    match expected.iter_mut().find(|variable| variable["name"] == "Timeout") {
        Some(variable) => *variable = timeout,
        None => expected.push(timeout),
    }
    expected.push(serde_json::json!({
        "name": "Grüße", "guid": "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", "attr": 3, "data": "00ff64617461"
    }));
    assert_eq!(variables(&their_json(at, "vars.fd")), expected);
    // Nothing but the image and the data: no half-written file is left.
    assert_eq!(fs::read_dir(at).unwrap().count(), 2);

    // A key keeps the time of its last change, which no clock may replace.
    let signed = |image, name| variable(&their_json(at, image), name);
    let [key, other] = ["PK", "KEK"].map(|name| signed("vars.fd", name));
    assert!(key["time"].is_string());
    let data = other["data"].as_str().unwrap();
    ours(at, &["set", "vars.fd", "--name", "PK", "--data-hex", data, "-o", "other.fd"]);
    let mut expected = key.clone();
    expected["data"] = data.into();
    assert_eq!(signed("other.fd", "PK"), expected);
    assert_eq!(signed("vars.fd", "PK"), key);
}

#[test]
fn what_virt_fw_vars_writes_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let document = r#"{"version": 2, "variables": [
        {"name": "Smile 😀 \"\\", "guid": "00112233-4455-6677-8899-aabbccddeeff", "attr": 2147483651, "data": "00"},
        {"name": "db", "guid": "d719b2cb-3d3a-4596-a3bc-dad00e67656f", "attr": 39, "data": "",
         "time": "e9070c1f173b3a000000000000000000"}]}"#;
    fs::write(at.join("two.json"), document).unwrap();
    let changes: [&[&str]; 4] = [
        &["--set-json", "two.json"],
        &["--enroll-redhat", "--secure-boot"],
        &["--append-boot-filepath", "\\EFI\\x.efi with options", "--set-boot-uri", "http://boot/x.efi"],
        &["--add-db-hash", "00112233-4455-6677-8899-aabbccddeeff", &"5a".repeat(32)],
    ];
    for change in changes {
        let ovmf = template("OVMF_VARS_4M.fd");
        let arguments = [&["--input", ovmf.as_str(), "--output", "theirs.fd"], change].concat();
        virt_fw_vars(at, &arguments);
        let json = their_json(at, "theirs.fd");
        assert_eq!(ours(at, &["export", "theirs.fd"]).trim_end(), json.trim_end());

        // Their JSON in our image, and ours in theirs.
        fs::write(at.join("theirs.json"), &json).unwrap();
        ours(at, &["import", &ovmf, "theirs.json", "-o", "ours.fd"]);
        assert_eq!(their_json(at, "ours.fd"), json);
        ours(at, &["export", "ours.fd", "-o", "ours.json"]);
        virt_fw_vars(at, &["--input", &ovmf, "--output", "back.fd", "--set-json", "ours.json"]);
        assert_eq!(fs::read(at.join("back.fd")).unwrap(), fs::read(at.join("theirs.fd")).unwrap());
        // The records are the same to the byte: they, too, sort by name.
        assert_eq!(fs::read(at.join("ours.fd")).unwrap(), fs::read(at.join("theirs.fd")).unwrap());
    }
}

#[test]
fn export_and_import_are_a_fixed_point() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    ours(at, &["export", &template("OVMF_VARS_4M.ms.fd"), "-o", "first.json"]);
    for (_, empty) in builds() {
        ours(at, &["import", &empty, "first.json", "-o", "vars.fd"]);
        ours(at, &["export", "vars.fd", "-o", "second.json"]);
        assert_eq!(fs::read(at.join("first.json")).unwrap(), fs::read(at.join("second.json")).unwrap());
    }
}

#[test]
fn the_stores_of_aarch64_are_read_and_made() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    // Debian's template is a blank flash bank, which the firmware would format.
    let blank = fs::File::create(at.join("blank.fd")).unwrap();
    blank.set_len(64 << 20).unwrap();
    assert!(refused(at, 1, &["list", "blank.fd"]).contains("the image is blank"));
    let create = [
        "create",
        "--template",
        "blank.fd",
        "-o",
        "vars.fd",
        "--boot-disk-entry",
        "--architecture",
        "aarch64",
    ];
    ours(at, &create);
    let printed = virt_fw_vars(at, &["--input", "vars.fd", "--print"]);
    assert!(printed.contains("FilePath(\\EFI\\systemd\\systemd-bootaa64.efi)"), "{printed}");
    assert!(printed.contains("boot order: 0000"), "{printed}");
    assert_eq!(ours(at, &["export", "vars.fd"]).trim_end(), their_json(at, "vars.fd").trim_end());

    // What edk2 builds is a volume of three blocks, which distributions pad to the size of the formatted.
    let formatted = fs::read(at.join("vars.fd")).unwrap();
    assert_eq!(formatted.len(), 64 << 20);
    let mut built = formatted[..0xc_0000].to_vec();
    built[0x38] = 3;
    built[0x39] = 0;
    // The block map has 253 blocks fewer, the checksum that much more.
    let checksum = u16::from_le_bytes([built[0x32], built[0x33]]).wrapping_add(253);
    built[0x32..0x34].copy_from_slice(&checksum.to_le_bytes());
    for (name, padding) in [("bare.fd", None), ("zeros.fd", Some(0)), ("ones.fd", Some(0xff))] {
        let mut image = built.clone();
        if let Some(padding) = padding {
            image.resize(64 << 20, padding);
        }
        fs::write(at.join(name), &image).unwrap();
        ours(at, &["set", name, "--name", "Timeout", "--data-hex", "0100"]);
        let changed = fs::read(at.join(name)).unwrap();
        assert!(around_the_store(&changed) == around_the_store(&image), "{name}");
        assert_eq!(variable(&their_json(at, name), "Timeout")["data"], "0100");
    }

    let larger = fs::File::create(at.join("larger.fd")).unwrap();
    larger.set_len((128 << 20) + 1).unwrap();
    assert!(refused(at, 1, &["list", "larger.fd"]).contains("longer than 128.0 MiB"));
    assert!(refused(at, 1, &["create", "--template", "/dev/null", "-o", "x.fd"]).contains("cut short"));
}

#[test]
fn the_table_shows_values_as_people_read_them() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    ours(at, &["create", "--template", &template("OVMF_VARS_4M.fd"), "-o", "vars.fd", "--boot-disk-entry"]);
    ours(at, &["set", "vars.fd", "--name", "Timeout", "--data-hex", "0500"]);
    // A colour, an unpaired surrogate and a value that is no boot entry.
    let document = format!(
        r#"{{"version": 2, "variables": [
            {{"name": "\u001b[31m\ud800", "guid": "{GLOBAL}", "attr": 7, "data": "01"}},
            {{"name": "Boot0001", "guid": "{GLOBAL}", "attr": 7, "data": "01000000"}}]}}"#
    );
    fs::write(at.join("odd.json"), document).unwrap();
    ours(at, &["import", "vars.fd", "odd.json"]);
    assert_eq!(
        ours(at, &["list", "vars.fd"]),
        "\
NAME                VENDOR             ATTRIBUTES  SIZE  VALUE
Boot0000            EfiGlobalVariable  NV,BS,RT     160  Linux Boot Manager: \
HD(2,GPT,970c694f-afd0-4b99-b750-cdb7a329ab6f,0x800,0x1d7df)/\\EFI\\systemd\\systemd-bootx64.efi
BootOrder           EfiGlobalVariable  NV,BS,RT       2  0000
Timeout             EfiGlobalVariable  NV,BS,RT       2  5 s
\\u{1b}[31m\\u{d800}  EfiGlobalVariable  NV,BS,RT       1
Boot0001            EfiGlobalVariable  NV,BS,RT       4
"
    );
    let listing: Value = serde_json::from_str(&ours(at, &["list", "vars.fd", "--json"])).unwrap();
    assert_eq!(listing["format"], "authenticated");
    assert_eq!(listing["capacity_bytes"], 262_044);
    assert_eq!(listing["variables"][1]["value"], "0000");
    assert_eq!(listing["variables"][1]["vendor"], "EfiGlobalVariable");
    assert_eq!(listing["variables"][4]["value"], Value::Null);
    // The export keeps what a table can only show escaped.
    let export = ours(at, &["export", "vars.fd"]);
    assert!(export.contains(r#""\u001b[31m\ud800""#), "{export}");
    fs::write(at.join("export.json"), &export).unwrap();
    ours(at, &["import", &template("OVMF_VARS_4M.fd"), "export.json", "-o", "again.fd"]);
    assert_eq!(fs::read(at.join("again.fd")).unwrap(), fs::read(at.join("vars.fd")).unwrap());
}

#[test]
fn what_cannot_be_done_leaves_the_image_alone() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::copy(template("OVMF_VARS_4M.fd"), at.join("vars.fd")).unwrap();
    let before = fs::read(at.join("vars.fd")).unwrap();
    fs::write(at.join("large"), vec![1; 262_000]).unwrap();
    fs::write(at.join("bad.json"), r#"{"version": 2, "variables": [{"name": "A"}]}"#).unwrap();
    fs::write(at.join("cut.fd"), &before[..0x1_0000]).unwrap();

    let set = ["set", "vars.fd", "--name", "A"];
    for (status, arguments, message) in [
        (
            1,
            &["set", "vars.fd", "--name", "A", "--data-file", "large"][..],
            "needs 262064 bytes, 262044 are free",
        ),
        (1, &["set", "vars.fd", "--name", "A", "--data-hex", ""], "use `efi-vars delete`"),
        (1, &["set", "vars.fd", "--name", "", "--data-hex", "00"], "must have a name"),
        (1, &["set", "vars.fd", "--name", "A", "--data-file", "missing"], "cannot read `missing`"),
        (1, &["delete", "vars.fd", "--name", "A"], "there is no variable `A`"),
        (1, &["import", "vars.fd", "bad.json"], "missing field `guid`"),
        (1, &["import", "vars.fd", "vars.fd"], "not UTF-8"),
        (1, &["list", "cut.fd"], "the image is cut short"),
        (1, &["list", "bad.json"], "cut short"),
        (1, &["list", "missing.fd"], "cannot read `missing.fd`"),
        (
            1,
            &["create", "--template", "vars.fd", "-o", "x.fd", "--boot-disk-entry", "--boot-disk-size", "1M"],
            "no room",
        ),
        (1, &["create", "--template", "vars.fd", "-o", "missing/x.fd"], "the directory must exist"),
        (2, &[&set[..], &["--data-hex", "0"]].concat(), "invalid length"),
        (2, &[&set[..], &["--data-hex", "00", "--attributes", "BS"]].concat(), "add NV"),
        (2, &[&set[..], &["--data-hex", "00", "--attributes", "NV,RT"]].concat(), "add BS"),
        (2, &[&set[..], &["--data-hex", "00", "--attributes", "AP,NV"]].concat(), "leave it out"),
        (2, &[&set[..], &["--data-hex", "00", "--attributes", "XY"]].concat(), "not a set of attributes"),
        (2, &[&set[..], &["--data-hex", "00", "--guid", "Nobody"]].concat(), "is not a UUID"),
        (2, &set, "--data-hex"),
    ] {
        let said = refused(at, status, arguments);
        assert!(said.contains(message), "{arguments:?}: {said}");
        assert_eq!(fs::read(at.join("vars.fd")).unwrap(), before);
    }
    assert_eq!(fs::read_dir(at).unwrap().count(), 4);
}

/// OVMF takes our store for its own, adds, changes and deletes variables, and we read what it made of it.
#[test]
fn ovmf_works_on_our_store() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (code, vars) in builds() {
        ours(at, &["create", "--template", &vars, "-o", "vars.fd", "--boot-disk-entry"]);
        // Of a length that the record needs padding for.
        let mark = ["set", "vars.fd", "--name", "Mark", "--guid", "LoaderInfo", "--data-hex", "6f757273ff"];
        ours(at, &mark);
        boot_without_disk(at, &code);

        let json = their_json(at, "vars.fd");
        assert_eq!(ours(at, &["export", "vars.fd"]).trim_end(), json.trim_end());
        assert_eq!(variable(&json, "Boot0000")["data"], BOOT_ENTRY);
        assert_eq!(variable(&json, "Mark")["data"], "6f757273ff");
        // The firmware puts its own entries behind ours.
        let order = variable(&json, "BootOrder")["data"].as_str().unwrap().to_owned();
        assert!(order.starts_with("00000100"), "{order}");

        // It has left deleted records behind, which we clear away; and works on what we then write.
        let left = fs::read(at.join("vars.fd")).unwrap();
        ours(at, &["delete", "vars.fd", "--name", "Boot0001"]);
        let written = fs::read(at.join("vars.fd")).unwrap();
        let records = |image: &[u8]| image[0x64..].windows(2).filter(|word| word == b"\xaa\x55").count();
        assert!(records(&left) > records(&written) + 1);
        assert_eq!(around_the_store(&left), around_the_store(&written));
        boot_without_disk(at, &code);
        let json = their_json(at, "vars.fd");
        assert_eq!(ours(at, &["export", "vars.fd"]).trim_end(), json.trim_end());
        assert_eq!(variable(&json, "Mark")["data"], "6f757273ff");
        assert!(variable(&json, "Boot0001").is_object());
    }
}

/// Starts a machine without disks on `vars.fd`, until OVMF has listed its own boot entries and goes on writing
/// no more.
fn boot_without_disk(at: &Path, code: &str) {
    let flash = format!("if=pflash,format=raw,unit=0,readonly=on,file={code}");
    let mut qemu = Command::new("qemu-system-x86_64")
        .current_dir(at)
        .args(["-machine", "q35", "-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none"])
        .args(["-monitor", "stdio", "-drive", &flash, "-drive", "if=pflash,format=raw,unit=1,file=vars.fd"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("qemu-system-x86_64");
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut before = Vec::new();
    let settled = loop {
        std::thread::sleep(Duration::from_secs(2));
        let now = fs::read(at.join("vars.fd")).unwrap();
        let output = imagegen(at).args(["list", "vars.fd"]).output().unwrap();
        let list = String::from_utf8_lossy(&output.stdout).into_owned();
        // The first of its own, whose name differs from build to build, and the last.
        if now == before && list.contains("\nBoot0001") && list.contains("EFI Internal Shell") {
            break true;
        }
        if Instant::now() > deadline {
            break false;
        }
        before = now;
    };
    // Asked politely, so that everything is in the file.
    qemu.stdin.take().unwrap().write_all(b"quit\n").unwrap();
    assert!(qemu.wait().unwrap().success());
    assert!(settled, "OVMF has not come to its boot entries");
}
