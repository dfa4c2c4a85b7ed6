//! `store-image`, judged by e2fsck, debugfs, dumpe2fs, resize2fs, qemu-img and another crate's ext4 reader.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use ext4_view::{Ext4, Metadata};

use testkit::store::Store;
use testkit::{error_of, imagegen, names_in, run, text, tool};

/// `store-image` for a store, with its registration.
fn store_image(store: &Store, registration: &Path) -> Command {
    let mut command = imagegen!();
    command.args([
        "store-image",
        "--store-root",
        text(store.root.path()),
        "--registration",
        text(registration),
    ]);
    command
}

fn build(store: &Store, output: &Path, more: &[&str]) {
    let registration = store.register();
    store_image(store, &registration).args(["-o", text(output)]).args(more).assert().success();
}

fn sha256(path: &Path) -> String {
    tool(&["sha256sum", text(path)])[..64].to_owned()
}

#[test]
fn the_checkers_find_nothing() {
    let store = Store::awkward();
    let directory = tempfile::tempdir().unwrap();
    let (raw, qcow2) = (directory.path().join("raw"), directory.path().join("qcow2"));
    build(&store, &raw, &["--format", "raw"]);
    build(&store, &qcow2, &[]);
    tool(&["e2fsck", "-fn", text(&raw)]);
    tool(&["qemu-img", "check", text(&qcow2)]);
    let compared = tool(&["qemu-img", "compare", "-f", "raw", "-F", "qcow2", text(&raw), text(&qcow2)]);
    assert!(compared.contains("identical"));
    // The zeros in the payload take no space in either.
    let source: u64 = 3000 + (5 << 20) + (1 << 20);
    assert!(qcow2.metadata().unwrap().len() < raw.metadata().unwrap().len() - (4 << 20));
    assert!(raw.metadata().unwrap().blocks() * 512 < raw.metadata().unwrap().len() - (4 << 20));
    assert!(raw.metadata().unwrap().len() > source);
}

#[test]
fn names_modes_targets_sizes_and_contents_are_those_of_the_source() {
    let store = Store::awkward();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("raw");
    build(&store, &image, &["--format", "raw"]);

    let file_system = Ext4::load_from_path(&image).unwrap();
    let mut found = list(&file_system, "/");
    found.retain(|path| path != b"/lost+found");
    let mut expected = Vec::new();
    for i in 0..3 {
        compare(&file_system, &store, &store.physical(i), &mut expected);
    }
    found.sort();
    expected.sort();
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "the same names, no more and no less");
}

/// Every path below a directory.
fn list(file_system: &Ext4, directory: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut todo = vec![ext4_view::PathBuf::new(directory)];
    while let Some(directory) = todo.pop() {
        for entry in file_system.read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            if matches!(entry.file_name().as_ref(), b"." | b"..") {
                continue;
            }
            all.push(entry.path().as_ref().to_vec());
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            }
        }
    }
    all
}

/// Compares a file and all below it with the image; the path in the image goes to `seen`.
fn compare(file_system: &Ext4, store: &Store, source: &Path, seen: &mut Vec<Vec<u8>>) {
    let path = Path::new("/").join(source.strip_prefix(store.directory()).unwrap());
    let shown = path.display();
    let path = path.as_os_str().as_bytes();
    seen.push(path.to_vec());
    let expected = source.symlink_metadata().unwrap();
    let found: Metadata = file_system.symlink_metadata(path).unwrap();
    assert_eq!((found.uid(), found.gid()), (0, 0), "{shown}");
    assert_eq!(found.modified().seconds(), 1, "{shown}");
    let mode = found.mode() & 0o7777;
    if expected.is_dir() {
        assert!(found.is_dir());
        assert_eq!(mode, 0o555);
        for entry in fs::read_dir(source).unwrap() {
            compare(file_system, store, &entry.unwrap().path(), seen);
        }
    } else if expected.is_symlink() {
        assert!(found.is_symlink());
        let target = fs::read_link(source).unwrap();
        assert_eq!(file_system.read_link(path).unwrap().as_ref(), target.as_os_str().as_bytes(), "{shown}");
    } else {
        assert_eq!(mode, if expected.mode() & 0o100 == 0 { 0o444 } else { 0o555 }, "{shown}");
        assert_eq!(found.len(), expected.len());
        assert!(file_system.read(path).unwrap() == fs::read(source).unwrap(), "{shown}");
    }
}

