//! The registration of a made closure, with the hashes that Nix would find.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::nix::closure::hash_missing;
use imagegen::nix::store_path::{STORE_DIR, StoreRoot};

/// Writes the registration of store paths that lie below `root`, sorted by name.
pub fn write(root: &Path, names: &[String], file: &Path) -> anyhow::Result<()> {
    let mut unhashed = String::new();
    for name in names {
        writeln!(unhashed, "{STORE_DIR}/{name}\n\n0\n\n0")?;
    }
    let mut registration = Registration::parse(file, unhashed.as_bytes())?;
    hash_missing(&mut registration, StoreRoot::new(root), &Job::default())?;
    fs::write(file, registration.to_string()).with_context(|| format!("cannot write `{}`", file.display()))
}
