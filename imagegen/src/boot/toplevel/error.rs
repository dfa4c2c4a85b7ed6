//! What can be wrong with a system.

use std::io;

use super::SMALL_MAX;
use crate::nix::store_path::ResolveError;

/// Why a system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ToplevelError {
    /// A link of the toplevel, or a path in its `boot.json`, leads nowhere.
    #[error("cannot find the {what} of {toplevel}")]
    Resolve {
        /// What was looked for.
        what: &'static str,
        /// The system.
        toplevel: String,
        /// What stood in the way.
        source: ResolveError,
    },
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Io {
        /// The file on this machine.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something that should be a file is not.
    #[error("the {what} `{path}` is not a regular file")]
    NotAFile {
        /// What it should be.
        what: &'static str,
        /// The file on this machine.
        path: String,
    },
    /// A file without contents, such as a build that was interrupted leaves behind.
    #[error("the {what} `{path}` is empty (0 bytes), so that nothing would boot; build {toplevel} again")]
    Empty {
        /// What it should be.
        what: &'static str,
        /// The file in the store.
        path: String,
        /// The system that names it.
        toplevel: String,
    },
    /// A text or program of absurd length.
    #[error("`{path}` has more than {limit} bytes; is it the right file?", limit = SMALL_MAX)]
    TooLong {
        /// The file on this machine.
        path: String,
    },
    /// A text that is not UTF-8.
    #[error("`{path}` is not UTF-8 text")]
    NotText {
        /// The file on this machine.
        path: String,
    },
    /// `boot.json` is no JSON.
    #[error("`{path}` is not a bootspec of version 1")]
    NotJson {
        /// The file on this machine.
        path: String,
        /// What the parser found.
        source: serde_json::Error,
    },
    /// A value in `boot.json` has another form than the bootspec or its extension gives it.
    #[error("`{path}` is not a bootspec of version 1: {} is wrong", place(.key))]
    Bootspec {
        /// The file on this machine.
        path: String,
        /// The keys that lead to the value, with dots between them; empty for the whole document.
        key: String,
        /// What the parser found.
        source: serde_json::Error,
    },
    /// `boot.json` has no bootspec that could be read.
    #[error(
        "`{path}` is not a bootspec of version 1, the only one that is read: it has no key `{key}`{}",
        instead(.found)
    )]
    NoBootspec {
        /// The file on this machine.
        path: String,
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
        /// The file on this machine.
        path: String,
        /// The extension, with the keys that lead to it.
        key: String,
    },
    /// A path in the bootspec is not UTF-8, or a name cannot be used in a boot menu.
    #[error("{toplevel} has an unusable {what}: {value:?}")]
    Unusable {
        /// The system.
        toplevel: String,
        /// What it is.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// There is no kernel version to name.
    #[error("`{path}` holds no directory named after the kernel's version")]
    NoKernelVersion {
        /// The directory on this machine.
        path: String,
    },
}

fn place(key: &str) -> String {
    if key.is_empty() { "the document".to_owned() } else { format!("its key `{key}`") }
}

fn instead(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!(", only `{}`", found.join("`, `")) }
}