#[test]
fn debugfs_reads_the_same_files() {
    let store = Store::awkward();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("raw");
    build(&store, &image, &["--format", "raw"]);
    let dump = directory.path().join("dump");
    fs::create_dir(&dump).unwrap();
    let payload = store.physical(0);
    let name = payload.file_name().unwrap().to_str().unwrap();
    let output = run(&["debugfs", "-R", &format!("rdump /{name} {}", text(&dump)), text(&image)]);
    assert!(output.status.success());
    // rdump sets the modes of the image, under which nobody but root could remove the directories again.
    tool(&["chmod", "-R", "u+w", text(&dump)]);
    tool(&["diff", "-r", "--no-dereference", text(&payload), text(&dump.join(name))]);
}

#[test]
fn label_uuid_seed_and_times_are_fixed() {
    let store = Store::awkward();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("raw");
    build(&store, &image, &["--format", "raw"]);
    let shown = run(&["env", "TZ=UTC", "LC_ALL=C", "dumpe2fs", "-h", text(&image)]).stdout;
    let shown = String::from_utf8(shown).unwrap();
    let field = |name: &str| {
        let line =
            shown.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {shown}"));
        line[name.len()..].trim_start_matches(':').trim().to_owned()
    };
    assert_eq!(field("Filesystem volume name"), "nix-store");
    assert_eq!(field("Filesystem UUID"), "6e697873-746f-4e72-a5c1-6d6167650001");
    assert_eq!(field("Directory Hash Seed"), "6e697873-746f-4e72-a5c1-6d6167650002");
    assert_eq!(field("Filesystem created"), "Thu Jan  1 00:00:01 1970");
    assert_eq!(field("Last write time"), "Thu Jan  1 00:00:01 1970");
    assert_eq!(field("Filesystem state"), "clean");
    // At most 4 MiB of free space in a small image.
    let free: u64 = field("Free blocks").parse().unwrap();
    assert!(free * 4096 <= 4 << 20, "{free}");

    build(
        &store,
        &image,
        &["--format", "raw", "--label", "other", "--uuid", "01234567-89ab-cdef-0123-456789abcdef"],
    );
    let shown = tool(&["blkid", "-p", text(&image)]);
    assert!(
        shown.contains("LABEL=\"other\"") && shown.contains("01234567-89ab-cdef-0123-456789abcdef"),
        "{shown}"
    );
    tool(&["e2fsck", "-fn", text(&image)]);
}

#[test]
fn sizes_are_what_was_asked_for() {
    let store = Store::awkward();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("raw");
    let free = |image: &Path| {
        let shown = tool(&["dumpe2fs", "-h", text(image)]);
        let line = shown.lines().find(|line| line.starts_with("Free blocks:")).unwrap().to_owned();
        line["Free blocks:".len()..].trim().parse::<u64>().unwrap() * 4096
    };
    build(&store, &image, &["--format", "raw"]);
    let smallest = image.metadata().unwrap().len();

    build(&store, &image, &["--format", "raw", "--additional-space", "300M"]);
    tool(&["e2fsck", "-fn", text(&image)]);
    assert_eq!(free(&image), 300 << 20);

    for size in [smallest, smallest + 4096, smallest + (1 << 20), 1 << 30] {
        build(&store, &image, &["--format", "raw", "--size", &size.to_string()]);
        tool(&["e2fsck", "-fn", text(&image)]);
        assert!(size - image.metadata().unwrap().len() < 1 << 20, "{size}");
    }
    let registration = store.register();
    let target = directory.path().join("small");
    let size = (smallest - 1).to_string();
    let error = error_of(store_image(&store, &registration).args(["-o", text(&target), "--size", &size]));
    assert!(error.contains(&format!("need a file system of {smallest} bytes")), "{error}");
    let error = error_of(store_image(&store, &registration).args(["-o", text(&target), "--size", "9000T"]));
    assert!(error.contains("2^32 inodes") && error.contains("give a smaller --size"), "{error}");
    assert!(!target.exists());

    // The size can be changed afterwards by the usual tool.
    build(&store, &image, &["--format", "raw"]);
    tool(&["truncate", "-s", "600M", text(&image)]);
    tool(&["resize2fs", text(&image)]);
    tool(&["e2fsck", "-fn", text(&image)]);
}

