//! Scanning and NAR hashing, judged by Nix itself and by another crate's NAR reader.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use imagegen::fs::file_tree::Kind;
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::nix::closure::{Closure, ScanError, scan};
use imagegen::nix::nar::{self, Step, Walk};
use imagegen::nix::store_path::StoreRoot;

const HASH: &str = "s66mzxpvicwk07gjbjfw9izjfa797vsw";

/// A store with one path, which the test fills.
struct Store {
    root: tempfile::TempDir,
    path: PathBuf,
}

impl Store {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("nix/store").join(format!("{HASH}-payload"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        Self { root, path }
    }

    fn scan(&self) -> Result<Closure, ScanError> {
        let text = format!("/nix/store/{HASH}-payload\n\n0\n\n0\n");
        let registration = Registration::parse(Path::new("registration"), text.as_bytes()).unwrap();
        scan(registration, StoreRoot::new(self.root.path()), &Job::default())
    }
}

/// The whole NAR, contents included.
fn serialise(closure: &Closure) -> Vec<u8> {
    let root = closure.roots[0];
    let place = closure.store.physical(&closure.registration.paths()[0].path);
    let mut out = Vec::new();
    let mut walk = Walk::new(&closure.tree, root).at(place);
    while let Some(step) = walk.next(&mut out) {
        if let Step::Contents { size, .. } = step {
            out.extend(fs::read(walk.place()).unwrap());
            out.extend(nar::padding(size));
        }
    }
    assert_eq!(usize::try_from(nar::size(&closure.tree, root)).unwrap(), out.len());
    out
}

fn dump_by_nix(path: &Path) -> Vec<u8> {
    let output = Command::new("nix-store").arg("--dump").arg(path).output().expect("nix-store is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn make_executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_nar_is_what_nix_writes() {
    let store = Store::new();
    let at = |name: &[u8]| store.path.join(OsStr::from_bytes(name));
    fs::create_dir_all(at(b"deep/er/and/deeper")).unwrap();
    fs::create_dir(at(b"empty-directory")).unwrap();
    fs::write(at(b"empty"), "").unwrap();
    for size in [1, 7, 8, 9, 4096] {
        fs::write(at(format!("of-{size}").as_bytes()), vec![b'x'; size]).unwrap();
    }
    fs::write(at(b"deep/er/tool"), "#!/bin/sh\n").unwrap();
    make_executable(&at(b"deep/er/tool"));
    symlink("../nowhere", at(b"deep/link")).unwrap();
    symlink("x".repeat(4095), at(b"long-link")).unwrap();
    fs::write(at("grüße".as_bytes()), "utf-8").unwrap();
    fs::write(at(b"latin-\xe9"), "a name is bytes").unwrap();
    // Sorted by bytes, `a.b` stands between `a` and `a0`, whatever the locale says.
    for name in ["a", "a.b", "a0", "A"] {
        fs::write(at(name.as_bytes()), name).unwrap();
    }
    assert!(serialise(&store.scan().unwrap()) == dump_by_nix(&store.path));
}

#[test]
fn a_store_path_may_be_a_file_or_a_link() {
    let file = Store::new();
    fs::write(&file.path, "contents").unwrap();
    make_executable(&file.path);
    assert_eq!(serialise(&file.scan().unwrap()), dump_by_nix(&file.path));

    let link = Store::new();
    symlink("/nix/store/elsewhere", &link.path).unwrap();
    assert_eq!(serialise(&link.scan().unwrap()), dump_by_nix(&link.path));
}

#[test]
fn another_reader_finds_the_same_files() {
    let store = Store::new();
    fs::create_dir_all(store.path.join("directory")).unwrap();
    fs::write(store.path.join("directory/file"), "some text").unwrap();
    symlink("directory", store.path.join("link")).unwrap();
    let nar = serialise(&store.scan().unwrap());
    let target = store.root.path().join("unpacked");
    nix_nar::Decoder::new(nar.as_slice()).unwrap().unpack(&target).unwrap();
    assert_eq!(fs::read_to_string(target.join("directory/file")).unwrap(), "some text");
    assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("directory"));
}

#[test]
fn a_scan_is_sorted_by_bytes_and_complete() {
    let store = Store::new();
    fs::create_dir(&store.path).unwrap();
    for i in 0..500 {
        let directory = store.path.join(format!("d{i}"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("file"), vec![0; i]).unwrap();
    }
    let closure = store.scan().unwrap();
    let names: Vec<_> = closure.tree.children(closure.roots[0]).map(|node| closure.tree.name(node)).collect();
    assert!(names.is_sorted());
    assert_eq!(names.len(), 500);
    let sizes: u64 = closure
        .tree
        .nodes()
        .map(|node| if let Kind::File { size, .. } = closure.tree.kind(node) { size } else { 0 })
        .sum();
    assert_eq!(sizes, (0..500).sum::<u64>());
}

#[test]
fn what_cannot_be_in_a_store_is_named() {
    let missing = Store::new();
    let error = missing.scan().unwrap_err().to_string();
    assert!(error.contains("is registered but missing") && error.contains(HASH), "{error}");

    let fifo = Store::new();
    fs::create_dir(&fifo.path).unwrap();
    assert!(Command::new("mkfifo").arg(fifo.path.join("pipe")).status().unwrap().success());
    let error = fifo.scan().unwrap_err().to_string();
    assert!(error.contains("/pipe` is a fifo"), "{error}");

    let socket = Store::new();
    fs::create_dir_all(socket.path.join("run")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(socket.path.join("run/socket")).unwrap();
    let error = socket.scan().unwrap_err().to_string();
    assert!(error.contains("/run/socket` is a socket"), "{error}");
}

#[test]
fn names_from_a_store_on_macos_are_told() {
    for (name, is_told) in [
        ("Foo~nix~case~hack~1", true),
        ("foo.h~nix~case~hack~12", true),
        ("foo~nix~case~hack~", false),
        ("foo~nix~case~hack~1.c", false),
        ("foo~", false),
    ] {
        let store = Store::new();
        fs::create_dir_all(store.path.join("include")).unwrap();
        fs::write(store.path.join("include").join(name), "").unwrap();
        match store.scan() {
            Err(error @ ScanError::CaseHack { .. }) if is_told => {
                let said = error.to_string();
                assert!(said.contains(name) && said.contains("nix copy"), "{said}");
            }
            Ok(_) if !is_told => {}
            other => panic!("{name}: {other:?}"),
        }
    }
}
