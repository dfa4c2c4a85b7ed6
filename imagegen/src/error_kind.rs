//! What kind of failure an error is, for callers that decide by it; its text is for people.

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
