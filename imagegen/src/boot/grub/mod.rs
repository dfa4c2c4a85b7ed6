//! GRUB for BIOS (its platform `i386-pc`), made from the files of a GRUB package without running GRUB's programs.
//!
//! The BIOS loads the [boot sector](install::boot_sector), which loads the first sector of the
//! [core image](core_image::CoreImage), whose block list loads the rest: a decompressor and, compressed, GRUB's
//! kernel and those [modules](modules::GrubDirectory) that find the EFI system partition. From there GRUB reads
//! its menu, [`grub.cfg`](config::grub_cfg), and every further module.

pub mod config;
pub mod core_image;
mod error;
pub mod install;
mod kernel_image;
mod kernel_parameters;
mod lzma;
pub mod modules;

pub use config::{Boot, Generation, Options, grub_cfg};
pub use core_image::{CoreImage, plan_core};
pub use error::GrubError;
pub use install::{Installation, boot_sector, install};
pub use modules::GrubDirectory;

/// The modules of the core image: the BIOS's disks, partition tables and FAT. GRUB loads all others from the
/// EFI system partition.
pub const CORE_MODULES: [&str; 4] = ["biosdisk", "part_gpt", "part_msdos", "fat"];

/// Where GRUB finds its files: the directory `grub` of the second partition of the disk that the BIOS booted
/// from, whatever its number. A device name that begins with a comma is on that disk.
pub const PREFIX: &str = "(,gpt2)/grub";
