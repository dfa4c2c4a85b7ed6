//! `--optimise`, judged by e2fsck, debugfs, qemu-img and Debian's Nix, which optimises one of two equal stores.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;

use testkit::store::{Store, fill_awkwardly};
use testkit::{imagegen, run, text, tool};

/// A store that Nix made, with two paths that have files in common.
struct NixStore {
    root: tempfile::TempDir,
    paths: Vec<String>,
    registration: PathBuf,
}

impl NixStore {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let sources = root.path().join("sources");
        let mut store = Self { paths: Vec::new(), registration: root.path().join("registration"), root };
        for name in ["first", "second"] {
            let source = sources.join(name);
            fs::create_dir_all(&source).unwrap();
            fill(&source, name);
            let path = store.nix(&["--add", text(&source)]);
            store.paths.push(path.trim().to_owned());
        }
        fs::write(&store.registration, store.nix(&["--dump-db"])).unwrap();
        store
    }

    fn nix(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("nix-store");
        command.env("NIX_CONFIG", "build-users-group =\nsubstitute = false").env("NIX_REMOTE", "");
        let output = command.args(["--store", text(self.root.path())]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn image(&self, output: &Path, more: &[&str]) -> String {
        let mut command = imagegen!();
        command.args(["store-image", "--store-root", text(self.root.path())]);
        command.args(["--registration", text(&self.registration), "-o", text(output)]);
        let done = command.args(more).assert().success();
        String::from_utf8(done.get_output().stderr.clone()).unwrap()
    }
}

impl Drop for NixStore {
    fn drop(&mut self) {
        run(&["chmod", "-R", "u+w", text(self.root.path())]);
    }
}

/// Awkward files, files that `first` and `second` have in common, and files that look alike but are not.
fn fill(directory: &Path, name: &str) {
    fill_awkwardly(directory);
    let at = |name: &str| directory.join(name);
    // More than is hashed on the thread that reads it.
    fs::write(at("huge"), vec![b'x'; 9 << 20]).unwrap();
    fs::write(at("huge-copy"), vec![b'x'; 9 << 20]).unwrap();
    fs::write(at("huge-other"), [vec![b'x'; (9 << 20) - 1], vec![b'y']].concat()).unwrap();
    fs::write(at("own"), name.repeat(3000)).unwrap();
    fs::write(at("tool-not-executable"), "#!/bin/sh\nexit 0\n").unwrap();
    fs::write(at("tool-too"), "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(at("tool-too"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at("empty-too"), "").unwrap();
}

/// Inode numbers and link counts of regular files, as debugfs tells them.
fn inode(image: &Path, path: &str) -> (u32, u32) {
    let shown = tool(&["debugfs", "-R", &format!("stat {path}"), text(image)]);
    let after = |key: &str| {
        let rest = &shown[shown.find(key).unwrap_or_else(|| panic!("{path}: {shown}")) + key.len()..];
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    (after("Inode:"), after("Links:"))
}

fn same(a: &Path, b: &Path) -> bool {
    run(&["cmp", text(a), text(b)]).status.success()
}

#[test]
fn equal_files_are_hard_links_whatever_the_source_has() {
    let store = NixStore::new();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let raw = ["--format", "raw"];
    store.image(&at("plain"), &raw);
    let said = store.image(
        &at("optimised"),
        &[&raw, ["--optimise", "--report"].as_slice(), &[text(&at("report"))]].concat(),
    );
    tool(&["e2fsck", "-fn", text(&at("optimised"))]);

    // Link counts: twice in each of two paths, or once if the contents have the path's name in them.
    let base = |i: usize| store.paths[i].trim_start_matches("/nix/store").to_owned();
    let of = |i: usize, name: &str| inode(&at("optimised"), &format!("{}/{name}", base(i)));
    assert_eq!(of(0, "huge").1, 4);
    assert_eq!(of(0, "huge"), of(1, "huge-copy"));
    assert_eq!(of(0, "huge-other"), of(1, "huge-other"));
    assert_eq!(of(0, "huge-other").1, 2);
    assert_eq!((of(0, "own").1, of(1, "own").1), (1, 1));
    assert_eq!(of(0, "size-0"), of(1, "empty-too"));
    assert_eq!(of(0, "size-0").1, 4);
    assert_eq!(of(0, "tool"), of(1, "tool-too"));
    assert_eq!(of(0, "tool").1, 4);
    assert_eq!(of(0, "tool-not-executable").1, 2);
    assert_eq!(of(0, "many/file-7"), of(1, "many/file-7"));
    assert_eq!(inode(&at("plain"), &format!("{}/huge", base(0))).1, 1);

    // The contents are all there.
    let dump = at("dump");
    fs::create_dir(&dump).unwrap();
    tool(&["debugfs", "-R", &format!("rdump / {}", text(&dump)), text(&at("optimised"))]);
    tool(&["chmod", "-R", "u+w", text(&dump)]);
    for path in &store.paths {
        let unpacked = dump.join(path.trim_start_matches("/nix/store/"));
        let source = store.root.path().join(path.trim_start_matches('/'));
        tool(&["diff", "-r", "--no-dereference", text(&source), text(&unpacked)]);
    }
    for image in ["plain", "optimised"] {
        imagegen!()
            .args(["verify", text(&at(image)), "--registration", text(&store.registration)])
            .assert()
            .success();
    }
    check_report(&store, &at("report"), &said);

    // Whatever the threads, the container and the source.
    let optimise = ["--optimise"].as_slice();
    for jobs in ["1", "4"] {
        store.image(&at("again"), &[&raw, optimise, &["--jobs", jobs]].concat());
        assert!(same(&at("again"), &at("optimised")), "{jobs} jobs");
    }
    store.image(&at("unverified"), &[&raw, optimise, &["--no-verify"]].concat());
    assert!(same(&at("unverified"), &at("optimised")));
    for more in [[].as_slice(), &["--compress", "zstd"]] {
        store.image(&at("qcow2"), &[optimise, more].concat());
        tool(&["qemu-img", "check", text(&at("qcow2"))]);
        let compared = tool(&["qemu-img", "compare", text(&at("qcow2")), text(&at("optimised"))]);
        assert!(compared.contains("identical"), "{compared}");
    }
    store.nix(&["--optimise"]);
    let links = tool(&[
        "find",
        text(&store.root.path().join("nix/store")),
        "-type",
        "f",
        "-links",
        "+2",
        "-printf",
        "x",
    ]);
    assert!(links.len() > 3000, "Nix linked {} files", links.len());
    store.image(&at("again"), &[&raw, optimise].concat());
    assert!(same(&at("again"), &at("optimised")), "a source that Nix optimised");
    store.image(&at("again"), &raw);
    assert!(same(&at("again"), &at("plain")), "without the option");
}

#[test]
fn a_root_disk_with_its_store_has_the_same_links() {
    let store = NixStore::new();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("root");
    let mut command = imagegen!();
    command.args(["root-disk", "--store-root", text(store.root.path())]);
    command.args(["--registration", text(&store.registration), "--format", "raw", "-o", text(&image)]);
    command.args(["--optimise"]).assert().code(2);
    let done = command.arg("--with-store").assert().success();
    let said = String::from_utf8(done.get_output().stderr.clone()).unwrap();
    assert!(said.contains(" files are hard links to others, which saves "), "{said}");
    tool(&["e2fsck", "-fn", text(&image)]);
    let of = |i: usize, name: &str| inode(&image, &format!("{}/{name}", store.paths[i]));
    assert_eq!((of(0, "huge"), of(0, "huge").1), (of(1, "huge-copy"), 4));
    // What is behind the store in the order of the tree.
    let schema = inode(&image, "/nix/var/nix/db/schema");
    assert_eq!(schema.1, 1);
    assert_eq!(tool(&["debugfs", "-R", "cat /nix/var/nix/db/schema", text(&image)]).trim(), "10");
    imagegen!()
        .args(["verify", text(&image), "--registration", text(&store.registration)])
        .assert()
        .success();
}

/// The report's numbers are what a list of all files by contents and permissions says.
fn check_report(store: &NixStore, report: &Path, said: &str) {
    let mut seen = BTreeSet::new();
    let (mut linked, mut saved) = (0_u64, 0);
    let found = tool(&[
        "find",
        text(&store.root.path().join("nix/store")),
        "-type",
        "f",
        "-not",
        "-path",
        "*/.links/*",
        "-print0",
    ]);
    for file in found.split_terminator('\0').map(Path::new) {
        // The one name that is not UTF-8 has contents of its own in either path.
        let Ok(contents) = fs::read(file) else { continue };
        let executable = file.metadata().unwrap().permissions().mode() & 0o100;
        let blocks = u64::try_from(contents.len()).unwrap().div_ceil(4096);
        if !seen.insert((contents, executable)) {
            linked += 1;
            saved += blocks * 4096;
        }
    }
    // The file whose name is not UTF-8, in the second path.
    (linked, saved) = (linked + 1, saved + 4096);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(
        (report["linked_files"].as_u64(), report["saved_bytes"].as_u64()),
        (Some(linked), Some(saved))
    );
    let files = report["files"].as_u64().unwrap();
    assert!(
        said.contains(&format!("{linked} of {files} files are hard links to others, which saves ")),
        "{said}"
    );
    let arguments = report["program"]["arguments"].to_string();
    assert!(arguments.contains("--optimise"), "{arguments}");
}

#[test]
fn more_names_than_an_inode_can_have_become_several_files() {
    const FILES: u32 = 65_000 + 3;
    let mut store = Store::new();
    let path = store.add('a', "many");
    fs::create_dir(&path).unwrap();
    // Hard links are made faster than files; the source's file system has the same limit.
    for i in 0..FILES {
        let (name, first) = (path.join(format!("{i:06}")), path.join(format!("{:06}", i / 40_000 * 40_000)));
        if name == first { fs::write(name, "x").unwrap() } else { fs::hard_link(first, name).unwrap() }
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("raw");
    let registration = store.register();
    let mut command = imagegen!();
    command.args([
        "store-image",
        "--store-root",
        text(store.root.path()),
        "--registration",
        text(&registration),
    ]);
    command.args(["--optimise", "--format", "raw", "-o", text(&image)]).assert().success();
    tool(&["e2fsck", "-fn", text(&image)]);
    let name = store.logical(0).replace("/nix/store", "");
    let links = |i: u32| inode(&image, &format!("{name}/{i:06}"));
    assert_eq!((links(0).1, links(65_000).1), (65_000, 3));
    assert_eq!((links(0).0, links(65_000).0), (links(64_999).0, links(65_002).0));
    imagegen!().args(["verify", text(&image), "--registration", text(&registration)]).assert().success();
}
