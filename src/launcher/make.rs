//! Makes the files of a plan.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use imagegen::container::{self, Format};
use imagegen::output::OutputFile;
use imagegen::units::ByteCount;

use super::plan::NewFile;
use crate::small_file;

const MIB: u64 = 1 << 20;

/// Makes one file of a plan.
pub fn make(file: &NewFile) -> anyhow::Result<()> {
    match file {
        NewFile::Directory(path) => {
            fs::create_dir_all(path).with_context(|| format!("cannot create `{}`", path.display()))
        }
        NewFile::EmptyDisk { path, mib } => {
            if path.exists() {
                return Ok(());
            }
            empty_disk(path, *mib).with_context(|| format!("cannot create the disk `{}`", path.display()))
        }
        NewFile::Overlay { path, backing } => overlay(path, backing)
            .with_context(|| format!("cannot put a writable layer over `{}`", backing.display())),
        NewFile::Copy { from, to } => {
            if to.exists() {
                return Ok(());
            }
            let output = copy(from, to)?;
            // Another machine may have been faster, and use it by now.
            output.finish_if_new().map(drop).with_context(|| format!("cannot create `{}`", to.display()))
        }
        NewFile::FreshCopy { from, to } => {
            Ok(copy(from, to)?.finish().with_context(|| format!("cannot create `{}`", to.display()))?)
        }
    }
}

fn empty_disk(path: &Path, mib: u64) -> anyhow::Result<()> {
    let output = OutputFile::create(path)?;
    let size = mib.checked_mul(MIB).context("that is more than a disk can have")?;
    container::create_empty(output.file(), Format::Qcow2, ByteCount(size))?;
    output.finish_if_new()?;
    Ok(())
}

fn overlay(path: &Path, backing: &Path) -> anyhow::Result<()> {
    let file = File::open(backing)?;
    let format = container::detect_format(&file)?;
    let size = container::virtual_size(&file, format)?;
    let output = OutputFile::create(path)?;
    container::create_overlay(output.file(), backing, format, size)?;
    output.finish()?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<OutputFile> {
    let context = || format!("cannot copy `{}` to `{}`", from.display(), to.display());
    let bytes = fs::read(from).with_context(context)?;
    small_file::writable(to, &bytes).with_context(context)
}

/// QEMU's directory: `TMPDIR` itself, or one that was made for this machine.
pub enum WorkingDirectory {
    /// It stays.
    Kept(PathBuf),
    /// It is removed with the value.
    Made(tempfile::TempDir),
}

impl WorkingDirectory {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Made(directory) => directory.path(),
        }
    }

    /// What has to be removed when the machine has ended.
    pub fn removable(&self) -> Option<&Path> {
        match self {
            Self::Kept(_) => None,
            Self::Made(directory) => Some(directory.path()),
        }
    }

    /// Keeps it from being removed with the value.
    pub fn keep(self) -> PathBuf {
        match self {
            Self::Kept(path) => path,
            Self::Made(directory) => directory.keep(),
        }
    }
}

/// `TMPDIR` itself where `USE_TMPDIR` says so, or a new directory in it.
pub fn working_directory(environment: &super::Environment) -> anyhow::Result<WorkingDirectory> {
    let tmpdir = environment.path("TMPDIR");
    if let Some(directory) = tmpdir.filter(|_| environment.get("USE_TMPDIR").is_some()) {
        let found = directory.canonicalize().and_then(|path| path.read_dir().map(|_| path));
        let found =
            found.with_context(|| format!("TMPDIR: there is no directory `{}`", directory.display()))?;
        return Ok(WorkingDirectory::Kept(found));
    }
    let parent = tmpdir.unwrap_or(Path::new("/tmp"));
    let context = || format!("cannot create a directory in `{}`", parent.display());
    let absolute = std::path::absolute(parent).with_context(context)?;
    let directory = tempfile::Builder::new().prefix("nix-vm.").tempdir_in(absolute).with_context(context)?;
    Ok(WorkingDirectory::Made(directory))
}
