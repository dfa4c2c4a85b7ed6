//! What can go wrong between a GRUB package and a disk that boots by it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::package::PLATFORM;
use crate::boot::toplevel::ToplevelError;
use crate::error_kind::ErrorKind;
use crate::nix::store_path::{ResolveError, StorePath};

/// GRUB cannot be installed as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum GrubError {
    /// A file or directory of the GRUB package could not be read.
    #[error("cannot read `{file}` of GRUB; the GRUB package must hold the BIOS platform, lib/grub/i386-pc")]
    Read { file: PathBuf, source: io::Error },
    /// A file of the GRUB package is not what its name says.
    #[error("{0}")]
    Damaged(String),
    /// More than fits into a format, into memory, on the disk or into a kernel's command line.
    #[error("{0}")]
    TooLarge(String),
    /// What is to be booted, or where, is nothing that GRUB could start.
    #[error("{0}")]
    Invalid(String),
    /// GRUB runs on other machines only, or would change a parameter.
    #[error("{0}")]
    Unsupported(String),
    /// The encoder failed.
    #[error("cannot compress the core image of GRUB")]
    Compress(#[source] io::Error),
    /// The toplevel leads to no GRUB.
    #[error("{toplevel} refers to no GRUB for BIOS")]
    NotReferredTo { toplevel: StorePath },
    /// The toplevel leads to several.
    #[error("{toplevel} refers to {first} and to {second}")]
    Ambiguous { toplevel: StorePath, first: StorePath, second: StorePath },
    /// The store path that was named has no GRUB for BIOS.
    #[error("`{grub}` is not a GRUB for BIOS, with `{PLATFORM}`")]
    NotGrub { grub: StorePath, source: ResolveError },
    /// A menu in graphics needs a font.
    #[error("cannot find a font for a menu in graphics")]
    Font { source: ResolveError },
    /// What may lead to a GRUB cannot be read.
    #[error(transparent)]
    Toplevel(#[from] ToplevelError),
}

impl GrubError {
    /// A file that is not GRUB's image of that name.
    pub(super) fn not_an_image(file: &Path, problem: impl fmt::Display) -> Self {
        Self::Damaged(format!("`{}` is not GRUB's image of that name: {problem}", file.display()))
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Compress(source) => ErrorKind::of(source),
            Self::TooLarge(_) => ErrorKind::TooLarge,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::NotReferredTo { .. } | Self::NotGrub { .. } | Self::Font { .. } => ErrorKind::NotFound,
            Self::Toplevel(error) => error.kind(),
            Self::Damaged(_) | Self::Invalid(_) | Self::Ambiguous { .. } => ErrorKind::InvalidInput,
        }
    }
}