#[test]
fn the_same_closure_gives_the_same_bytes() {
    let store = Store::awkward();
    let registration = store.register();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("tmp")).unwrap();
    for format in ["raw", "qcow2"] {
        let reference = at("reference");
        store_image(&store, &registration)
            .args(["-o", text(&reference), "--format", format])
            .assert()
            .success();
        let expected = sha256(&reference);

        let target = at("again");
        let ours = env!("CARGO_BIN_EXE_nix-imagegen");
        let script = format!(
            "umask 077; cd {}; exec {ours} store-image --store-root {} --registration {} -o {} --format {format} --jobs 7",
            text(&at("tmp")),
            text(store.root.path()),
            text(&registration),
            text(&target)
        );
        let variables =
            [("TMPDIR", text(&at("tmp")).to_owned()), ("TZ", "Asia/Tokyo".into()), ("LC_ALL", "C".into())];
        Command::new("sh").args(["-c", &script]).envs(variables).assert().success();
        assert_eq!(sha256(&target), expected, "environment and jobs, {format}");

        store_image(&store, &registration)
            .args(["-o", text(&target), "--format", format, "--jobs", "1"])
            .assert()
            .success();
        assert_eq!(sha256(&target), expected, "one job, {format}");
    }

    // The same contents with other times, permissions, directory order and without hard links.
    let copy = Store::awkward();
    let payload = copy.physical(0);
    fs::remove_file(payload.join("same")).unwrap();
    fs::copy(payload.join("size-4097"), payload.join("same")).unwrap();
    fs::set_permissions(payload.join("size-1"), fs::Permissions::from_mode(0o600)).unwrap();
    for i in (0..3000).rev() {
        let file = payload.join(format!("many/file-{i}"));
        let contents = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        fs::write(&file, contents).unwrap();
    }
    tool(&["touch", "-d", "2001-02-03", text(&payload.join("tool"))]);
    let registration = copy.register();
    let target = at("copy");
    store_image(&copy, &registration).args(["-o", text(&target)]).assert().success();
    assert_eq!(sha256(&target), sha256(&at("reference")));
}

#[test]
fn compressed_images_are_smaller_and_the_same_to_the_guest() {
    let store = Store::awkward();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    build(&store, &at("plain"), &[]);
    for method in ["zlib", "zstd"] {
        build(&store, &at(method), &["--compress", method, "--jobs", "1"]);
        tool(&["qemu-img", "check", text(&at(method))]);
        let compared = tool(&["qemu-img", "compare", text(&at("plain")), text(&at(method))]);
        assert!(compared.contains("identical"), "{compared}");
        assert!(at(method).metadata().unwrap().len() < at("plain").metadata().unwrap().len() / 2);
        build(&store, &at("again"), &["--compress", method, "--jobs", "5"]);
        assert_eq!(sha256(&at("again")), sha256(&at(method)), "{method}");
    }
    let registration = store.register();
    let target = at("raw");
    let raw = ["-o", text(&target), "--format", "raw", "--compress", "zstd"];
    assert!(
        error_of(store_image(&store, &registration).args(raw)).contains("a raw image cannot be compressed")
    );
}

#[test]
fn a_report_says_what_was_made() {
    let store = Store::awkward();
    let directory = tempfile::tempdir().unwrap();
    let (image, report) = (directory.path().join("image"), directory.path().join("report.json"));
    build(&store, &image, &["--report", text(&report)]);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["image"], text(&image));
    assert_eq!(report["format"], "qcow2");
    assert_eq!(report["image_bytes"], image.metadata().unwrap().len());
    assert_eq!(report["sha256"], sha256(&image));
    assert_eq!(report["store_paths"], 3);
    assert_eq!(report["verified_paths"], 3);
    assert_eq!(report["unverified_paths"], 0);
    let count = |kind: &str| {
        let found =
            tool(&["find", text(&store.directory()), "-mindepth", "1", "-type", kind, "-printf", "x"]);
        u64::try_from(found.len()).unwrap()
    };
    assert_eq!(report["files"], count("f"));
    assert_eq!(report["directories"], count("d"));
    assert_eq!(report["symlinks"], count("l"));
    let phases: Vec<_> = report["phases"].as_array().unwrap().iter().map(|phase| &phase["name"]).collect();
    assert_eq!(phases, ["scan", "plan", "write", "digest"]);
    assert_eq!(report["phases"][2]["bytes"], report["source_bytes"]);
    assert_eq!(report["fixed"]["uuid"], "6e697873-746f-4e72-a5c1-6d6167650001");
    let info: serde_json::Value =
        serde_json::from_str(&tool(&["qemu-img", "info", "--output=json", text(&image)])).unwrap();
    assert_eq!(report["virtual_bytes"], info["virtual-size"]);
}

