//! What can be wrong with a registration or references graph as text, and with paths that are to be a closure.

use std::path::PathBuf;

use crate::error_kind::ErrorKind;
use crate::nix::store_path::{StorePath, StorePathError};
use crate::text::excerpt;

/// What is wrong with a registration, and in which line.
#[derive(Debug, thiserror::Error)]
#[error("{}, line {line}: {problem}", file.display())]
pub struct RegistrationError {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// The kinds of mistakes in a registration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not UTF-8, hence no store path either.
    #[error("the line is not text (UTF-8)")]
    NotText,
    /// Already the first line is wrong.
    #[error("{problem}; this is no {what}, is it the right file?")]
    WrongFile {
        /// What it should be.
        what: &'static str,
        /// What is wrong with the first line.
        problem: Box<Self>,
    },
    /// What `nix-store --query --requisites` prints.
    #[error(
        "this is a list of store paths and tells nothing of them; `nix-store --dump-db` writes what the store knows \
         of them"
    )]
    PathsOnly,
    /// The path line.
    #[error("not a store path: {0}")]
    Path(StorePathError),
    /// A reference line.
    #[error("the reference is not a store path: {0}")]
    Reference(StorePathError),
    /// The deriver's line.
    #[error("the deriver is not a store path: {0}; leave the line empty if there is none")]
    Deriver(StorePathError),
    /// The whole file is of the other kind.
    #[error("this is a references graph, which has no hashes")]
    IsReferencesGraph,
    /// The whole file is of the other kind.
    #[error("this is a registration, which has hashes")]
    IsRegistration,
    /// The file is neither.
    #[error("this is JSON; a references graph may be what `nix path-info --json --recursive` prints")]
    Json,
    /// The hash line.
    #[error(
        "`{}` is not a SHA-256 hash: write 64 hexadecimal or 52 base-32 digits, with or without `sha256:`, or \
         `sha256-` and base 64",
        excerpt(.0)
    )]
    Hash(String),
    /// The size or the number of references.
    #[error("`{}` is not {what}", excerpt(.text))]
    Number {
        /// What was expected.
        what: &'static str,
        /// What is there.
        text: String,
    },
    /// The file ends inside a record.
    #[error("the file ends where {missing} of {path} should be; it is cut off")]
    Truncated {
        /// The line that is missing.
        missing: &'static str,
        /// The path of the record.
        path: StorePath,
    },
    /// The path has been registered before.
    #[error("{path} is registered twice, first in line {first}")]
    Duplicate {
        /// The path.
        path: StorePath,
        /// The line of its first record.
        first: usize,
    },
    /// The reference has no record.
    #[error("{path} refers to {reference}, which is not registered; the closure is not complete")]
    MissingReference {
        /// The path whose record it is.
        path: StorePath,
        /// The path that is missing.
        reference: StorePath,
    },
}

/// Paths that are no closure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClosureError {
    /// A path is there twice.
    #[error("{0} is registered twice")]
    Duplicate(StorePath),
    /// A circle, in which no path could be registered first.
    #[error("{path} refers to {reference}, which leads back to it; no store registers paths in a circle")]
    Cycle {
        /// The path.
        path: StorePath,
        /// The reference that closes the circle.
        reference: StorePath,
    },
    /// A reference leads out of the set.
    #[error("{path} refers to {reference}, which is not among the paths; the closure is not complete")]
    MissingReference {
        /// The path.
        path: StorePath,
        /// The path that is missing.
        reference: StorePath,
    },
}

impl RegistrationError {
    /// Always [`ErrorKind::InvalidInput`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

impl ClosureError {
    /// Always [`ErrorKind::InvalidInput`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}
