//! Why a file of the source could not be copied into the image.

use std::io;
use std::path::{Path, PathBuf};

use crate::error_kind::ErrorKind;

/// Why a file could not be copied into the image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadError {
    /// The source.
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file systems can share blocks, but something else failed.
    #[error("cannot share the blocks of `{}` with the image", path.display())]
    Share { path: PathBuf, source: io::Error },
    /// The source is not what it was when it was scanned.
    #[error("`{}` changed while it was read: {change}; nothing may write to the store meanwhile", path.display())]
    Changed { path: PathBuf, change: String },
    /// Another thread has failed; its error is the one to show.
    #[error("stopped because of another error")]
    Stopped,
}

impl ReadError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Share { source, .. } => ErrorKind::of(source),
            Self::Changed { .. } => ErrorKind::Mismatch,
            Self::Stopped => ErrorKind::Io,
        }
    }

    pub(super) fn read(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    pub(super) fn changed(path: &Path) -> impl Fn(String) -> Self {
        move |change| Self::Changed { path: path.to_owned(), change }
    }
}
