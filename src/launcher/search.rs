//! Looks up programs and files for one config, and reports what is missing. Looking makes nothing.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use imagegen::container::Foreign;
use imagegen::nix::store_path::StoreRoot;

use super::config::{Config, Problems};
use super::environment::Environment;
use super::platform::Platform;
use crate::hints;

/// A search for what one config needs.
pub struct Search<'a> {
    pub config: &'a Config,
    pub environment: &'a Environment,
    pub store: &'a StoreRoot,
    pub platform: Platform,
    /// The emulator, if there is one.
    pub qemu: Option<&'a Path>,
    pub current_directory: PathBuf,
    pub problems: &'a mut Problems,
}

impl Search<'_> {
    /// A path of the config or the environment, without following links.
    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.current_directory.join(path)
    }

    /// Where a file is or will be, after all links.
    pub fn real_path(&mut self, option: &str, path: &Path) -> PathBuf {
        let path = self.absolute(path);
        real_path(&path).unwrap_or_else(|error| {
            self.problems
                .add(option, format_args!("cannot find the directory of `{}`: {error}", path.display()));
            path
        })
    }

    /// Checks that a regular file exists.
    pub fn need_file(&mut self, option: &str, path: &Path) {
        let shown = path.display();
        match path.metadata() {
            Ok(found) if found.is_file() => {}
            Ok(_) => self.problems.add(option, format_args!("`{shown}` is not a regular file")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.problems.add(option, format_args!("there is no file `{shown}`"));
            }
            Err(error) => self.problems.add(option, format_args!("cannot look at `{shown}`: {error}")),
        }
    }

    /// Checks that a file can be a disk, if it exists.
    pub fn need_disk(&mut self, option: &str, path: &Path) {
        let kind = path.metadata().map(|found| found.file_type());
        if kind.is_ok_and(|kind| !kind.is_file() && !kind.is_block_device()) {
            let what = format_args!("`{}` is neither a file nor a block device", path.display());
            self.problems.add(option, what);
        }
    }

    /// An image, or the one in a directory. QEMU would take an image of a foreign format for a raw disk, so that is a
    /// problem.
    pub fn image(&mut self, option: &str, path: &Path, name_in_directory: &str) -> PathBuf {
        let path = self.absolute(path);
        let path = if path.is_dir() { path.join(name_in_directory) } else { path };
        self.need_file(option, &path);
        // Opening a pipe would wait for its other end.
        if let Ok(found) = path.metadata()
            && found.is_file()
            && let Ok(file) = std::fs::File::open(&path)
            && let Ok(Some(foreign)) = Foreign::of(&file, found.len())
        {
            self.problems.add(option, format_args!("`{}` {}", path.display(), foreign.described(&path)));
        }
        path
    }

    /// What was found; an error becomes a problem of the option.
    pub fn found<T>(&mut self, option: &str, result: anyhow::Result<T>) -> Option<T> {
        result.map_err(|error| self.problems.add(option, hints::shown(&error))).ok()
    }
}

/// `PACKAGE/bin/NAME`, or the first `NAME` on `PATH`, if it is a program.
pub fn program(environment: &Environment, package: Option<&Path>, name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if let Some(package) = package {
        return Some(package.join("bin").join(name)).filter(is_program);
    }
    let path = environment.get("PATH").unwrap_or_default();
    let found = std::env::split_paths(path).map(|directory| directory.join(name)).find(is_program)?;
    std::path::absolute(found).ok()
}

/// As `readlink -f`: follows every link; the last name need not exist.
fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    let mut path = path.to_owned();
    // As many links as Linux follows.
    for _ in 0..40 {
        if let Ok(found) = path.canonicalize() {
            return Ok(found);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { break };
        let last = parent.canonicalize()?.join(name);
        match last.read_link() {
            // The link's target does not exist yet.
            Ok(target) => path = last.with_file_name("").join(target),
            Err(_) => return Ok(last),
        }
    }
    Err(std::io::Error::other("it leads through too many links"))
}
