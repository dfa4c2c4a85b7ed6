//! Machines are their user's alone: who can read and write what `run` makes, what it trusts, and what it leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use testkit::stand_in::{StandIn, failure};
use testkit::{imagegen, names_in, text, tool};

const OTHER_USER: u32 = 64_123;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn nothing_of_a_machine_is_for_others_whatever_the_umask() {
    for umask in ["0", "022", "077"] {
        let machine =
            StandIn::new(env!("CARGO_BIN_EXE_nix-imagegen"), "find . -printf '%m %p\\n' > \"$HERE/seen\"");
        machine.success(&format!("umask {umask}"));
        let seen = fs::read_to_string(machine.path("seen")).unwrap();
        let mut lines: Vec<&str> = seen.lines().collect();
        lines.sort_unstable();
        let expected = ["600 ./disk.img", "600 ./empty0.qcow2", "600 ./store.img", "700 .", "700 ./xchg"];
        assert_eq!(lines, expected, "umask {umask}");
        for name in ["nixos.qcow2", "nixos-efi-vars.fd"] {
            assert_eq!(mode(&machine.path(name)), 0o600, "{name}, umask {umask}");
        }
        for name in ["cache", "cache/nix-imagegen"] {
            assert_eq!(mode(&machine.path(name)), 0o700, "{name}, umask {umask}");
        }
        for ending in ["-store.qcow2", "-boot.qcow2", "-store.seal", "-store.lock"] {
            let [file] = machine.cached(ending).try_into().unwrap();
            assert_eq!(mode(&file), 0o600, "{ending}, umask {umask}");
        }
    }
}

#[test]
fn a_tpms_state_is_for_nobody_else() {
    let machine = StandIn::new(
        env!("CARGO_BIN_EXE_nix-imagegen"),
        "find \"$NIX_SWTPM_DIR\" ! -type l -perm /077 > \"$HERE/seen\"; ls -l \"$NIX_SWTPM_DIR\"",
    );
    let config = fs::read_to_string(machine.path("vm.toml")).unwrap() + "tpm.enable = true\n";
    fs::write(machine.path("vm.toml"), config).unwrap();
    let state = machine.path("s");
    let output = machine.command("umask 0").env("NIX_SWTPM_DIR", &state).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        fs::read_to_string(machine.path("seen")).unwrap(),
        "",
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(!names_in(&state).is_empty());
}

#[test]
fn what_replaces_a_file_keeps_its_mode() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&directory.path().join(name)).to_owned();
    let system = testkit::system::System::new();
    let root = text(system.store.root.path());
    let (registration, template) = (text(&system.registration), text(&system.variables));
    let image = at("image");
    let toplevel = &system.toplevels[0];
    let commands: [&[&str]; 7] = [
        &["store-image", "--registration", registration, "--store-root", root, "--report", &at("report")],
        &["root-disk", "--registration", registration, "--store-root", root],
        &["boot-disk", "--toplevel", toplevel, "--loader=systemd-boot", "--store-root", root],
        &["disk", "create", "--size", "1M"],
        &["efi-vars", "create", "--template", template],
        &["efi-vars", "set", template, "--name", "Timeout", "--data-hex", "0500"],
        &["efi-vars", "export", template],
    ];
    for command in commands {
        for (umask, new) in [("0", 0o666), ("027", 0o640), ("077", 0o600)] {
            let line = format!("umask {umask}; exec \"$0\" \"$@\"");
            let make = |more: &[&str]| {
                let program = env!("CARGO_BIN_EXE_nix-imagegen");
                tool(&[&["sh", "-c", &line, program][..], command, &["-o", &image], more].concat());
                mode(Path::new(&image))
            };
            assert_eq!(make(&[]), new, "{command:?}");
            for old in [0o600, 0o664, 0o440] {
                set_mode(Path::new(&image), old);
                assert_eq!(make(&["--sync"]), old, "{command:?}");
            }
            fs::remove_file(&image).unwrap();
        }
    }
    // In place.
    fs::copy(template, &image).unwrap();
    for (changed, old) in [("set", 0o600), ("delete", 0o640)] {
        set_mode(Path::new(&image), old);
        let mut command = imagegen!();
        command.args(["efi-vars", changed, &image, "--name", "Timeout"]);
        command.args(["--data-hex", "0500"].iter().filter(|_| changed == "set"));
        assert!(command.status().unwrap().success());
        assert_eq!(mode(Path::new(&image)), old);
    }
}

