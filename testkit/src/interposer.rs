//! A library that makes calls to the system fail in a program that is started with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{project, text, tool};

/// The library that makes calls fail, compiled once.
pub fn interposer(directory: &str) -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = project().join("tests/faults/interpose.c");
        let library = Path::new(directory).join("interpose.so");
        let new = library.with_extension(format!("{}.so", std::process::id()));
        let options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"];
        tool(&[&["cc"], &options[..], &["-o", text(&new), text(&source), "-ldl"]].concat());
        fs::rename(new, &library).unwrap();
        library
    })
}
