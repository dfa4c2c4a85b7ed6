//! The library's examples write what the program writes, and read what was in the store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use testkit::guest::Guest;
use testkit::store::Store;
use testkit::{imagegen, project, text, tool};

/// Runs an example of the library and gives what it printed.
fn example(name: &str, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(std::env::var_os("CARGO").expect("run this test with cargo"));
    command.current_dir(project()).args(["run", "--quiet", "--package", "imagegen", "--example", name, "--"]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn assert_same(ours: &Path, theirs: &Path) {
    let same = fs::read(ours).unwrap() == fs::read(theirs).unwrap();
    assert!(
        same,
        "{}",
        String::from_utf8_lossy(&imagegen!().arg("diff").args([ours, theirs]).output().unwrap().stdout)
    );
}

#[test]
fn store_image_and_read_file() {
    let store = Store::awkward();
    let (registration, root) = (store.register(), text(store.root.path()));
    let directory = tempfile::tempdir().unwrap();
    let (by_example, by_program) = (directory.path().join("example"), directory.path().join("program"));
    let said = example("store_image", &[text(&registration), text(&by_example), root]);
    assert!(String::from_utf8(said).unwrap().contains("3 store paths verified"));
    imagegen!()
        .args([
            "store-image",
            "--registration",
            text(&registration),
            "--store-root",
            root,
            "-o",
            text(&by_program),
        ])
        .assert()
        .success();
    assert_same(&by_example, &by_program);

    // A store image holds the store alone: its root directory is /nix/store.
    let script = store.logical(1).replace("/nix/store", "");
    assert_eq!(example("read_file", &[text(&by_example), &script]), fs::read(store.physical(1)).unwrap());
}

#[test]
fn boot_disk_and_root_disk() {
    let guest = Guest::get();
    let (toplevel, root) = (guest.toplevel.as_str(), text(&guest.root));
    let directory = tempfile::tempdir().unwrap();
    let (by_example, by_program) = (directory.path().join("example"), directory.path().join("program"));
    let output = ["--store-root", root, "-o", text(&by_program)];

    example("boot_disk", &[toplevel, text(&by_example), root]);
    let command = ["boot-disk", "--toplevel", toplevel, "--loader", "systemd-boot", "--format", "raw"];
    imagegen!().args([&command[..], &output].concat()).assert().success();
    assert_same(&by_example, &by_program);

    example("root_disk", &[text(&guest.registration), toplevel, text(&by_example), root]);
    let command = ["root-disk", "--with-store", "--toplevel", toplevel, "--loader", "systemd-boot"];
    let table = ["--partition-table", "efi", "--registration", text(&guest.registration)];
    imagegen!().args([&command[..], &table, &output].concat()).assert().success();
    assert_same(&by_example, &by_program);
    tool(&["qemu-img", "check", "-f", "qcow2", text(&by_example)]);

    let init = format!("{toplevel}/init");
    assert_eq!(example("read_file", &[text(&by_example), &init]), fs::read(guest.physical(&init)).unwrap());
}
