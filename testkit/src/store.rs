//! A small store in a temporary directory, with everything that is awkward in it.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{run, text};

/// A store below `root`.
pub struct Store {
    pub root: tempfile::TempDir,
    names: Vec<String>,
}

impl Store {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("nix/store")).unwrap();
        Self { root, names: Vec::new() }
    }

    /// Three store paths: a directory with awkward contents, a file and a link.
    pub fn awkward() -> Self {
        let mut store = Self::new();
        let payload = store.add('a', "payload");
        fs::create_dir(&payload).unwrap();
        fill_awkwardly(&payload);
        fill_deeply(&payload);
        let script = store.add('b', "script.sh");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let link = store.add('c', "link");
        symlink(store.logical(0), link).unwrap();
        store
    }

    /// A new store path, which the caller makes; `digit` tells paths of the same name apart.
    pub fn add(&mut self, digit: char, name: &str) -> PathBuf {
        self.names.push(format!("{}-{name}", digit.to_string().repeat(32)));
        self.physical(self.names.len() - 1)
    }

    pub fn logical(&self, i: usize) -> String {
        format!("/nix/store/{}", self.names[i])
    }

    pub fn physical(&self, i: usize) -> PathBuf {
        self.directory().join(&self.names[i])
    }

    pub fn directory(&self) -> PathBuf {
        self.root.path().join("nix/store")
    }

    /// Writes the registration with hashes and sizes as Nix finds them; each path refers to the first.
    pub fn register(&self) -> PathBuf {
        let mut lines = String::new();
        for i in 0..self.names.len() {
            let path = self.physical(i);
            let dump = run(&["nix-store", "--dump", text(&path)]).stdout;
            assert!(!dump.is_empty());
            let hash = String::from_utf8(run(&["nix-hash", "--type", "sha256", text(&path)]).stdout).unwrap();
            let (path, first) = (self.logical(i), self.logical(0));
            writeln!(lines, "{path}\n{}\n{}\n\n1\n{first}", hash.trim(), dump.len()).unwrap();
        }
        let file = self.root.path().join("registration");
        fs::write(&file, lines).unwrap();
        file
    }
}

/// A directory in a directory, and so on.
fn fill_deeply(directory: &Path) {
    let mut deep = directory.join("deep");
    for level in 0..60 {
        deep.push(format!("level-{level}"));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "here").unwrap();
}

/// Names, sizes and targets at and beyond the edges of what the formats store in one place.
pub fn fill_awkwardly(directory: &Path) {
    let at = |name: &[u8]| directory.join(OsStr::from_bytes(name));
    fs::create_dir(at(b"many")).unwrap();
    for i in 0..3000 {
        fs::write(at(format!("many/file-{i}").as_bytes()), i.to_string()).unwrap();
    }
    fs::create_dir(at(b"empty-directory")).unwrap();
    for size in [0, 1, 4095, 4096, 4097, 65_535, 65_536, 1 << 20] {
        let contents: Vec<u8> = (0..size).map(|i: usize| u8::try_from(i * 31 % 251).unwrap()).collect();
        fs::write(at(format!("size-{size}").as_bytes()), contents).unwrap();
    }
    fs::write(at(b"zeros"), vec![0; 5 << 20]).unwrap();
    for length in [1, 59, 60, 61, 255, 4095] {
        let target: String = "some/where/".chars().cycle().take(length).collect();
        symlink(target, at(format!("link-{length}").as_bytes())).unwrap();
    }
    fs::write(at(&[b'n'; 255]), "the longest name").unwrap();
    fs::write(at("grüße-\u{1F980}".as_bytes()), "utf-8").unwrap();
    fs::write(at(b"bytes-\xff\xfe"), "not utf-8").unwrap();
    fs::write(at(b"new\nline and \"quotes\""), "a name").unwrap();
    fs::write(at(b"tool"), "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(at(b"tool"), fs::Permissions::from_mode(0o700)).unwrap();
    // A store that was optimised has hard links.
    fs::hard_link(at(b"size-4097"), at(b"same")).unwrap();
}
