//! Makes the files of a plan.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use imagegen::container::{self, Format};
use imagegen::output::{Access, OutputFile};
use imagegen::units::ByteCount;

use super::host::EXCHANGE;
use super::plan::NewFile;
use super::private_directory::PrivateDirectory;
use crate::{input, small_file};

const MIB: u64 = 1 << 20;
/// More than a registration or the variables of any firmware have.
const COPIED_MAX: ByteCount = ByteCount(1 << 30);

/// Makes one file of a plan. What the machine writes to is its user's alone.
pub fn make(file: &NewFile) -> anyhow::Result<()> {
    match file {
        NewFile::Directory(path) => {
            PrivateDirectory::create_there(path).map(drop).map_err(anyhow::Error::from)
        }
        NewFile::OpenDirectory(path) => open_directory(path),
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
            let output = copy(from, to, Access::Private)?;
            // Another machine may have been faster, and use it by now.
            output.finish_if_new().map(drop).with_context(|| format!("cannot create `{}`", to.display()))
        }
        NewFile::FreshCopy { from, to, access } => Ok(copy(from, to, *access)?
            .finish()
            .with_context(|| format!("cannot create `{}`", to.display()))?),
    }
}

/// Where the umask lets them, users of the guest can read in it.
fn open_directory(path: &Path) -> anyhow::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Ok(PrivateDirectory::create_there(path).map(drop)?)
        }
        made => made.with_context(|| format!("cannot create `{}`", path.display())),
    }
}

fn empty_disk(path: &Path, mib: u64) -> anyhow::Result<()> {
    let output = OutputFile::create_for(path, Access::Private)?;
    let size = mib.checked_mul(MIB).context("that is more than a disk can have")?;
    container::create_empty(output.file(), Format::Qcow2, ByteCount(size))?;
    output.finish_if_new()?;
    Ok(())
}

fn overlay(path: &Path, backing: &Path) -> anyhow::Result<()> {
    let file = File::open(backing)?;
    let format = container::detect_format(&file)?;
    let size = container::virtual_size(&file, format)?;
    let output = OutputFile::create_for(path, Access::Private)?;
    container::create_overlay(output.file(), backing, format, size)?;
    output.finish()?;
    Ok(())
}

fn copy(from: &Path, to: &Path, access: Access) -> anyhow::Result<OutputFile> {
    let context = || format!("cannot copy `{}` to `{}`", from.display(), to.display());
    let bytes = input::read(from, COPIED_MAX).with_context(context)?;
    let output = OutputFile::create_for(to, access).with_context(context)?;
    small_file::fill(output.file(), &bytes).with_context(context)?;
    Ok(output)
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
        if !directory.is_dir() {
            bail!("TMPDIR: there is no directory `{}`", directory.display());
        }
        let remedy = "USE_TMPDIR: TMPDIR must be a directory of your own, as `mkdir -m 700` makes it";
        let own = PrivateDirectory::open(directory).and_then(PrivateDirectory::own).context(remedy)?;
        own.close_within(EXCHANGE).context(remedy)?;
        return Ok(WorkingDirectory::Kept(own.path().to_owned()));
    }
    let parent = tmpdir.unwrap_or(Path::new("/tmp"));
    let context = || format!("cannot create a directory in `{}`", parent.display());
    let absolute = std::path::absolute(parent).with_context(context)?;
    let only_owner = || Permissions::from_mode(0o700);
    let mut new = tempfile::Builder::new();
    let directory =
        new.prefix("nix-vm.").permissions(only_owner()).tempdir_in(absolute).with_context(context)?;
    // What an unusual umask took from the owner.
    fs::set_permissions(directory.path(), only_owner()).with_context(context)?;
    Ok(WorkingDirectory::Made(directory))
}
