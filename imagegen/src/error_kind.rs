//! What kind of failure an error is, for callers that decide by it; its text is for people.

use std::fmt;
use std::io;
use std::panic::Location;

/// The kinds of failure. Every error of this library has a `kind()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What the caller gave is wrong: a name, a number, a file's contents. The same call fails again.
    InvalidInput,
    /// The input is right, and this library does not support it.
    Unsupported,
    /// The input is right, and larger than a format, or a limit of this library, allows.
    TooLarge,
    /// A file that is needed is not there.
    NotFound,
    /// Contents are not what a hash, a size or an earlier look at them says; they may have changed in between.
    Mismatch,
    /// The system said no; the error's source says why. Another try may succeed.
    Io,
    /// This library contradicts itself; please report it.
    Internal,
}

impl ErrorKind {
    /// The kind of an error of the system, or of an error of this library that travelled as one.
    pub(crate) fn of(error: &io::Error) -> Self {
        if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<InternalError>) {
            return Self::Internal;
        }
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            _ => Self::Io,
        }
    }
}

/// The library contradicts itself: a plan was not kept, or a number does not fit where the plan put it. Nothing that a
/// caller gives may lead here, and no image is written then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalError {
    problem: String,
    place: &'static Location<'static>,
}

impl InternalError {
    /// With the line that calls this.
    #[track_caller]
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), place: Location::caller() }
    }

    /// Always [`ErrorKind::Internal`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// A failure that only its text tells from others of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    kind: ErrorKind,
    text: String,
}

impl Failure {
    /// What the caller gave is wrong.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self { kind: ErrorKind::InvalidInput, text: text.into() }
    }

    /// What the caller gave is right and not supported.
    pub(crate) fn unsupported(text: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Unsupported, text: text.into() }
    }

    /// What the caller gave is larger than a format or a limit allows.
    pub(crate) fn too_large(text: impl Into<String>) -> Self {
        Self { kind: ErrorKind::TooLarge, text: text.into() }
    }

    /// Contents are not what a checksum says.
    pub(crate) fn mismatch(text: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Mismatch, text: text.into() }
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for InternalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "internal error: {} ({}); please report it", self.problem, self.place)
    }
}

impl std::error::Error for InternalError {}

impl From<InternalError> for io::Error {
    fn from(error: InternalError) -> Self {
        Self::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_error_that_travels_as_one_of_the_system() {
        let internal = InternalError::new("7 is odd");
        assert!(internal.to_string().contains("7 is odd (imagegen/src/error_kind.rs:"), "{internal}");
        assert_eq!(internal.kind(), ErrorKind::Internal);
        assert_eq!(ErrorKind::of(&internal.into()), ErrorKind::Internal);
        assert_eq!(ErrorKind::of(&io::ErrorKind::NotFound.into()), ErrorKind::NotFound);
        assert_eq!(ErrorKind::of(&io::ErrorKind::StorageFull.into()), ErrorKind::Io);
    }
}
