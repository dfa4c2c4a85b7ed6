//! The launcher: from a virtual machine's options to a running QEMU.
//!
//! Options, defaults and the order of arguments are those of NixOS's module `qemu-vm.nix` of 2021. [`Config`] and
//! [`Environment`] are what the user says, [`host`] finds what this machine has. From these, [`plan`] works out
//! QEMU's arguments and the files to make, and touches nothing. Then [`image_cache`] provides the images, the plan's
//! files are made, and this process becomes QEMU, with a process beside it that does the [`cleanup`].

mod accelerator;
pub mod cleanup;
pub mod config;
mod direct_boot;
mod drives;
mod environment;
mod firmware;
#[cfg(test)]
mod golden_tests;
pub mod guest;
pub mod host;
pub mod image_cache;
mod network;
mod new_file;
pub mod of_image;
mod own_disks;
pub mod plan;
pub mod platform;
mod private_directory;
pub mod qemu;
pub mod screen;
mod search;
mod shared_directories;
mod shell;
mod toplevel;
pub mod tpm;
pub mod warnings;
mod working_directory;

pub use accelerator::{Accelerator, choose};
pub use config::Config;
pub use environment::Environment;
pub use working_directory::WorkingDirectory;
