//! The firmware of `run`: code and variables of one build, found by their names and sizes, or told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use testkit::{imagegen, text, tool};

const NV_DATA: [u8; 16] = *b"\x8d\x2b\xf1\xff\x96\x76\x8b\x4c\xa9\x85\x27\x47\x07\x5b\x4f\x50";
const CODE: [u8; 16] = *b"\x78\xe5\x8c\x8c\x3d\x8a\x1c\x4f\x99\x35\x89\x61\x85\xc3\x2d\xd3";
const AUTHENTICATED: [u8; 16] = *b"\x78\x2c\xf3\xaa\x7b\x94\x9a\x43\xa1\x80\x2e\x14\x4e\xc3\x77\x92";

/// A firmware volume of `length` bytes in a file of `size` (Platform Initialization 1.7, volume 3, section 3.2.1).
fn volume(guid: [u8; 16], length: u64, size: usize, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes.extend(guid);
    bytes.extend(length.to_le_bytes());
    bytes.extend(b"_FVH\xff\xfe\x04\0\x48\0\0\0\0\0\0\x02");
    bytes.extend([u32::try_from(length / 4096).unwrap(), 4096, 0, 0].map(u32::to_le_bytes).concat());
    let sum =
        bytes.chunks(2).fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
    bytes[50..52].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    bytes.extend(contents);
    bytes.resize(size, 0xff);
    bytes
}

/// An empty store: of OVMF's build of 2 MiB, of 4 MiB, or of AAVMF.
fn variables(size: usize) -> Vec<u8> {
    let store = if size == VARIABLES_2M { 0xe000_u32 } else { 0x4_0000 };
    let header = [&AUTHENTICATED[..], &(store - 72).to_le_bytes(), b"\x5a\xfe\0\0\0\0\0\0"].concat();
    volume(NV_DATA, size.min(0xc_0000).try_into().unwrap(), size, &header)
}

fn code(size: usize) -> Vec<u8> {
    volume(CODE, 0x1_0000, size, &[])
}

const CODE_2M: usize = 1_966_080;
const CODE_4M: usize = 3_653_632;
const VARIABLES_2M: usize = 131_072;
const VARIABLES_4M: usize = 540_672;

/// A directory with a QEMU that only tells its version.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(machine.at("qemu/bin")).unwrap();
        for program in ["qemu-system-x86_64", "qemu-system-aarch64"] {
            let program = machine.at("qemu/bin").join(program);
            fs::write(&program, "#!/bin/sh\necho QEMU emulator version 9.2.0\n").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::File::create(machine.at("boot.img")).unwrap().set_len(60 << 20).unwrap();
        machine
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn has(&self, name: &str, bytes: &[u8]) -> &Self {
        fs::write(self.at(name), bytes).unwrap();
        self
    }

    /// Whether it would start for the first time, and all that was said.
    fn first_start(&self, options: &str) -> (bool, String) {
        let _ = fs::remove_file(self.at("t-efi-vars.fd"));
        self.start(options)
    }

    /// Whether it would start, and all that was said.
    fn start(&self, options: &str) -> (bool, String) {
        let config = format!(
            "name = \"t\"\nsystem = \"x86_64-linux\"\ngraphics = false\nuseBootLoader = true\nuseEFIBoot = true\n\
             mountHostNixStore = false\nbootDisk = \"boot.img\"\nqemu.package = \"{}\"\n{options}",
            text(&self.at("qemu"))
        );
        fs::write(self.at("vm.toml"), config).unwrap();
        let output = imagegen!()
            .args(["run", "--config", "vm.toml", "--print"])
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }
}

fn named(code: &str, variables: &str) -> String {
    format!("efi.firmware = \"{code}\"\nefi.variables = \"{variables}\"\n")
}