#[test]
fn hashes_are_checked_unless_there_are_none() {
    let store = Store::awkward();
    let registration = store.register();
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("image");
    let original = fs::read_to_string(&registration).unwrap();

    // No hash and size: a warning, and no check of these paths.
    let mut lines: Vec<&str> = original.lines().collect();
    (lines[1], lines[2]) = ("", "0");
    fs::write(&registration, lines.join("\n") + "\n").unwrap();
    let assert = store_image(&store, &registration).args(["-o", text(&target)]).assert().success();
    let stderr = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(stderr.contains("warning: 1 of 3 store paths were not checked"), "{stderr}");
    let quiet = store_image(&store, &registration).args(["-o", text(&target), "--quiet"]).assert().success();
    assert!(quiet.get_output().stderr.is_empty());
    fs::remove_file(&target).unwrap();

    // A file that is not what it was: of another size, then of the same.
    fs::write(&registration, &original).unwrap();
    let file = store.physical(0).join("many/file-1000");
    fs::write(&file, "a longer number").unwrap();
    let error = error_of(store_image(&store, &registration).args(["-o", text(&target)]));
    assert!(error.contains(&store.logical(0)) && error.contains("bytes, not"), "{error}");
    fs::write(&file, "1001").unwrap();
    let error = error_of(store_image(&store, &registration).args(["-o", text(&target)]));
    assert!(error.contains(&store.logical(0)) && error.contains("NAR hash is sha256:"), "{error}");
    assert!(names_in(directory.path()).is_empty());
    store_image(&store, &registration).args(["-o", text(&target), "--no-verify"]).assert().success();
}

#[test]
fn what_fails_leaves_nothing_behind() {
    let store = Store::awkward();
    let registration = store.register();
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("image");
    fs::write(&target, "the old one").unwrap();

    let missing = store.physical(1);
    let away = store.root.path().join("away");
    fs::rename(&missing, &away).unwrap();
    let error = error_of(store_image(&store, &registration).args(["-o", text(&target)]));
    assert!(error.contains("is registered but missing"), "{error}");
    fs::rename(&away, &missing).unwrap();

    let error =
        error_of(store_image(&store, &registration).args(["-o", text(&directory.path().join("no/image"))]));
    assert!(error.contains("the directory must exist"), "{error}");
    let error = error_of(store_image(&store, Path::new("/nonexistent")).args(["-o", text(&target)]));
    assert!(error.contains("cannot read the registration `/nonexistent`"), "{error}");
    let label = ["-o", text(&target), "--label", "more than sixteen bytes"];
    assert!(error_of(store_image(&store, &registration).args(label)).contains("more than 16 bytes"));

    // A disk that fills up: no file may grow beyond 2 MiB.
    let script = format!(
        "ulimit -f 4096; trap '' XFSZ; exec {} store-image --store-root {} --registration {} -o {}",
        env!("CARGO_BIN_EXE_nix-imagegen"),
        text(store.root.path()),
        text(&registration),
        text(&target)
    );
    let error = error_of(Command::new("bash").args(["-c", &script]));
    assert!(error.contains("File too large"), "{error}");

    assert_eq!(names_in(directory.path()), ["image"]);
    assert_eq!(fs::read(&target).unwrap(), b"the old one");
}

#[test]
fn a_kill_in_the_middle_leaves_nothing_behind() {
    let mut store = Store::new();
    let big = store.add('a', "big");
    fs::write(&big, vec![1; 256 << 20]).unwrap();
    let registration = store.register();
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("image");
    for signal in ["KILL", "TERM", "INT"] {
        let mut child = store_image(&store, &registration)
            .args(["-o", text(&target), "--progress", "json"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_writing(&child);
        tool(&["kill", "-s", signal, &child.id().to_string()]);
        assert!(!child.wait().unwrap().success());
        assert!(names_in(directory.path()).is_empty(), "{signal}");
    }
}

/// Waits until the program has its unnamed output file open.
fn wait_until_writing(child: &std::process::Child) {
    let descriptors = PathBuf::from(format!("/proc/{}/fd", child.id()));
    for _ in 0..100_000 {
        let Ok(open) = fs::read_dir(&descriptors) else { continue };
        let mut targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        if targets.any(|target| target.to_string_lossy().ends_with("(deleted)")) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the program never opened its output");
}

#[test]
fn an_empty_closure_is_told() {
    let store = Store::new();
    let registration = store.register();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("raw");
    let mut command = store_image(&store, &registration);
    let failed = command.args(["-o", text(&image), "--format", "raw"]).assert().code(1);
    let error = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(error.contains("registration` is empty: it registers no store path"), "{error}");
    assert!(!image.exists());
}