#[test]
fn a_directory_that_others_can_change_is_no_place_for_a_machine() {
    let machine = StandIn::new(env!("CARGO_BIN_EXE_nix-imagegen"), "pwd > \"$HERE/seen\"");
    let refused = |directory: &Path, words: &str| {
        let mut command = machine.command("");
        let error = failure(command.env("USE_TMPDIR", "1").env("TMPDIR", directory));
        assert!(error.contains(words) && error.contains("mkdir -m 700"), "{error}");
        assert!(!machine.path("seen").exists());
    };
    let kept = machine.path("kept");
    fs::create_dir(&kept).unwrap();
    symlink(&kept, machine.path("link")).unwrap();
    refused(&machine.path("link"), "is a link");
    for mode in [0o777, 0o1777, 0o770] {
        set_mode(&kept, mode);
        refused(&kept, "others can write to");
    }
    set_mode(&kept, 0o700);
    symlink(machine.path("tmp"), kept.join("xchg")).unwrap();
    refused(&kept, "xchg` is a link");
    fs::remove_file(kept.join("xchg")).unwrap();
    fs::write(kept.join("xchg"), "").unwrap();
    refused(&kept, "xchg` is not a directory");
    fs::remove_file(kept.join("xchg")).unwrap();
    fs::create_dir(kept.join("xchg")).unwrap();
    set_mode(&kept.join("xchg"), 0o777);
    refused(&kept, "others can write to");
    if is_root() {
        set_mode(&kept.join("xchg"), 0o700);
        for directory in [kept.join("xchg"), kept.clone()] {
            chown(&directory, Some(OTHER_USER), None).unwrap();
            refused(&kept, "belongs to another user");
            chown(&directory, Some(0), None).unwrap();
        }
    }
    // As an earlier version left it, it is closed.
    set_mode(&kept.join("xchg"), 0o755);
    let mut command = machine.command("umask 0");
    assert!(command.env("USE_TMPDIR", "1").env("TMPDIR", &kept).status().unwrap().success());
    assert_eq!(names_in(&kept), ["disk.img", "empty0.qcow2", "store.img", "xchg"]);
    for name in names_in(&kept) {
        assert_eq!(mode(&kept.join(name)) & 0o077, 0);
    }
}

#[test]
fn a_cache_that_others_can_change_is_refused() {
    let machine = StandIn::new(env!("CARGO_BIN_EXE_nix-imagegen"), "touch \"$HERE/started\"");
    machine.success("umask 0");
    fs::remove_file(machine.path("started")).unwrap();
    let (above, cache) = (machine.path("cache"), machine.path("cache/nix-imagegen"));
    let refused = |words: &str| {
        let error = failure(&mut machine.command(""));
        assert!(error.contains(words) && error.contains("set XDG_CACHE_HOME"), "{error}");
        assert!(!machine.path("started").exists());
    };
    for mode in [0o777, 0o775, 0o1777] {
        set_mode(&cache, mode);
        refused("others can write to");
    }
    set_mode(&cache, 0o700);
    set_mode(&above, 0o777);
    refused("others can write to");
    set_mode(&above, 0o1777);
    if is_root() {
        for directory in [&cache, &above] {
            chown(directory, Some(OTHER_USER), None).unwrap();
            refused("belongs to another user (number 64123)");
            chown(directory, Some(0), None).unwrap();
        }
    }
    let moved = machine.path("moved");
    fs::rename(&cache, &moved).unwrap();
    symlink(&moved, &cache).unwrap();
    refused("is a link");
    fs::remove_file(&cache).unwrap();
    fs::rename(&moved, &cache).unwrap();
    assert!(!machine.success("").contains("paths verified"), "the cache is used again");
}

