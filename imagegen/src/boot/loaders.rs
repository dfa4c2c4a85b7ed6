//! What boot loaders put on a disk, whatever partitions it has.

use super::grub::core_image::Sector;
use super::grub::{self, CoreImage, GrubDirectory, GrubError, Installation};
use crate::disk::mbr::Partition;
use crate::fs::file_source::NamedFile;

/// What the boot loaders put on a disk.
#[derive(Debug, Clone, Default)]
pub struct Loaders {
    /// The files of the file system that they read, which NixOS mounts on `/boot`, or on `/`.
    pub files: Vec<NamedFile>,
    /// What a BIOS starts, if it is to start anything.
    pub grub: Option<GrubLoader>,
}

/// GRUB outside of file systems.
#[derive(Debug, Clone)]
pub struct GrubLoader {
    /// The package, which has the boot sector.
    pub directory: GrubDirectory,
    /// What the boot sector loads.
    pub core: CoreImage,
}

impl GrubLoader {
    /// The sectors that start GRUB on a disk whose first sector is `mbr`, with the core image in `gap`.
    pub fn install(&self, gap: Partition, mbr: &Sector) -> Result<Installation, GrubError> {
        grub::install(&self.directory, &self.core, &(gap.first..=gap.last), mbr)
    }
}
