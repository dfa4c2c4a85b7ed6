//! What can be wrong with a registration or references graph as text, and with paths that are to be a closure.

use std::path::PathBuf;

use crate::error_kind::ErrorKind;
use crate::nix::store_path::StorePath;

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

/// What is wrong in a registration, as far as it says what the file is in its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// What `nix-store --query --requisites` prints.
    #[error(
        "this is a list of store paths and tells nothing of them; `nix-store --dump-db` writes what the store knows \
         of them"
    )]
    PathsOnly,
    /// The whole file is of the other kind.
    #[error("this is a references graph, which has no hashes")]
    IsReferencesGraph,
    /// The whole file is of the other kind.
    #[error("this is a registration, which has hashes")]
    IsRegistration,
    /// The file is neither.
    #[error(
        "this is JSON, and no registration; a references graph may be what `nix path-info --json --recursive` prints, or a \
         derivation's `.attrs.json`"
    )]
    Json,
    /// The line is not what belongs there, or contradicts another one.
    #[error("{0}")]
    Line(String),
}

/// Paths that are no closure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ClosureError {
    /// A path is there twice.
    #[error("{0} is registered twice")]
    Duplicate(StorePath),
    /// A circle, in which no path could be registered first.
    #[error("{path} refers to {reference}, which leads back to it; no store registers paths in a circle")]
    Cycle { path: StorePath, reference: StorePath },
    /// A reference leads out of the set.
    #[error("{path} refers to {reference}, which is not among the paths; the closure is not complete")]
    MissingReference { path: StorePath, reference: StorePath },
}

impl RegistrationError {
    /// Always [`ErrorKind::InvalidInput`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

impl Problem {
    /// Tells of a text that begins as an object, a list or a string in JSON; it may have a byte order mark.
    pub(super) fn of_json(text: &[u8]) -> Option<Self> {
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        matches!(text.trim_ascii_start().first(), Some(b'{' | b'[' | b'"')).then_some(Self::Json)
    }

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