#[test]
fn without_a_home_the_cache_is_in_a_directory_of_the_users_own() {
    let machine = StandIn::new(env!("CARGO_BIN_EXE_nix-imagegen"), "touch \"$HERE/started\"");
    // In a namespace, where nobody's own is touched, the number is root's.
    let place = "/var/tmp/nix-imagegen-0";
    fs::create_dir(machine.path("var-tmp")).unwrap();
    set_mode(&machine.path("var-tmp"), 0o1777);
    let run = |words: Option<&str>, plant: &str| {
        let before = format!("mount --bind var-tmp /var/tmp && umask 0 && {plant}");
        let mut command = machine.command_by(&["unshare", "-rm"], &before);
        command.env_remove("XDG_CACHE_HOME");
        match words {
            Some(words) => assert!(failure(&mut command).contains(words)),
            None => assert!(command.output().unwrap().status.success()),
        }
    };
    run(Some("is a link"), &format!("ln -s \"$PWD/tmp\" {place}"));
    run(Some("others can write to"), &format!("rm {place} && mkdir {place}"));
    run(None, &format!("rmdir {place}"));
    let made = machine.path("var-tmp/nix-imagegen-0");
    assert_eq!(mode(&made), 0o700);
    assert!(names_in(&made).iter().any(|name| name.ends_with("-boot.qcow2")));
}

#[test]
fn only_an_image_that_is_whole_is_used() {
    let machine = StandIn::new(env!("CARGO_BIN_EXE_nix-imagegen"), "touch \"$HERE/started\"");
    machine.success("");
    let [image] = machine.cached("-store.qcow2").try_into().unwrap();
    let [seal] = machine.cached("-store.seal").try_into().unwrap();
    let good = fs::read(&image).unwrap();
    let middle = good.len() / 2;
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for bytes in [
        Vec::new(),
        good[..9].to_vec(),
        good[..middle].to_vec(),
        // A header of which QEMU, and whatever looks at backing files, would make something else.
        [&good[..4], &[0xff; 100], &good[104..]].concat(),
        vec![0; good.len()],
        [&good[..], b"more"].concat(),
        changed(9),
        changed(middle),
        changed(good.len() - 1),
    ] {
        fs::write(&image, bytes).unwrap();
        let told = machine.success("");
        assert!(told.contains("is damaged, and made anew: it"), "{told}");
        assert!(fs::read(&image).unwrap() == good);
    }
    for text in ["", "no seal", "{\"version\":9}"] {
        fs::write(&seal, text).unwrap();
        assert!(machine.success("").contains("nothing says that it is whole"));
        assert!(fs::read(&image).unwrap() == good);
    }
    // A time that was put back hides nothing from a thorough look, nor does another inode's.
    let copy = image.with_extension("copy");
    fs::write(&copy, changed(middle)).unwrap();
    fs::rename(&copy, &image).unwrap();
    assert!(machine.success("").contains("is damaged"));
    assert_eq!(machine.success(""), machine.success(""), "nothing is told of what is whole");
    let output = machine.command("set -- --verify-cache \"$@\"").output().unwrap();
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("damaged"));
}

#[test]
fn what_is_planted_under_a_name_of_the_cache_is_neither_followed_nor_waited_for() {
    let machine = StandIn::new(env!("CARGO_BIN_EXE_nix-imagegen"), "touch \"$HERE/started\"");
    machine.success("");
    let precious = machine.path("precious");
    for ending in ["-store.qcow2", "-store.seal", "-store.lock", "-boot.qcow2", "-boot.seal", "-boot.lock"] {
        let [name] = machine.cached(ending).try_into().unwrap();
        let good = fs::read(&name).unwrap();
        let plants: [&[&str]; 5] = [
            &["ln", "-s", text(&precious)],
            &["ln", "-s", "nowhere"],
            &["ln", "-s", "/dev/zero"],
            &["mkfifo"],
            &["mkdir"],
        ];
        for plant in plants {
            fs::write(&precious, "precious").unwrap();
            set_mode(&precious, 0o644);
            fs::remove_file(&name).unwrap();
            tool(&[plant, &[text(&name)]].concat());
            machine.success("");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{plant:?} {ending}");
            assert_eq!(mode(&precious), 0o644);
            assert!(fs::symlink_metadata(&name).unwrap().is_file(), "{plant:?} {ending}");
            if ending.ends_with("qcow2") {
                assert!(fs::read(&name).unwrap() == good, "{plant:?} {ending}");
            }
        }
        // What has something in it is not removed.
        fs::remove_file(&name).unwrap();
        fs::create_dir(&name).unwrap();
        fs::write(name.join("file"), "").unwrap();
        let error = failure(&mut machine.command(""));
        assert!(error.contains(text(&name)), "{error}");
        fs::remove_dir_all(&name).unwrap();
        machine.success("");
    }
}

