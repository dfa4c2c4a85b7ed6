//! `run` from end to end: what it prints, what it makes, and real boots of the Debian guest, by translation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use testkit::guest::Guest;
use testkit::home::{Home, success, wait};
use testkit::{names_in, text, tool};

/// The guest that says what it found in its store.
fn home(options: &str) -> Home {
    Home::new(env!("CARGO_BIN_EXE_nix-imagegen"), Guest::get(), options)
}

fn check_guest(said: &str) {
    Guest::get().check(said);
}

fn with_registration(options: &str) -> Home {
    home(&format!(
        "registration = \"{}\"\nuseNixStoreImage = true\n{options}",
        Guest::get().registration.display()
    ))
}

#[test]
fn a_direct_boot_makes_its_store_image_once_and_the_second_start_finds_it() {
    let home = with_registration("diskSize = 64\nemptyDiskImages = [3]");
    let (said, told) = home.boot(&[]);
    check_guest(&said);
    assert!(said.contains("GUEST-FIRMWARE bios"));
    assert!(said.contains("regInfo=/tmp/xchg/registration"), "{said}");
    assert!(told.contains(" paths verified"), "{told}");
    tool(&["qemu-img", "check", "-q", text(&home.path("nixos.qcow2"))]);

    fs::remove_file(home.path("console")).unwrap();
    let (said, told) = home.boot(&[]);
    check_guest(&said);
    assert!(!told.contains(" paths verified") && !told.contains("damaged"), "{told}");
    // The image, what says that it is whole, and the lock of those who make it.
    assert_eq!(names_in(&home.path("cache/nix-imagegen")).len(), 3);
}

#[test]
fn uefi_boots_a_disk_made_just_in_time() {
    let home = with_registration(
        "diskImage = false\nuseBootLoader = true\nuseEFIBoot = true\nqemu.diskInterface = \"virtio\"",
    );
    let (said, _) = home.boot(&[]);
    check_guest(&said);
    assert!(said.contains("GUEST-FIRMWARE efi"));
    assert!(home.path("nixos-efi-vars.fd").is_file());
    assert!(!home.path("nixos.qcow2").exists());
}