#[test]
fn only_files_of_one_build_are_a_pair() {
    let machine = Machine::new();
    machine.has("code2", &code(CODE_2M)).has("code4", &code(CODE_4M));
    machine.has("vars2", &variables(VARIABLES_2M)).has("vars4", &variables(VARIABLES_4M));
    let whole = [variables(VARIABLES_4M), code(CODE_4M)].concat();
    machine.has("whole", &whole).has("arm", &variables(64 << 20));
    machine.has("own", &[7; 5000]).has("own-vars", &[7; 77]);
    for (code, variables) in [("code2", "vars2"), ("code4", "vars4"), ("own", "own-vars")] {
        let (starts, said) = machine.first_start(&named(code, variables));
        assert!(starts && said.contains(code), "{code}, {variables}: {said}");
    }
    for (code, variables, words) in [
        ("code4", "vars2", "of different builds"),
        ("code2", "vars4", "of different builds"),
        ("code4", "arm", "of different builds"),
        ("code4", "own-vars", "holds no variables"),
        ("own", "vars2", "of different builds"),
        ("vars4", "vars4", "efi.firmware: "),
        ("vars4", "vars4", "not its code"),
        ("code4", "code4", "not variables"),
        ("whole", "vars4", "in one"),
    ] {
        let (starts, said) = machine.first_start(&named(code, variables));
        let both = [code, variables].iter().all(|name| said.contains(text(&machine.at(name))));
        assert!(!starts && both && said.contains(words), "{code}, {variables}: {said}");
    }
    machine.has("arm-code", &vec![0; 64 << 20]).has("qcow2", b"QFI\xfb\0\0\0\x03");
    for (code, variables, words) in [
        ("code4", "whole", "efi.variables: `{}/whole` holds a firmware's code, not variables"),
        ("arm-code", "vars4", "efi.firmware: `{}/arm-code` is for ARM's `virt` board"),
        ("arm-code", "own-vars", "efi.firmware: `{}/arm-code` is for ARM's `virt` board"),
        ("qcow2", "vars4", "efi.firmware: `{}/qcow2` is a qcow2 image"),
        ("code4", "qcow2", "efi.variables: `{}/qcow2` is a qcow2 image"),
        ("none", "vars4", "efi.firmware: there is no file `{}/none`"),
        ("code4", "none", "efi.variables: there is no file `{}/none`"),
    ] {
        let (starts, said) = machine.first_start(&named(code, variables));
        assert!(!starts && said.contains(&words.replace("{}", text(machine.0.path()))), "{said}");
        assert!(!said.contains("different builds"), "{said}");
    }
    // Nothing is said of variables that the machine does not have.
    machine.has("OVMF_VARS_4M.ms.fd", &variables(VARIABLES_4M));
    let (_, said) = machine.first_start("efi.firmware = \"OVMF_VARS_4M.ms.fd\"\n");
    assert!(
        said.contains("holds a firmware's variables, not its code") && !said.contains("convert"),
        "{said}"
    );
    // The file that would be right lies beside the wrong one.
    machine.has("OVMF_CODE_4M.fd", &code(CODE_4M)).has("OVMF_VARS_4M.fd", &variables(VARIABLES_4M));
    machine.has("OVMF_CODE.fd", &code(CODE_2M)).has("OVMF_VARS.fd", &variables(VARIABLES_2M));
    let (_, said) = machine.first_start("efi.variables = \"OVMF_CODE.fd\"\n");
    assert!(said.contains("efi.variables: ") && said.contains("code, not variables"), "{said}");
    let (_, said) = machine.first_start(&named("OVMF_VARS_4M.fd", "OVMF_VARS_4M.fd"));
    assert!(said.contains("the code beside it is `") && said.contains("OVMF_CODE_4M.fd"), "{said}");
    let (_, said) = machine.first_start(&named("OVMF_CODE_4M.fd", "OVMF_VARS.fd"));
    assert!(said.contains("OVMF_VARS_4M.fd`: name them as efi.variables"), "{said}");
    assert!(
        said.contains("code of OVMF's 4 MiB build") && said.contains("variables of OVMF's 2 MiB"),
        "{said}"
    );
}

