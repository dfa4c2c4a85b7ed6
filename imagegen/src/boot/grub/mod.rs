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
mod options;
mod package;

pub use config::grub_cfg;
pub use core_image::{CoreImage, plan_core};
pub use error::GrubError;
pub use install::{Installation, boot_sector, install};
pub use modules::GrubDirectory;
pub use options::{Options, Resolution, ResolutionError, Serial, SerialError};
pub use package::Package;

use super::Generations;
use crate::content::{Content, NamedContent};

/// The modules of the core image: the BIOS's disks, partition tables and FAT. GRUB loads all others from the
/// EFI system partition.
pub const CORE_MODULES: [&str; 4] = ["biosdisk", "part_gpt", "part_msdos", "fat"];

/// Where GRUB finds its files: the directory `grub` of the second partition of the disk that the BIOS booted
/// from, whatever its number. A device name that begins with a comma is on that disk.
pub const PREFIX: &str = "(,gpt2)/grub";

/// GRUB's block of variables, empty: `grub-reboot` and `save_env` change it in place and never make one.
const ENVIRONMENT_HEADER: &[u8] = b"# GRUB Environment Block\n";
const ENVIRONMENT_LENGTH: usize = 1024;

/// The files of the EFI system partition: the menu, what GRUB loads for it, and every kernel and initrd in it, once.
pub fn files(
    generations: &Generations,
    package: &Package,
    options: &Options,
) -> Result<Vec<NamedContent>, GrubError> {
    let mut environment = ENVIRONMENT_HEADER.to_vec();
    environment.resize(ENVIRONMENT_LENGTH, b'#');
    let mut files = vec![
        NamedContent::new("grub/grub.cfg", Content::bytes(grub_cfg(generations, options)?.into_bytes())),
        NamedContent::new("grub/grubenv", Content::bytes(environment)),
    ];
    for modules::DirectoryFile { name, path: physical, size } in package.directory().files_to_copy()? {
        files.push(NamedContent::new(format!("grub/i386-pc/{name}"), Content::File { physical, size }));
    }
    if options.resolution.is_some() {
        files.push(NamedContent::new(config::FONT, package.font()?));
    }
    for boot in generations.list().iter().flat_map(|generation| generation.system.boots()) {
        // A PC has no device tree.
        let both = std::iter::once(&boot.kernel).chain(&boot.initrd);
        files.extend(
            both.map(|file| NamedContent::new(config::path_on_boot_partition(file), file.content.clone())),
        );
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();
    Ok(files)
}
