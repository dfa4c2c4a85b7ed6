//! GRUB for BIOS (its platform `i386-pc`), made from the files of a GRUB package without running GRUB's programs.
//!
//! The BIOS loads the [boot sector](install::boot_sector), which loads the first sector of the
//! [core image](core_image::CoreImage), whose block list loads the rest: a decompressor and, compressed, GRUB's
//! kernel and those [modules](modules::GrubDirectory) that find the file system of the
//! [boot directory](BootDirectory) with its files. From there GRUB reads its menu, [`grub.cfg`](config::grub_cfg), and every further module.

mod boot_directory;
mod bz_image;
pub mod config;
pub mod core_image;
mod error;
pub mod install;
mod kernel_image;
mod kernel_parameters;
mod lzma;
pub mod modules;
mod package;
mod script;

pub use boot_directory::BootDirectory;
pub use config::grub_cfg;
pub use core_image::{CoreImage, plan_core};
pub use error::GrubError;
pub use install::{Installation, boot_sector, install};
pub use modules::GrubDirectory;
pub use package::Package;

use super::{Generations, Menu};
use crate::fs::file_source::{FileSource, NamedFile};

/// GRUB's block of variables, empty: `grub-reboot` and `save_env` change it in place and never make one.
const ENVIRONMENT_HEADER: &[u8] = b"# GRUB Environment Block\n";
const ENVIRONMENT_LENGTH: usize = 1024;

/// The files of the boot directory: the menu, what GRUB loads for it, and every kernel and initrd in it, once.
pub fn files(
    generations: &Generations,
    package: &Package,
    directory: BootDirectory,
    menu: &Menu,
) -> Result<Vec<NamedFile>, GrubError> {
    let mut environment = ENVIRONMENT_HEADER.to_vec();
    environment.resize(ENVIRONMENT_LENGTH, b'#');
    let in_boot = |path: &str, content| NamedFile::new(directory.path(path), content);
    let mut files = vec![
        in_boot("grub/grub.cfg", FileSource::bytes(grub_cfg(generations, directory, menu)?.into_bytes())),
        in_boot("grub/grubenv", FileSource::bytes(environment)),
    ];
    for (name, content) in package.directory.files_to_copy()? {
        files.push(in_boot(&format!("grub/i386-pc/{name}"), content));
    }
    if menu.resolution.is_some() {
        files.push(in_boot(config::FONT, package.font()?));
    }
    if directory.copies_kernels() {
        for boot in generations.list().iter().flat_map(|generation| generation.system.boots()) {
            // A PC has no device tree.
            let both = std::iter::once(&boot.kernel).chain(&boot.initrd);
            files.extend(
                both.map(|file| NamedFile::new(directory.path_of_kernel(file), file.content.clone())),
            );
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();
    Ok(files)
}