#[test]
fn a_cache_that_cannot_be_written_to_serves_what_it_has() {
    let machine = StandIn::new(env!("CARGO_BIN_EXE_nix-imagegen"), "touch \"$HERE/started\"");
    machine.success("");
    // Read-only for root too.
    let read_only = "mount --bind cache cache && mount -o remount,ro,bind cache cache";
    let mut command = machine.command_by(&["unshare", "-rm"], read_only);
    fs::remove_file(machine.path("started")).unwrap();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(machine.path("started").exists());
    // One that is not whole cannot be made anew.
    let [image] = machine.cached("-store.qcow2").try_into().unwrap();
    fs::File::options().write(true).open(&image).unwrap().set_len(9).unwrap();
    let error = failure(&mut command);
    assert!(error.contains("set XDG_CACHE_HOME"), "{error}");
}

#[test]
fn whatever_a_guest_leaves_is_removed() {
    let mut machine = StandIn::new(
        env!("CARGO_BIN_EXE_nix-imagegen"),
        "cd xchg; mkdir -p a/b/c; echo > a/b/c/f; chmod 0 a/b/c a/b; chmod 555 a; mkdir many; cd many; seq 3000 | xargs touch",
    );
    let mut starter = Vec::new();
    let user = OTHER_USER.to_string();
    // Root may do everything, so that only another user has a directory that it cannot write to.
    if is_root() {
        for directory in [machine.directory.path(), &machine.path("tmp")] {
            chown(directory, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
        }
        machine.program = machine.path("program");
        fs::copy(env!("CARGO_BIN_EXE_nix-imagegen"), &machine.program).unwrap();
        starter.extend(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
    }
    let output = machine.command_by(&starter, "").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names_in(&machine.path("tmp")), [""; 0]);
}

#[test]
fn what_is_mounted_or_cannot_be_removed_stays_and_is_told() {
    let machine = StandIn::new(
        env!("CARGO_BIN_EXE_nix-imagegen"),
        "mkdir -p xchg/a/m xchg/b; echo > xchg/b/f; mount --bind \"$HERE/precious\" xchg/a/m; mount --bind xchg/b/f xchg/b/f",
    );
    fs::create_dir(machine.path("precious")).unwrap();
    fs::write(machine.path("precious/file"), "precious").unwrap();
    set_mode(&machine.path("precious"), 0o500);
    let output = machine.command_by(&["unshare", "-rm"], "").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("xchg/a/m` (something is mounted there)"), "{told}");
    assert!(told.contains("xchg/b/f`"), "{told}");
    assert_eq!(fs::read_to_string(machine.path("precious/file")).unwrap(), "precious");
    assert_eq!(mode(&machine.path("precious")), 0o500);
    let [left] = names_in(&machine.path("tmp")).try_into().unwrap();
    assert_eq!(names_in(&machine.path("tmp").join(left)), ["xchg"], "all else is gone");
}

#[test]
fn ports_and_shares_that_others_could_use_are_told_once() {
    let machine = StandIn::new(env!("CARGO_BIN_EXE_nix-imagegen"), ":");
    let config = fs::read_to_string(machine.path("vm.toml")).unwrap();
    fs::write(
        machine.path("vm.toml"),
        format!("{config}forwardPorts = [{{ host.port = 2222, guest.port = 22 }}]\n"),
    )
    .unwrap();
    let told = machine.success("export QEMU_NET_OPTS=hostfwd=udp::53-:53");
    assert_eq!(told.matches("2222 (tcp), 53 (udp)").count(), 1, "{told}");
    assert!(told.contains("127.0.0.1"));
    assert_eq!(told.contains("run as root: in the shares `shared`, `xchg`"), is_root(), "{told}");
    fs::write(
        machine.path("vm.toml"),
        format!("{config}forwardPorts = [{{ host = {{ address = \"127.0.0.1\", port = 2222 }}, guest.port = 22 }}]\n"),
    )
    .unwrap();
    assert!(!machine.success("").contains("2222"));
}
