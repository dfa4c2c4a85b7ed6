//! The launcher: from a virtual machine's options to a running QEMU.
//!
//! Options, defaults and the order of arguments are those of NixOS's module `qemu-vm.nix` of 2021. [`Config`] and
//! [`Environment`] are what the user says, [`host`] what there is on this machine; from these, [`plan`] works out
//! QEMU's arguments and the files to make before, touching nothing. Then images are provided ([`image_cache`]), files
//! made ([`make`]), and this process becomes QEMU, with a [`caretaker`] that cleans up behind it.

mod accelerator;
pub mod caretaker;
pub mod config;
mod drives;
mod environment;
pub mod exposure;
mod firmware;
#[cfg(test)]
mod golden_tests;
pub mod guest;
pub mod host;
pub mod image_cache;
pub mod make;
mod network;
pub mod plan;
pub mod platform;
mod private_directory;
pub mod qemu;
mod removal;
mod shares;
mod shell;
pub mod tpm;

use std::ffi::OsString;

pub use accelerator::{Accelerator, choose};
pub use config::Config;
pub use environment::Environment;

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
