//! What can be wrong with a system.

use std::io;
use std::path::PathBuf;

use super::SMALL_MAX;
use crate::error_kind::ErrorKind;
use crate::nix::store_path::ResolveError;

/// Why a system cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ToplevelError {
    /// A link of the toplevel, or a path in its `boot.json`, leads nowhere.
    #[error("cannot find the {what} of {toplevel}")]
    Resolve { what: &'static str, toplevel: String, source: ResolveError },
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Io { path: PathBuf, source: io::Error },
    /// Something that should be a file is not.
    #[error("the {what} `{path}` is not a regular file")]
    NotAFile { what: &'static str, path: PathBuf },
    /// A file without contents, such as a build that was interrupted leaves behind.
    #[error("the {what} `{path}` is empty (0 bytes), so that nothing would boot; build {toplevel} again")]
    Empty { what: &'static str, path: PathBuf, toplevel: String },
    /// A text or program of absurd length.
    #[error("`{path}` has more than {limit} bytes; is it the right file?", limit = SMALL_MAX)]
    TooLong { path: PathBuf },
    /// A text that is not UTF-8.
    #[error("`{path}` is not UTF-8 text")]
    NotText { path: PathBuf },
    /// `boot.json` is no JSON.
    #[error("`{path}` is not a bootspec of version 1")]
    NotJson { path: PathBuf, source: io::Error },
    /// A value in `boot.json` has another form than the bootspec or its extension gives it.
    #[error("`{path}` is not a bootspec of version 1: {} is wrong", place(.key))]
    Bootspec {
        path: PathBuf,
        /// The keys that lead to the value, with dots between them; empty for the whole document.
        key: String,
        source: io::Error,
    },
    /// `boot.json` has no bootspec that could be read.
    #[error(
        "`{path}` is not a bootspec of version 1, the only one that is read: it has no key `{key}`{}",
        instead(.found)
    )]
    NoBootspec {
        path: PathBuf,
        /// The keys that would lead to it, with dots between them.
        key: String,
        /// The keys that there are in its place.
        found: Vec<String>,
    },
    /// The system is to be started by Xen.
    #[error(
        "`{path}` asks for the Xen hypervisor (`{key}`), which is not installed here, and the menu would start Linux \
         without it; build the system with `virtualisation.xen.enable = false`"
    )]
    Xen {
        path: PathBuf,
        /// The extension, with the keys that lead to it.
        key: String,
    },
    /// A path in the bootspec is not UTF-8, or a name cannot be used in a boot menu.
    #[error("{toplevel} has an unusable {what}: {value:?}")]
    Unusable { toplevel: String, what: &'static str, value: String },
    /// There is no kernel version to name.
    #[error("`{path}` holds no directory named after the kernel's version")]
    NoKernelVersion { path: PathBuf },
}

impl ToplevelError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Resolve { .. } | Self::NoKernelVersion { .. } => ErrorKind::NotFound,
            Self::Io { source, .. } => ErrorKind::of(source),
            Self::TooLong { .. } => ErrorKind::TooLarge,
            Self::Xen { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::InvalidInput,
        }
    }
}

fn place(key: &str) -> String {
    if key.is_empty() { "the document".to_owned() } else { format!("its key `{key}`") }
}

fn instead(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!(", only `{}`", found.join("`, `")) }
}
