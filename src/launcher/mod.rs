//! The launcher: from a virtual machine's options to a QEMU command line and the files it needs.
//!
//! Options, defaults and the form of the command line are those of NixOS's module `qemu-vm.nix` of 2021. Which
//! arguments QEMU gets is a pure function ([`command_line`]); what has to be there before is made by [`prepare`].

mod accelerator;
pub mod command_line;
pub mod config;
mod drives;
mod firmware;
mod network;
pub mod prepare;
mod shares;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use accelerator::{Accelerator, choose};
pub use config::Config;

/// The variables that the module's start script obeys.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The root disk, in the place of `diskImage`.
    pub disk_image: Option<PathBuf>,
    /// The EFI variables, in the place of `efiVars`.
    pub efi_vars: Option<PathBuf>,
    /// Where temporary directories are made.
    pub tmpdir: Option<PathBuf>,
    /// Take `TMPDIR` itself rather than a new directory in it.
    pub use_tmpdir: bool,
    /// More arguments for QEMU, split at white space as a shell would.
    pub qemu_opts: Option<OsString>,
    /// More options of the user network.
    pub qemu_net_opts: Option<OsString>,
    /// More kernel parameters, for direct boots.
    pub kernel_params: Option<OsString>,
    /// The directory shared as `shared`.
    pub shared_dir: Option<PathBuf>,
}

impl Environment {
    /// The process's own.
    pub fn of_process() -> Self {
        // To the script, empty and unset are the same.
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            disk_image: var("NIX_DISK_IMAGE").map(PathBuf::from),
            efi_vars: var("NIX_EFI_VARS").map(PathBuf::from),
            tmpdir: var("TMPDIR").map(PathBuf::from),
            use_tmpdir: var("USE_TMPDIR").is_some(),
            qemu_opts: var("QEMU_OPTS"),
            qemu_net_opts: var("QEMU_NET_OPTS"),
            kernel_params: var("QEMU_KERNEL_PARAMS"),
            shared_dir: var("SHARED_DIR").map(PathBuf::from),
        }
    }
}

/// Escapes a value for QEMU's comma-separated options: a comma is written twice (QEMU's manual, "-drive"). Whatever
/// the value is, it cannot become another option.
fn option_value(value: impl Into<OsString>) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let value = value.into();
    let mut escaped = Vec::with_capacity(value.len());
    for &byte in value.as_bytes() {
        escaped.push(byte);
        if byte == b',' {
            escaped.push(byte);
        }
    }
    OsString::from_vec(escaped)
}

/// `key=value,…` with the keys in order, as Nix orders attribute sets.
fn options<'a>(pairs: impl IntoIterator<Item = (&'a str, OsString)>) -> OsString {
    let sorted: std::collections::BTreeMap<&str, OsString> = pairs.into_iter().collect();
    let mut out = OsString::new();
    for (key, value) in sorted {
        if !out.is_empty() {
            out.push(",");
        }
        out.push(key);
        out.push("=");
        out.push(option_value(value));
    }
    out
}

/// An absolute path, without following links: QEMU runs in another directory than this program.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    use anyhow::Context;
    std::path::absolute(path).with_context(|| format!("cannot tell where `{}` is", path.display()))
}
