//! What can be wrong with a system.

use std::io;
use std::path::{Path, PathBuf};

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
    /// A file, name or value that nothing can be booted from, or that no boot menu can hold.
    #[error("{0}")]
    Unusable(String),
    /// A text or program of absurd length.
    #[error("`{}` has more than {SMALL_MAX} bytes; is it the right file?", .0.display())]
    TooLong(PathBuf),
    /// `boot.json` is no JSON, or a value in it has another form than the bootspec or its extension gives it.
    #[error("`{path}` is not a bootspec of version 1{}", place(.key.as_deref()))]
    Bootspec {
        path: PathBuf,
        /// The keys that lead to the value, with dots between them; empty for the whole document.
        key: Option<String>,
        source: io::Error,
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
            Self::TooLong(_) => ErrorKind::TooLarge,
            Self::Xen { .. } => ErrorKind::Unsupported,
            Self::Unusable(_) | Self::Bootspec { .. } => ErrorKind::InvalidInput,
        }
    }

    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn not_a_file(what: &str, path: &Path) -> Self {
        Self::Unusable(format!("the {what} `{}` is not a regular file", path.display()))
    }
}

fn place(key: Option<&str>) -> String {
    match key {
        None => String::new(),
        Some("") => ": the document is wrong".to_owned(),
        Some(key) => format!(": its key `{key}` is wrong"),
    }
}