#[test]
fn two_machines_at_once_share_one_image() {
    let home = with_registration("diskImage = false");
    let print = || {
        home.run(&["--accel", "tcg", "--print"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let both = [print(), print()].map(|child| child.wait_with_output().unwrap());
    let made =
        both.iter().filter(|output| String::from_utf8_lossy(&output.stderr).contains("paths verified"));
    assert_eq!(made.count(), 1);
    let lines: Vec<String> = both.iter().map(success).collect();
    assert_ne!(lines[0], lines[1]);
    let images = names_in(&home.path("cache/nix-imagegen"));
    assert_eq!(images.iter().filter(|name| name.contains(".qcow2")).count(), 1, "{images:?}");
}

/// What the cache has, besides locks, which stay.
fn images(home: &Home) -> Vec<String> {
    let mut names = names_in(&home.path("cache/nix-imagegen"));
    names.retain(|name| Path::new(name).extension().is_some_and(|extension| extension == "qcow2"));
    names
}

#[test]
fn images_go_that_nobody_has_used_for_30_days() {
    let home = with_registration("diskImage = false");
    let cache = home.path("cache/nix-imagegen");
    fs::create_dir_all(&cache).unwrap();
    let used_before = |name: &str, days: u64| {
        let lock = File::create(cache.join(name).with_extension("lock")).unwrap();
        lock.set_modified(SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60)).unwrap();
        lock
    };
    for name in ["in-use.qcow2", "of-a-machine.qcow2", "old.qcow2", "old.seal", "young.qcow2"] {
        fs::write(cache.join(name), "an image").unwrap();
    }
    used_before("old.qcow2", 31);
    used_before("young.qcow2", 29);
    let lock = used_before("in-use.qcow2", 31);
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
    // A machine that runs from an image keeps the image itself locked.
    used_before("of-a-machine.qcow2", 31);
    let image = File::open(cache.join("of-a-machine.qcow2")).unwrap();
    rustix::fs::flock(&image, rustix::fs::FlockOperation::LockShared).unwrap();

    home.printed(&["--accel", "tcg", "--print"]);
    let all = images(&home);
    let made = all.iter().find(|name| name.ends_with("-store.qcow2")).unwrap();
    let mut expected = [made.as_str(), "in-use.qcow2", "of-a-machine.qcow2", "young.qcow2"];
    expected.sort_unstable();
    assert_eq!(all, expected);
    assert!(!cache.join("old.seal").exists(), "what says that it was whole goes with it");

    // One that was used again is kept when the next is made.
    used_before(made, 31);
    home.printed(&["--accel", "tcg", "--print"]);
    used_before("young.qcow2", 31);
    let config = fs::read_to_string(home.path("vm.toml")).unwrap() + "useBootLoader = true\n";
    fs::write(home.path("vm.toml"), config).unwrap();
    home.printed(&["--accel", "tcg", "--print"]);
    let now = images(&home);
    let boot = now.iter().find(|name| name.ends_with("-boot.qcow2")).unwrap();
    let mut expected = [made.as_str(), boot, "in-use.qcow2", "of-a-machine.qcow2"];
    expected.sort_unstable();
    assert_eq!(now, expected);
}

#[test]
fn the_printed_command_runs_as_it_stands() {
    let home = with_registration("diskImage = false\nqemu.options = [\"-display none\", \"-monitor none\"]");
    let json = home.printed(&["--accel", "tcg", "--print", "--json"]);
    let words: Vec<String> = serde_json::from_str(&json).unwrap();
    assert!(words[0].ends_with("/qemu-system-x86_64"));
    assert_eq!(words[1..3], ["-machine", "accel=tcg"]);

    let console = home.path("console");
    let option = format!("file:{}", text(&console));
    let line = home.printed(&["--accel", "tcg", "--print", "--", "-serial", &option]);
    tool(&["sh", "-c", &format!("cd / && {line}")]);
    check_guest(&home.console());
    // It was only printed, so nothing cleans up.
    assert_eq!(names_in(&home.path("tmp")).len(), 2);
}

#[test]
fn signals_end_qemu_and_leave_nothing() {
    let home = with_registration("diskImage = false\ndirectBoot.enable = false");
    for signal in ["-INT", "-TERM", "-KILL"] {
        let mut machine = home.start(&[]);
        // The directory is there, and the process is QEMU by now.
        let command_line = format!("/proc/{}/comm", machine.id());
        wait(
            || fs::read_to_string(&command_line).is_ok_and(|name| name.starts_with("qemu-system")),
            || machine_state(&command_line),
        );
        assert_eq!(names_in(&home.path("tmp")).len(), 1);
        tool(&["kill", signal, &machine.id().to_string()]);
        machine.wait().unwrap();
        home.is_cleaned_up();
    }
}

#[test]
fn signals_while_an_image_is_made_leave_nothing() {
    let home = with_registration("diskImage = false");
    home.printed(&["--accel", "tcg", "--print"]);
    fs::remove_dir_all(home.path("tmp")).unwrap();
    fs::create_dir(home.path("tmp")).unwrap();
    // As if another machine was making the image; this one waits for it.
    let cache = home.path("cache/nix-imagegen");
    let [image] = images(&home).try_into().unwrap();
    fs::remove_file(cache.join(&image)).unwrap();
    let lock = File::create(cache.join(&image).with_extension("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    for signal in ["-INT", "-TERM", "-KILL"] {
        let mut machine = home.start(&[]);
        let mut told = String::new();
        BufReader::new(machine.stderr.take().unwrap()).read_line(&mut told).unwrap();
        assert!(told.contains("waiting for another machine"), "{told}");
        assert_eq!(names_in(&home.path("tmp")).len(), 1);
        tool(&["kill", signal, &machine.id().to_string()]);
        machine.wait().unwrap();
        home.is_cleaned_up();
        assert_eq!(images(&home), [""; 0]);
    }
}

fn machine_state(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn use_tmpdir_keeps_the_directory() {
    let home = with_registration("diskImage = false\nemptyDiskImages = [5, 7]");
    let output = home.run(&["--accel", "tcg", "--", "-version"]).env("USE_TMPDIR", "1").output().unwrap();
    success(&output);
    assert_eq!(names_in(&home.path("tmp")), ["empty0.qcow2", "empty1.qcow2", "store.img", "xchg"]);
    for (name, size) in [("empty0.qcow2", 5 << 20), ("empty1.qcow2", 7 << 20)] {
        let info = tool(&["qemu-img", "info", "--output=json", text(&home.path("tmp").join(name))]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], size);
    }
}

#[test]
fn everything_that_is_missing_is_told_at_once() {
    let home = home(
        "cores = 0\nsharedDirectories.x = { source = \"/does/not/exist\", target = \"/x\" }\n\
         qemu.package = \"/no/qemu\"\nqemu.options = [\"-append $(id)\"]\nuseBootLoader = true\nbootDisk = \"gone.qcow2\"",
    );
    let error = home.error(&[]);
    assert_eq!(error.lines().count(), 1, "{error}");
    for part in [
        "cores: expected a whole number of at least 1",
        "sharedDirectories.x.source: there is no directory `/does/not/exist`",
        "qemu.package: there is no program `/no/qemu/bin/qemu-system-x86_64`",
        "qemu.options.<entry 1>: `-append $(id)`: it has a command to run in it",
        "bootDisk: there is no file",
    ] {
        assert!(error.contains(part), "no `{part}` in {error}");
    }
    assert!(names_in(&home.path("tmp")).is_empty());
}

#[test]
fn a_command_line_that_linux_would_cut_off_is_refused() {
    let home = with_registration("diskImage = false");
    let print = |parameter: &str| {
        home.run(&["--accel", "tcg", "--print"]).env("QEMU_KERNEL_PARAMS", parameter).output().unwrap()
    };
    let line = success(&print("x"));
    let words = shell_words::split(&line).unwrap();
    let append = &words[words.iter().position(|word| word == "-append").unwrap() + 1];
    let room = 2047 - append.len() + 1;
    success(&print(&"x".repeat(room)));
    let output = print(&"x".repeat(room + 1));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("has 2048 bytes") && said.contains("at most 2047"), "{said}");
}

#[test]
fn a_qemu_that_is_too_old_or_missing_is_told_with_what_to_install() {
    let with_old = home("qemu.package = \"old\"");
    fs::create_dir_all(with_old.path("old/bin")).unwrap();
    let program = with_old.path("old/bin/qemu-system-x86_64");
    fs::write(&program, "#!/bin/sh\necho QEMU emulator version 2.5.0\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let error = with_old.error(&[]);
    assert!(
        error.contains("is QEMU 2.5, which is too old; install QEMU 5.1 or newer (Debian: qemu-system-x86)"),
        "{error}"
    );

    fs::write(&program, "#!/does/not/exist\n").unwrap();
    let error = with_old.error(&[]);
    assert!(error.contains("cannot start `") && error.contains("No such file"), "{error}");

    let home = home(
        "tpm.enable = true\nforwardPorts = [{ from = \"guest\", host.port = 1, guest = { address = \"10.0.2.9\", port = 1 } }]",
    );
    let output = home.run(&[]).env("PATH", "/does/not/exist").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    for part in [
        "there is no qemu-system-x86_64 on PATH; install QEMU 5.1 or newer (Debian: qemu-system-x86)",
        "tpm.enable: there is no swtpm; install it (Debian: swtpm)",
        "forwardPorts.<entry 1>.from: there is no nc, which connects the guest to this machine; install it (Debian: \
         netcat-openbsd)",
    ] {
        assert!(error.contains(part), "no `{part}` in {error}");
    }
}

#[test]
fn the_guest_half_is_data() {
    let home = with_registration("useBootLoader = true\nuseEFIBoot = true\nvlans = [4]");
    let guest: serde_json::Value = serde_json::from_str(&home.printed(&["--print-guest", "--json"])).unwrap();
    let mounts = guest["mounts"].as_array().unwrap();
    let at = |point: &str| mounts.iter().find(|mount| mount["mountPoint"] == point).unwrap();
    assert_eq!(at("/nix/.ro-store")["device"], "/dev/vdb");
    assert_eq!(at("/boot")["device"], "/dev/vdc2");
    assert_eq!(at("/tmp/xchg")["options"][2], "msize=131072");
    assert_eq!(guest["kernelParamsByQemu"], false);
    assert_eq!(guest["interfaces"][0]["address"], "192.168.4.1");
    assert_eq!(guest["initrd"]["availableKernelModules"][7], "overlay");
    // Nothing was made for it.
    assert!(names_in(&home.path("")).iter().all(|name| name == "tmp" || name == "vm.toml"));
}

#[test]
fn a_tpm_ends_with_its_machine() {
    let home =
        home("diskImage = false\ndirectBoot.enable = false\ntpm.enable = true\nmountHostNixStore = false");
    let told = home.error(&[]);
    assert!(
        told.contains("tpm.enable: swtpm cannot have its socket at") && told.contains("set NIX_SWTPM_DIR"),
        "{told}"
    );
    let state = tempfile::tempdir().unwrap();
    let run = |arguments| {
        let mut run = home.run(arguments);
        run.env("NIX_SWTPM_DIR", state.path());
        run
    };
    let mut machine = home.start_by(&mut run(&[]), &[]);
    let socket = state.path().join("socket");
    let command_line = format!("/proc/{}/comm", machine.id());
    wait(
        || {
            fs::read_to_string(&command_line).is_ok_and(|name| name.starts_with("qemu-system"))
                && socket.exists()
        },
        || machine_state(&command_line),
    );
    tool(&["kill", &machine.id().to_string()]);
    machine.wait().unwrap();
    home.is_cleaned_up();
    wait(|| !is_running(&socket), || "swtpm is still there".to_owned());

    // QEMU refuses before it connects: swtpm ends all the same.
    let output = run(&["--accel", "tcg", "--", "-no-such-option"]).output().unwrap();
    assert!(!output.status.success());
    wait(|| !is_running(&socket), || "swtpm is still there".to_owned());
}

/// Whether a swtpm has its control socket there.
fn is_running(socket: &Path) -> bool {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    sockets.lines().any(|line| line.ends_with(text(socket)))
}
