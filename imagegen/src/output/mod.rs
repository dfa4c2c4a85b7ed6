//! Outputs: files that appear whole or not at all, and block devices.

mod access;
mod device;
mod file;
mod magic;
pub mod removal;
mod temporary_name;
mod tree;

use std::io;
use std::path::{Path, PathBuf};

use crate::error_kind::ErrorKind;
use crate::units::ByteCount;

pub use access::Access;
pub use device::{OutputDevice, half_written};
pub use file::OutputFile;
pub use temporary_name::remove_unfinished;
pub use tree::OutputTree;

/// The target could not be opened, or not be put in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum OutputError {
    /// The file or device cannot be created, opened, flushed or put in place.
    #[error("{problem}")]
    Io { target: PathBuf, problem: String, source: io::Error },
    /// The image is larger than the device.
    #[error("`{target}` is too small: it has {available} ({} bytes), and the image {size} ({} bytes)", .available.0, .size.0)]
    DeviceTooSmall { target: PathBuf, size: ByteCount, available: ByteCount },
    /// What has the name is nothing that could be replaced.
    #[error("{problem}")]
    Target { target: PathBuf, problem: String },
}

impl OutputError {
    fn io(target: &Path, problem: String, source: io::Error) -> Self {
        Self::Io { target: target.to_owned(), problem, source }
    }

    fn target(target: &Path, problem: String) -> Self {
        Self::Target { target: target.to_owned(), problem }
    }

    fn not_created(target: &Path, source: io::Error) -> Self {
        let (shown, directory) = (target.display(), directory_of(target).display());
        let advice = "the directory must exist and be writable";
        Self::io(target, format!("cannot create `{shown}` in `{directory}`; {advice}"), source)
    }

    fn not_in_place(target: &Path, source: io::Error) -> Self {
        let problem = format!("cannot put the finished file in place as `{}`", target.display());
        Self::io(target, problem, source)
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => ErrorKind::of(source),
            Self::DeviceTooSmall { .. } => ErrorKind::TooLarge,
            Self::Target { .. } => ErrorKind::InvalidInput,
        }
    }
}

/// The directory in which a file is to be, whose path may be its name alone.
pub fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
