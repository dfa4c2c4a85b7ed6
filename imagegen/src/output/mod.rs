//! Outputs: files that appear whole or not at all, and block devices.

mod access;
mod device;
mod file;
mod magic;
mod temporary_name;

use std::io;
use std::path::{Path, PathBuf};

use crate::error_kind::ErrorKind;
use crate::units::ByteCount;

pub use access::Access;
pub use device::{OutputDevice, half_written};
pub use file::OutputFile;
pub use temporary_name::remove_unfinished;

/// The target could not be opened, or not be put in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum OutputError {
    /// The directory is missing or cannot be written.
    #[error("cannot create `{target}` in `{directory}`; the directory must exist and be writable")]
    Create { target: PathBuf, directory: PathBuf, source: io::Error },
    /// Something other than a regular file has the name.
    #[error("`{target}` is a {kind}; name a regular file or a new one")]
    NotAFile { target: PathBuf, kind: &'static str },
    /// The device cannot be had, or not alone.
    #[error("cannot open the block device `{target}`{}", in_use(.source))]
    OpenDevice { target: PathBuf, source: io::Error },
    /// The image is larger than the device.
    #[error("`{target}` is too small: it has {available} ({} bytes), and the image {size} ({} bytes)", .available.0, .size.0)]
    DeviceTooSmall { target: PathBuf, size: ByteCount, available: ByteCount },
    /// What was written is not all on the device.
    #[error("the device `{target}` did not take all that was written to it")]
    FlushDevice { target: PathBuf, source: io::Error },
    /// A link to what is open already, such as standard output.
    #[error("`{}` leads to a file that is open already; name a regular file or a new one", .0.display())]
    OpenFile(PathBuf),
    /// The word for standard output.
    #[error("`-` stands for standard output, where this cannot be written; `./-` is a file of that name")]
    StandardOutput,
    /// What was written is perhaps not all on the disk.
    #[error("cannot flush `{target}` to the disk")]
    Flush { target: PathBuf, source: io::Error },
    /// The path ends in `/`, `..` or nothing.
    #[error("`{}` has no file name", .0.display())]
    NoName(PathBuf),
    /// The finished file could not be given its name.
    #[error("cannot put the finished file in place as `{target}`")]
    Finish { target: PathBuf, source: io::Error },
}

impl OutputError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Create { source, .. }
            | Self::OpenDevice { source, .. }
            | Self::FlushDevice { source, .. }
            | Self::Flush { source, .. }
            | Self::Finish { source, .. } => ErrorKind::of(source),
            Self::DeviceTooSmall { .. } => ErrorKind::TooLarge,
            Self::NotAFile { .. } | Self::OpenFile(_) | Self::StandardOutput | Self::NoName(_) => {
                ErrorKind::InvalidInput
            }
        }
    }
}

/// What helps against a device that is in use.
fn in_use(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ResourceBusy => {
            "; unmount it, and take it out of any swap or other device that it is a part of"
        }
        _ => "",
    }
}

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