#[test]
fn what_can_be_neither_variables_nor_a_disk_is_told() {
    let machine = Machine::new();
    machine.has("OVMF_CODE_4M.fd", &code(CODE_4M)).has("OVMF_VARS_4M.fd", &variables(VARIABLES_4M));
    let options = "efi.firmware = \"OVMF_CODE_4M.fd\"\n";
    let refused = |name: &str, words: &str| {
        let (starts, said) = machine.start(options);
        let named = said.contains(text(&machine.at(name))) && said.contains(words);
        assert!(!starts && named && !said.contains("convert"), "{name}: {said}");
    };
    for (name, words) in
        [("t-efi-vars.fd", "efiVars: `"), ("t.qcow2", "is neither a file nor a block device")]
    {
        for make in ["mkdir", "mkfifo"] {
            tool(&[make, text(&machine.at(name))]);
            refused(name, words);
            tool(&["rm", "-r", text(&machine.at(name))]);
        }
    }
    machine.has("t-efi-vars.fd", b"no variables");
    refused("t-efi-vars.fd", "(12 bytes) holds no variables of a firmware");
    refused("t-efi-vars.fd", "remove it");
    assert!(machine.first_start(options).0);
}

#[test]
fn an_arm_machine_has_banks_of_64_mib() {
    let machine = Machine::new();
    machine.has("code", &code(64 << 20)).has("vars", &variables(64 << 20));
    machine.has("short", &code(2 << 20)).has("vars4", &variables(VARIABLES_4M));
    for (code, variables, is_pair) in
        [("code", "vars", true), ("short", "vars", false), ("code", "vars4", false)]
    {
        let config = format!(
            "name = \"t\"\nsystem = \"aarch64-linux\"\ngraphics = false\nuseBootLoader = true\nuseEFIBoot = true\n\
             mountHostNixStore = false\nbootDisk = \"boot.img\"\nqemu.package = \"{}\"\n{}",
            text(&machine.at("qemu")),
            named(code, variables)
        );
        fs::write(machine.at("arm.toml"), config).unwrap();
        let _ = fs::remove_file(machine.at("t-efi-vars.fd"));
        let output = imagegen!()
            .args(["run", "--config", "arm.toml", "--print"])
            .current_dir(machine.0.path())
            .output()
            .unwrap();
        assert_eq!(output.status.success(), is_pair, "{code}, {variables}: {output:?}");
    }
}

#[test]
fn names_lead_from_one_file_to_the_other() {
    let machine = Machine::new();
    for name in ["OVMF_CODE_4M.fd", "OVMF_CODE_4M.secboot.fd"] {
        machine.has(name, &code(CODE_4M));
    }
    for name in ["OVMF_VARS_4M.fd", "OVMF_VARS_4M.ms.fd", "OVMF_VARS_4M.snakeoil.fd"] {
        machine.has(name, &variables(VARIABLES_4M));
    }
    // Code that checks signatures gets variables with keys, and what it runs in.
    let (starts, said) = machine.first_start("efi.firmware = \"OVMF_CODE_4M.secboot.fd\"\n");
    assert!(starts && said.contains("q35,smm=on") && said.contains("property=secure,value=on"), "{said}");
    let (starts, said) = machine.first_start("efi.firmware = \"OVMF_CODE_4M.fd\"\n");
    assert!(starts && !said.contains("smm"), "{said}");
    // Variables find their code.
    for (variables, code) in [
        ("OVMF_VARS_4M.fd", "OVMF_CODE_4M.fd"),
        ("OVMF_VARS_4M.ms.fd", "OVMF_CODE_4M.secboot.fd"),
        ("OVMF_VARS_4M.snakeoil.fd", "OVMF_CODE_4M.secboot.fd"),
    ] {
        let (starts, said) = machine.first_start(&format!("efi.variables = \"{variables}\"\n"));
        assert!(starts && said.contains(text(&machine.at(code))), "{variables}: {said}");
        // At later starts, too, when the machine has its own.
        machine.has("t-efi-vars.fd", &fs::read(machine.at(variables)).unwrap());
        let (starts, said) = machine.start(&format!("efi.variables = \"{variables}\"\n"));
        assert!(starts && said.contains(text(&machine.at(code))), "{variables}: {said}");
        fs::remove_file(machine.at("t-efi-vars.fd")).unwrap();
    }
}

