//! `diff`: one thing is changed at a time, and the words must name exactly that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use testkit::store::Store;
use testkit::{imagegen, text, tool};

/// The exit status and the lines on stdout.
fn diff(left: &Path, right: &Path, more: &[&str]) -> (i32, Vec<String>) {
    let output = imagegen!().args(["diff", text(left), text(right)]).args(more).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    (output.status.code().unwrap(), lines)
}

fn store_image(store: &Store, image: &Path, more: &[&str]) {
    let registration = store.register();
    let output = imagegen!()
        .args(["store-image", "--registration", text(&registration), "-o", text(image)])
        .args(["--store-root", text(store.root.path())])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success());
}

#[test]
fn a_file_system_differs_in_one_thing() {
    let store = Store::awkward();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    store_image(&store, &at("a"), &["--format", "raw"]);
    let script = store.logical(1).rsplit('/').next().unwrap().to_owned();
    assert_eq!(diff(&at("a"), &at("a"), &[]), (0, vec![]));

    store_image(&store, &at("b"), &["--format", "raw", "--label", "other"]);
    let (code, lines) = diff(&at("a"), &at("b"), &[]);
    assert_eq!(code, 1);
    assert_eq!(lines[0], "file-system: s_volume_name: nix-store | other");
    assert!(lines[1].starts_with("file-system: s_checksum: "), "{lines:?}");
    assert_eq!(lines.len(), 2);

    store_image(&store, &at("b"), &["--format", "raw", "--uuid", "12345678-1234-1234-1234-123456789abc"]);
    let (_, lines) = diff(&at("a"), &at("b"), &[]);
    assert!(lines[0].starts_with("file-system: s_uuid: "), "{lines:?}");

    let changes = [
        (format!("sif {script} mode 0100755"), format!("entry /{script}: i_mode: 0o100555 | 0o100755")),
        (format!("sif {script} mtime 77"), format!("entry /{script}: i_mtime: 1 | 77")),
        (format!("sif {script} uid 5"), format!("entry /{script}: i_uid: 0 | 5")),
    ];
    for (change, expected) in changes {
        fs::copy(at("a"), at("b")).unwrap();
        tool(&["debugfs", "-w", "-R", &change, text(&at("b"))]);
        let (code, lines) = diff(&at("a"), &at("b"), &[]);
        assert_eq!(code, 1);
        let entries: Vec<_> = lines.iter().filter(|line| line.starts_with("entry")).collect();
        assert_eq!(entries, [&expected], "{lines:?}");
    }
    fs::copy(at("a"), at("b")).unwrap();
    tool(&["debugfs", "-w", "-R", &format!("unlink {script}"), text(&at("b"))]);
    let (_, lines) = diff(&at("a"), &at("b"), &[]);
    assert!(lines.contains(&format!("entry /{script}: entry: there | not there")), "{lines:?}");

    // One byte of a file.
    let mut bytes = fs::read(at("a")).unwrap();
    let place = bytes.windows(16).position(|bytes| bytes == b"the longest name").unwrap() + 4;
    bytes[place] = b'L';
    fs::write(at("b"), &bytes).unwrap();
    let (code, lines) = diff(&at("a"), &at("b"), &[]);
    assert_eq!((code, lines.len()), (1, 1));
    let expected = format!("first differing byte, at 0x4 (guest offset {place:#x}): 6c | 4c");
    assert!(lines[0].starts_with("file /") && lines[0].ends_with(&expected), "{lines:?}");

    // A byte that belongs to nothing.
    let mut bytes = fs::read(at("a")).unwrap();
    bytes[100] = 1;
    fs::write(at("b"), &bytes).unwrap();
    let (code, lines) = diff(&at("a"), &at("b"), &[]);
    assert_eq!((code, lines.len()), (1, 1));
    assert!(lines[0].starts_with("bytes: first differing byte, at guest offset 0x64"), "{lines:?}");
}

