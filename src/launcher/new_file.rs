//! Files that a plan has made before the machine starts.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use imagegen::container::{self, Format};
use imagegen::firmware::efi_vars::{self, LoadOption};
use imagegen::output::{Access, OutputFile};
use imagegen::units::ByteCount;

use super::private_directory::PrivateDirectory;
use crate::{input, small_file};

const MIB: u64 = 1 << 20;
/// More than a registration or the variables of any firmware have.
const COPIED_MAX: ByteCount = ByteCount(1 << 30);

/// A file to make. What the machine writes to is its user's alone.
pub enum NewFile {
    /// A directory, if there is none. `access` decides whether the guest's users can read it.
    Directory { path: PathBuf, access: Access },
    /// An empty qcow2 disk, if there is no file.
    EmptyDisk { path: PathBuf, mib: u64 },
    /// A writable layer over `backing`. Replaces any earlier one.
    Overlay { path: PathBuf, backing: PathBuf },
    /// A copy, which replaces any earlier one if it is to be `fresh`.
    Copy { from: PathBuf, to: PathBuf, access: Access, fresh: bool },
    /// A copy of EFI variables with another boot entry, if there is no file.
    Variables { from: PathBuf, to: PathBuf, entry: LoadOption },
}

impl NewFile {
    /// Where the file is made.
    pub fn path(&self) -> &Path {
        match self {
            Self::Directory { path, .. }
            | Self::EmptyDisk { path, .. }
            | Self::Overlay { path, .. }
            | Self::Copy { to: path, .. }
            | Self::Variables { to: path, .. } => path,
        }
    }

    /// Makes the file.
    pub fn make(&self) -> anyhow::Result<()> {
        match self {
            Self::Directory { path, access: Access::Private } => {
                PrivateDirectory::create_there(path).map(drop)
            }
            Self::Directory { path, .. } => open_directory(path),
            Self::EmptyDisk { path, .. }
            | Self::Copy { to: path, fresh: false, .. }
            | Self::Variables { to: path, .. }
                if path.exists() =>
            {
                Ok(())
            }
            Self::EmptyDisk { path, mib } => {
                empty_disk(path, *mib).with_context(|| format!("cannot create the disk `{}`", path.display()))
            }
            Self::Overlay { path, backing } => overlay(path, backing)
                .with_context(|| format!("cannot put a writable layer over `{}`", backing.display())),
            Self::Variables { from, to, entry } => variables(from, to, entry)
                .with_context(|| format!("cannot make the EFI variables `{}`", to.display())),
            Self::Copy { from, to, access, fresh } => {
                let copy = copy(from, to, *access)?;
                // Another machine may have been faster, and use its copy by now.
                let made = if *fresh { copy.finish() } else { copy.finish_if_new().map(drop) };
                made.with_context(|| format!("cannot create `{}`", to.display()))
            }
        }
    }
}

fn variables(from: &Path, to: &Path, entry: &LoadOption) -> anyhow::Result<()> {
    let template = input::read(from, COPIED_MAX)?;
    let made = efi_vars::from_template(&template, Some(entry))
        .with_context(|| format!("cannot use the template `{}`", from.display()))?;
    let output = OutputFile::create_for(to, Access::Private)?;
    small_file::fill(output.file(), &made)?;
    Ok(output.finish_if_new().map(drop)?)
}

/// Makes a directory whose readers the umask decides.
fn open_directory(path: &Path) -> anyhow::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            PrivateDirectory::create_there(path).map(drop)
        }
        made => made.with_context(|| format!("cannot create `{}`", path.display())),
    }
}

fn empty_disk(path: &Path, mib: u64) -> anyhow::Result<()> {
    let output = OutputFile::create_for(path, Access::Private)?;
    let size = mib.checked_mul(MIB).context("that is more than a disk can have")?;
    container::create_empty(output.file(), Format::Qcow2, ByteCount(size))?;
    Ok(output.finish_if_new().map(drop)?)
}

fn overlay(path: &Path, backing: &Path) -> anyhow::Result<()> {
    let file = File::open(backing)?;
    let format = container::detect_format(&file)?;
    let size = container::virtual_size(&file, format)?;
    let output = OutputFile::create_for(path, Access::Private)?;
    container::create_overlay(output.file(), backing, format, size)
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(output.finish()?)
}

fn copy(from: &Path, to: &Path, access: Access) -> anyhow::Result<OutputFile> {
    let context = || format!("cannot copy `{}` to `{}`", from.display(), to.display());
    let bytes = input::read(from, COPIED_MAX).with_context(context)?;
    let output = OutputFile::create_for(to, access).with_context(context)?;
    small_file::fill(output.file(), &bytes).with_context(context)?;
    Ok(output)
}