#[test]
fn the_variables_of_a_firmware_that_is_no_more_are_converted() {
    let machine = Machine::new();
    machine.has("OVMF_CODE_4M.fd", &code(CODE_4M)).has("OVMF_VARS_4M.fd", &variables(VARIABLES_4M));
    machine.has("t-efi-vars.fd", &variables(VARIABLES_2M));
    let options = "efi.firmware = \"OVMF_CODE_4M.fd\"\n";
    let (starts, said) = machine.start(options);
    assert!(!starts && said.contains("efiVars: "), "{said}");
    // The command that it names does it.
    let command =
        said.split('`').find(|part| part.contains("efi-vars convert")).unwrap_or_else(|| panic!("{said}"));
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    assert!(imagegen!().args(&words).current_dir(machine.0.path()).status().unwrap().success(), "{command}");
    let new = words.last().unwrap();
    assert_eq!(fs::metadata(new).unwrap().len(), 540_672);
    let (starts, said) = machine.start(&format!("{options}efiVars = \"{new}\"\n"));
    assert!(starts && said.contains(new), "{said}");
}

/// A store of Debian's with everything that a store can have, in the other layout: virt-fw-vars finds the same.
#[test]
fn every_variable_is_converted() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let ours = |arguments: &[&str]| {
        let output =
            imagegen!().arg("efi-vars").args(arguments).current_dir(directory.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let theirs = |image: &str| {
        let json = tool(&["virt-fw-vars", "--input", text(&at(image)), "--output-json", "-"]);
        let document: serde_json::Value = serde_json::from_str(&json).unwrap();
        let mut variables = document["variables"].as_array().unwrap().clone();
        variables.sort_by_key(|variable| variable["name"].to_string() + &variable["guid"].to_string());
        variables
    };
    let [keys, new] = ["OVMF_VARS_4M.ms.fd", "OVMF_VARS_4M.fd"].map(|name| format!("/usr/share/OVMF/{name}"));
    // Debian has no more variables of that size.
    fs::write(at("empty.fd"), variables(VARIABLES_2M)).unwrap();
    ours(&["export", &keys, "-o", "keys.json"]);
    ours(&["import", "empty.fd", "keys.json", "-o", "keys.fd"]);
    ours(&["create", "--template", "keys.fd", "-o", "old.fd", "--boot-disk-entry"]);
    let said = ours(&["convert", "old.fd", "--template", &new, "-o", "new.fd"]);
    assert!(said.contains("new.fd: ") && said.contains(" variables of `old.fd`"), "{said}");
    let before = theirs("old.fd");
    assert!(before.iter().any(|variable| variable["time"].is_string()) && before.len() > 4);
    assert_eq!(theirs("new.fd"), before);
    // All but the store is the template's.
    let (made, template) = (fs::read(at("new.fd")).unwrap(), fs::read(&new).unwrap());
    assert_eq!(made.len(), template.len());
    assert!(made[..0x64] == template[..0x64] && made[0x4_0000..] == template[0x4_0000..]);

    // What the new template has besides stays, and what both have is the machine's.
    let with_keys = "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd";
    ours(&["create", "--template", "empty.fd", "-o", "plain.fd", "--boot-disk-entry"]);
    let said = ours(&["convert", "plain.fd", "--template", with_keys, "-o", "keys.fd"]);
    assert!(said.contains("2 variables of `plain.fd`"), "{said}");
    let names: Vec<_> = theirs("keys.fd").iter().map(|variable| variable["name"].to_string()).collect();
    for name in ["\"Boot0000\"", "\"BootOrder\"", "\"PK\"", "\"db\""] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    // Onto itself, and for an ARM machine, whose template is blank.
    ours(&["convert", "plain.fd", "--template", &new, "-o", "plain.fd"]);
    assert_eq!(fs::metadata(at("plain.fd")).unwrap().len(), 540_672);
    ours(&["convert", "plain.fd", "--template", "/usr/share/AAVMF/AAVMF_VARS.fd", "-o", "arm.fd"]);
    assert_eq!(fs::metadata(at("arm.fd")).unwrap().len(), 64 << 20);
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("big"), vec![1; 60_000]).unwrap();
    fs::write(at("large.fd"), variables(VARIABLES_4M)).unwrap();
    fs::write(at("small.fd"), variables(VARIABLES_2M)).unwrap();
    fs::write(at("code.fd"), code(CODE_4M)).unwrap();
    let run = |arguments: &[&str]| {
        let output =
            imagegen!().arg("efi-vars").args(arguments).current_dir(directory.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    run(&["set", "large.fd", "--name", "Big", "--data-file", "big"]);
    run(&["set", "large.fd", "--name", "Small", "--data-hex", "00"]);
    let (status, said) = run(&["convert", "large.fd", "--template", "small.fd", "-o", "new.fd"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("`Big` (60068 bytes)") && !said.contains("Small"), "{said}");
    assert!(said.contains("`small.fd`") && said.contains("`large.fd`"), "{said}");
    for (old, template, words) in [
        ("code.fd", "small.fd", "code"),
        ("large.fd", "code.fd", "code"),
        ("big", "small.fd", "`big`"),
        ("gone.fd", "small.fd", "gone.fd"),
    ] {
        let (status, said) = run(&["convert", old, "--template", template, "-o", "new.fd"]);
        assert!(status == Some(1) && said.contains(words), "{old}, {template}: {said}");
    }
    assert!(!at("new.fd").exists());
    let (status, said) = run(&["convert", "large.fd", "--template", "small.fd", "-o", "small.fd"]);
    assert!(status == Some(1) && !said.is_empty());
    assert_eq!(fs::read(at("small.fd")).unwrap(), variables(VARIABLES_2M));
}

/// Debian's code with Secure Boot starts on the machine that `run` makes of it, and keeps its variables.
#[test]
fn code_in_system_management_mode_starts() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("vm.toml");
    fs::File::create(directory.path().join("boot.img")).unwrap().set_len(1 << 20).unwrap();
    fs::write(
        &config,
        "name = \"t\"\ngraphics = false\nmemorySize = 256\nuseBootLoader = true\nuseEFIBoot = true\nbootDisk = \"boot.img\"\n\
         mountHostNixStore = false\ndiskImage = false\nefi.firmware = \"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd\"\nsystem = \"x86_64-linux\"\n\
         qemu.networkingOptions = []\n",
    )
    .unwrap();
    let console = directory.path().join("console");
    let mut command = imagegen!();
    command.args(["run", "--accel", "tcg", "--config", text(&config), "--", "-display", "none"]);
    command.args(["-serial", &format!("file:{}", text(&console))]);
    command.args(["-monitor", "none"]).current_dir(directory.path());
    let mut machine = command.spawn().unwrap();
    let begun = std::time::Instant::now();
    let said = loop {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let said = fs::read(&console).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        if said.contains("BdsDxe") || begun.elapsed().as_secs() > 300 {
            break said;
        }
    };
    machine.kill().unwrap();
    machine.wait().unwrap();
    assert!(said.contains("BdsDxe"), "{said}");
    assert!(Path::new(&directory.path().join("t-efi-vars.fd")).is_file());
}