#[test]
fn containers_differ_though_their_contents_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let raw = at("raw");
    fs::write(&raw, vec![9; 1 << 20]).unwrap();
    let convert = |name: &str, options: &[&str]| {
        tool(&[&["qemu-img", "convert", "-O", "qcow2"], options, &[text(&raw), text(&at(name))]].concat());
        at(name)
    };
    let (plain, packed) = (convert("plain", &[]), convert("packed", &["-c"]));
    let small = convert("small", &["-o", "cluster_size=4k"]);
    let (code, lines) = diff(&raw, &plain, &[]);
    assert_eq!((code, lines), (1, vec!["container: format: raw | qcow2".to_owned()]));
    let (code, lines) = diff(&plain, &packed, &[]);
    assert_eq!(code, 1);
    assert!(lines.iter().any(|line| line.starts_with("container: allocation: ")), "{lines:?}");
    let (_, lines) = diff(&plain, &small, &[]);
    assert!(lines.contains(&"container: cluster_bits: 16 | 12".to_owned()), "{lines:?}");
    for other in [&plain, &packed, &small] {
        assert_eq!(diff(&raw, other, &["--ignore-container"]), (0, vec![]));
    }
    let output = imagegen!().args(["diff", text(&raw), text(&at("missing"))]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: cannot open"));
}

#[test]
fn a_disk_differs_in_one_thing() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("a"), vec![0; 32 << 20]).unwrap();
    let (guid, partition) = ("97FD5997-D90B-4AA3-8D16-C1723AEA73C1", "970C694F-AFD0-4B99-B750-CDB7A329AB6F");
    tool(&[
        "sgdisk",
        "-n",
        "1:2048:",
        "-t",
        "1:ef00",
        "-U",
        guid,
        "-u",
        &format!("1:{partition}"),
        text(&at("a")),
    ]);
    tool(&["mkfs.fat", "-F16", "-i", "12345678", "--offset", "2048", text(&at("a")), "30000"]);
    let volume = format!("{}@@1M", text(&at("a")));
    fs::write(at("file"), "one contents").unwrap();
    tool(&["mcopy", "-m", "-i", &volume, text(&at("file")), "::name.txt"]);

    fs::copy(at("a"), at("b")).unwrap();
    tool(&["sgdisk", "-u", "1:970C694F-AFD0-4B99-B750-CDB7A329AB70", text(&at("b"))]);
    let (code, lines) = diff(&at("a"), &at("b"), &[]);
    assert_eq!(code, 1);
    let lines: Vec<_> = lines.into_iter().filter(|line| line.starts_with("partition")).collect();
    let expected = format!(
        "partition 1: unique_partition_guid: {0} | {1}70",
        partition.to_lowercase(),
        &partition.to_lowercase()[..34]
    );
    assert_eq!(lines, [expected]);

    fs::copy(at("a"), at("b")).unwrap();
    let mut bytes = fs::read(at("b")).unwrap();
    let place = bytes.windows(12).position(|bytes| bytes == b"one contents").unwrap();
    bytes[place] = b'O';
    fs::write(at("b"), bytes).unwrap();
    let (code, lines) = diff(&at("a"), &at("b"), &[]);
    assert_eq!(code, 1);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0]
            .starts_with(&format!("file /name.txt: first differing byte, at 0x0 (guest offset {place:#x})"))
    );

    fs::copy(at("a"), at("b")).unwrap();
    let volume = format!("{}@@1M", text(&at("b")));
    tool(&["mcopy", "-i", &volume, text(&at("file")), "::added"]);
    let (_, lines) = diff(&at("a"), &at("b"), &[]);
    assert_eq!(lines, ["entry /added: entry: not there | there"]);
}

#[test]
fn variables_differ() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let template = "/usr/share/OVMF/OVMF_VARS_4M.fd";
    let (a, b) = (at("a"), at("b"));
    fs::copy(template, &a).unwrap();
    let created = imagegen!()
        .args(["efi-vars", "create", "--template", template, "-o", text(&b), "--boot-disk-entry"])
        .output()
        .unwrap();
    assert!(created.status.success());
    let (code, lines) = diff(&a, &b, &[]);
    assert_eq!(code, 1);
    assert!(lines.iter().all(|line| line.starts_with("efi-variable Boot")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("efi-variable Boot0000 (")), "{lines:?}");
}
