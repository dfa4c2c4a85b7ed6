//! GRUB for BIOS (its platform `i386-pc`), made from the files of a GRUB package without running GRUB's programs.
//!
//! The BIOS loads the [boot sector](install::boot_sector), which loads the first sector of the
//! [core image](core_image::CoreImage), whose block list loads the rest: a decompressor and, compressed, GRUB's
//! kernel and those [modules](modules::GrubDirectory) that find the file system of the [place](Place) where its files
//! are. From there GRUB reads its menu, [`grub.cfg`](config::grub_cfg), and every further module.

mod bz_image;
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
mod place;

pub use config::grub_cfg;
pub use core_image::{CoreImage, plan_core};
pub use error::GrubError;
pub use install::{Installation, boot_sector, install};
pub use modules::GrubDirectory;
pub use options::{Options, Resolution, ResolutionError, Serial, SerialError};
pub use package::Package;
pub use place::Place;

use super::Generations;
use crate::fs::file_source::{FileSource, NamedFile};

/// GRUB's block of variables, empty: `grub-reboot` and `save_env` change it in place and never make one.
const ENVIRONMENT_HEADER: &[u8] = b"# GRUB Environment Block\n";
const ENVIRONMENT_LENGTH: usize = 1024;

/// The files for the place that the options name: the menu, what GRUB loads for it, and every kernel and initrd in it,
/// once.
pub fn files(
    generations: &Generations,
    package: &Package,
    options: &Options,
) -> Result<Vec<NamedFile>, GrubError> {
    let mut environment = ENVIRONMENT_HEADER.to_vec();
    environment.resize(ENVIRONMENT_LENGTH, b'#');
    let place = options.place;
    let in_boot = |path: &str, content| NamedFile::new(place.in_boot(path), content);
    let mut files = vec![
        in_boot("grub/grub.cfg", FileSource::bytes(grub_cfg(generations, options)?.into_bytes())),
        in_boot("grub/grubenv", FileSource::bytes(environment)),
    ];
    for modules::DirectoryFile { name, path: physical, size } in package.directory().files_to_copy()? {
        files.push(in_boot(&format!("grub/i386-pc/{name}"), FileSource::File { physical, size }));
    }
    if options.resolution.is_some() {
        files.push(in_boot(config::FONT, package.font()?));
    }
    if place.copies_kernels() {
        for boot in generations.list().iter().flat_map(|generation| generation.system.boots()) {
            // A PC has no device tree.
            let both = std::iter::once(&boot.kernel).chain(&boot.initrd);
            files.extend(both.map(|file| NamedFile::new(place.path(file), file.content.clone())));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();
    Ok(files)
}
