//! `disk create`, judged by qemu-img and qemu-io.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;

fn imagegen(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nix-imagegen"));
    command.current_dir(directory).args(["disk", "create"]);
    command
}

/// Runs a tool that must succeed and gives what it printed.
fn tool(directory: &Path, command: &[&str]) -> String {
    let output = Command::new(command[0]).current_dir(directory).args(&command[1..]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn info(directory: &Path, image: &str) -> serde_json::Value {
    serde_json::from_str(&tool(directory, &["qemu-img", "info", "--output=json", image])).unwrap()
}

fn stderr_of(command: &mut Command) -> String {
    let assert = command.assert().failure().code(1);
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn an_empty_disk_is_what_qemu_img_makes() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for size in ["0", "1", "60M", "1G", "1000001", "4T"] {
        imagegen(at).args(["-o", "ours", "--size", size]).assert().success();
        tool(at, &["qemu-img", "create", "-q", "-f", "qcow2", "theirs", size]);
        tool(at, &["qemu-img", "check", "ours"]);
        let (ours, theirs) = (info(at, "ours"), info(at, "theirs"));
        for key in ["virtual-size", "cluster-size", "format", "format-specific"] {
            assert_eq!(ours[key], theirs[key], "{size}: {key}");
        }
    }
    // Both are all zeros, which `compare` can only say of what it can read.
    tool(at, &["qemu-img", "compare", "ours", "theirs"]);
    tool(at, &["qemu-io", "-c", "write -P 7 1G 1M", "-c", "read -P 7 1G 1M", "ours"]);
    tool(at, &["qemu-img", "check", "ours"]);
}

#[test]
fn a_raw_disk_is_a_hole() {
    let directory = tempfile::tempdir().unwrap();
    imagegen(directory.path()).args(["-o", "disk", "--size", "100M", "--format", "raw"]).assert().success();
    let metadata = directory.path().join("disk").metadata().unwrap();
    assert_eq!(metadata.len(), 100 << 20);
    assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) < 64);
}

#[test]
fn an_overlay_shows_its_backing_file_and_keeps_what_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for format in ["raw", "qcow2"] {
        let base = format!("base.{format}");
        tool(at, &["qemu-img", "create", "-q", "-f", format, &base, "8M"]);
        tool(at, &["qemu-io", "-f", format, "-c", "write -P 1 1M 1M", &base]);
        imagegen(at)
            .args(["-o", "overlay", "--backing", &base, "--backing-format", format])
            .assert()
            .success();
        tool(at, &["qemu-img", "check", "overlay"]);
        let found = info(at, "overlay");
        assert_eq!(found["virtual-size"], 8 << 20);
        assert_eq!(found["backing-filename"], base);
        assert_eq!(found["backing-filename-format"], format);
        tool(at, &["qemu-img", "compare", "-f", "qcow2", "-F", format, "overlay", &base]);
        tool(
            at,
            &[
                "qemu-io",
                "-c",
                "write -P 2 3M 64k",
                "-c",
                "read -P 2 3M 64k",
                "-c",
                "read -P 1 1M 1M",
                "overlay",
            ],
        );
        tool(at, &["qemu-img", "check", "overlay"]);
        tool(at, &["qemu-io", "-r", "-f", format, "-c", "read -P 0 3M 64k", &base]);
    }
}

#[test]
fn a_relative_backing_file_is_taken_from_the_overlays_directory() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::create_dir(at.join("below")).unwrap();
    tool(at, &["qemu-img", "create", "-q", "-f", "qcow2", "below/base", "8M"]);
    imagegen(at)
        .args(["-o", "below/overlay", "--backing", "base", "--backing-format", "qcow2", "--size", "16M"])
        .assert()
        .success();
    assert_eq!(info(at, "below/overlay")["virtual-size"], 16 << 20);
    let error =
        stderr_of(imagegen(at).args(["-o", "overlay", "--backing", "base", "--backing-format", "qcow2"]));
    assert!(error.starts_with("error: cannot open the backing file `base`"), "{error}");
    assert!(!at.join("overlay").exists());
}

#[test]
fn what_cannot_be_made_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    tool(at, &["qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "8M"]);
    std::fs::write(at.join("base.raw"), "short").unwrap();
    let long = "x".repeat(1024);
    let deep: Vec<_> = std::iter::repeat_n("d".repeat(200), 6).collect();
    std::fs::create_dir_all(at.join(deep.join("/"))).unwrap();
    let far = format!("{}/base", deep.join("/"));
    tool(at, &["qemu-img", "create", "-q", "-f", "qcow2", &far, "8M"]);
    tool(at, &["mkfifo", "pipe"]);
    let cases: [(&[&str], &str); 7] = [
        (&["--size", "4P"], "is not a size"),
        (&["--size", "3000T"], "larger than QEMU can open"),
        (&["--backing", "base.qcow2", "--backing-format", "raw"], "give --backing-format qcow2"),
        (&["--backing", "base.raw", "--backing-format", "qcow2"], "not a qcow2 image"),
        (&["--backing", &long, "--backing-format", "qcow2"], "cannot open the backing file"),
        (&["--backing", "pipe", "--backing-format", "raw"], "neither a file nor a block device"),
        (&["--backing", &far, "--backing-format", "qcow2"], "at most 1023"),
    ];
    for (arguments, what) in cases {
        let assert = imagegen(at).args(["-o", "disk"]).args(arguments).assert().failure();
        let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(error.contains(what), "{arguments:?}: {error}");
        assert!(!at.join("disk").exists());
    }
    // Wrong usage is another exit status than failed work.
    imagegen(at).args(["-o", "disk"]).assert().code(2);
    imagegen(at).args(["-o", "disk", "--backing", "base.qcow2"]).assert().code(2);
    assert_eq!(std::fs::read_dir(at).unwrap().count(), 4, "nothing half-written stays");
}

#[test]
fn a_file_that_cannot_be_so_large_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_nix-imagegen");
    // Under a limit on files the system answers as a file system does that has no larger ones.
    let limited = "trap '' XFSZ; ulimit -f 64; exec \"$0\" disk create --size 1G --format raw -o disk.raw";
    let mut command = Command::new("bash");
    command.current_dir(directory.path()).args(["-c", limited, program]);
    let said = stderr_of(&mut command);
    assert!(said.contains("a file of 1.0 GiB") && said.contains("write a qcow2 image"), "{said}");
    assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none());
}
