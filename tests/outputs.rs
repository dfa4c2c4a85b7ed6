//! Where an output may not go: what is there stays as it was, and the error says what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use testkit::store::Store;
use testkit::{error_of, imagegen, names_in, run, text, tool};

/// A store with two small paths, its registration, and a directory for outputs.
struct Place {
    store: Store,
    registration: String,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let mut store = Store::new();
        for digit in ['a', 'b'] {
            let path = store.add(digit, "small");
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), "contents").unwrap();
        }
        let registration = text(&store.register()).to_owned();
        Self { store, registration, directory: tempfile::tempdir().unwrap() }
    }

    fn image(&self, subcommand: &str, arguments: &[&str]) -> Command {
        let mut command = imagegen!();
        command.args([subcommand, "--registration", &self.registration]);
        command.args(["--store-root", text(self.store.root.path())]).args(arguments);
        command
    }

    fn at(&self, name: &str) -> String {
        text(&self.directory.path().join(name)).to_owned()
    }
}

#[test]
fn directories_devices_and_read_only_places_are_refused() {
    let place = Place::new();
    fs::create_dir(place.at("directory")).unwrap();
    symlink("nowhere/else", place.at("dangling")).unwrap();
    for (target, what) in [
        (place.at("directory"), "directory` is a directory"),
        (place.at("missing/image"), "the directory must exist"),
        ("/dev/null".into(), "is a character device"),
        // Writable by nobody, root included.
        ("/proc/image".into(), "cannot create `/proc/image` in `/proc`"),
        (place.at("directory/.."), "has no file name"),
    ] {
        let commands: [&[&str]; 4] = [
            &["store-image", "--registration", &place.registration],
            &["disk", "create", "--size", "1M"],
            &["efi-vars", "create", "--template", "/usr/share/OVMF/OVMF_VARS_4M.fd"],
            &["efi-vars", "export", "/usr/share/OVMF/OVMF_VARS_4M.fd"],
        ];
        for command in commands {
            let error = error_of(imagegen!().args(command).args(["-o", &target]));
            assert!(error.contains(what), "{command:?} {target}: {error}");
        }
    }
    assert_eq!(names_in(directory_of(&place)), ["dangling", "directory"]);
    // A link is replaced, as any other name is, and not followed.
    place.image("store-image", &["-o", &place.at("dangling")]).output().unwrap();
    assert!(fs::symlink_metadata(place.at("dangling")).unwrap().is_file());
}

#[test]
fn a_block_device_is_refused_without_force() {
    let device = Path::new("/dev/block-device-for-a-test");
    let mut target = text(device).to_owned();
    // Only root can make a node; where even root cannot, one that is there will do.
    let made = run(&["mknod", text(device), "b", "7", "200"]).status.success();
    if !made {
        target = tool(&["find", "/dev", "-type", "b"]).lines().next().expect("a block device").to_owned();
    }
    let create = ["disk", "create", "--size", "1M", "--format", "raw", "-o", &target];
    let error = error_of(imagegen!().args(create));
    let export = ["efi-vars", "export", "/usr/share/OVMF/OVMF_VARS_4M.fd", "-o", &target];
    let never = error_of(imagegen!().args(export));
    if made {
        fs::remove_file(device).unwrap();
    }
    assert!(error.contains("is a block device") && error.contains("give --force"), "{error}");
    assert!(never.contains("is a block device; name a regular file"), "{never}");
}

/// `tests/block_device.rs` has devices for it.
#[test]
fn force_changes_nothing_for_files() {
    let place = Place::new();
    for target in [place.at("new"), place.at("new")] {
        let create = ["disk", "create", "--force", "--size", "1M", "--format", "raw", "-o", &target];
        assert!(imagegen!().args(create).output().unwrap().status.success());
        assert_eq!(fs::metadata(&target).unwrap().len(), 1 << 20);
    }
    fs::create_dir(place.at("directory")).unwrap();
    let create = ["disk", "create", "--force", "--size", "1M", "-o", &place.at("directory")];
    assert!(error_of(imagegen!().args(create)).contains("is a directory"));
}

#[test]
fn inputs_are_not_overwritten() {
    let place = Place::new();
    symlink(&place.registration, place.at("registration-link")).unwrap();
    let inside = text(&place.store.physical(1).join("image")).to_owned();
    let itself = text(&place.store.physical(0)).to_owned();
    let (link, new) = (place.at("registration-link"), place.at("new"));
    let cases: [&[&str]; 5] = [
        &["-o", &place.registration],
        &["-o", &inside],
        &["-o", &itself],
        &["-o", &new, "--report", &inside],
        &["-o", &new, "--report", &place.registration],
    ];
    let before = fs::read(&place.registration).unwrap();
    for subcommand in ["store-image", "root-disk"] {
        for arguments in cases {
            let error = error_of(&mut place.image(subcommand, arguments));
            assert!(error.contains("is, or lies in, the input"), "{subcommand} {arguments:?}: {error}");
        }
        let error = error_of(&mut place.image(subcommand, &["-o", &new, "--report", &new]));
        assert!(error.contains("and its report cannot both be"), "{error}");
    }
    let mut through_link = imagegen!();
    through_link.args(["store-image", "--registration", &link, "-o", &place.registration]);
    assert!(error_of(&mut through_link).contains("is, or lies in, the input"));
    assert_eq!(fs::read(&place.registration).unwrap(), before);
    assert_eq!(names_in(&place.store.physical(1)), ["file"]);
    assert_eq!(names_in(directory_of(&place)), ["registration-link"]);

    // A path of the store that is not read is as good as any other: a derivation's output lies there.
    let output = text(&place.store.directory().join("new-output")).to_owned();
    assert!(place.image("store-image", &["-o", &output]).output().unwrap().status.success());

    let base = place.at("base");
    fs::write(&base, vec![1; 512]).unwrap();
    let overlay = ["disk", "create", "-o", &base, "--backing", &base, "--backing-format", "raw"];
    assert!(error_of(imagegen!().args(overlay)).contains("is, or lies in, the input"));
    assert_eq!(fs::read(&base).unwrap(), vec![1; 512]);

    let template = place.at("vars");
    fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &template).unwrap();
    let create = ["efi-vars", "create", "--template", &template, "-o", &template];
    assert!(error_of(imagegen!().args(create)).contains("is, or lies in, the input"));
    let export = ["efi-vars", "export", &template, "-o", &template];
    assert!(error_of(imagegen!().args(export)).contains("is, or lies in, the input"));
}

#[test]
fn names_that_command_a_terminal_are_escaped() {
    let place = Place::new();
    let name = "turn\u{202e}around \x1b[2J\nerror: \x07";
    tool(&["mkfifo", text(&place.store.physical(0).join(name))]);
    let error = error_of(&mut place.image("store-image", &["-o", &place.at("image")]));
    assert!(error.contains("turn\\u{202e}around \\u{1b}[2J\\nerror: \\u{7}` is a fifo"), "{error}");
    let error = error_of(imagegen!().args(["disk", "create", "--size=1", "-o", &place.at("no\n/disk")]));
    assert!(error.contains("no\\n/disk"), "{error}");
}

fn directory_of(place: &Place) -> &Path {
    place.directory.path()
}
