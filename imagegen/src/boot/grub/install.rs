//! What `grub-install` would leave on the disk: the boot sector, and the core image in the BIOS boot partition.

use std::ops::RangeInclusive;
use std::path::Path;

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{CoreImage, GrubDirectory, GrubError};
use crate::disk::mbr::Sector;
use crate::units::Lba;

/// GRUB's first stage, `boot.img`, in the disk's first sector.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BootSector {
    jump: [u8; 3],
    /// Where a FAT file system keeps its parameters; never executed.
    bpb: [u8; 0x57],
    kernel_address: [u8; 2],
    /// The sector of the core image.
    kernel_sector: U64,
    /// The drive to load it from; [`DRIVE_OF_THE_BIOS`] for the one that the BIOS passes.
    boot_drive: u8,
    cli: u8,
    /// A jump over the check of the drive number that the BIOS passes; without it the check works around BIOSes
    /// that pass a wrong one.
    boot_drive_check: [u8; 2],
    code: [u8; 0x150],
    /// The disk signature and the four partitions of the MBR.
    nt_magic_and_partitions: [u8; 0x46],
    signature: [u8; 2],
}

const DRIVE_OF_THE_BIOS: u8 = 0xff;
const NO_OPERATION: u8 = 0x90;
const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// The sectors that make a disk boot by GRUB.
#[derive(Debug, Clone)]
pub struct Installation {
    /// Sector 0.
    pub boot_sector: Sector,
    /// Where the core image goes.
    pub core_start: Lba,
    /// Its bytes, in whole sectors.
    pub core: Vec<u8>,
}

/// Puts `core` into the BIOS boot partition (its sectors, the last included) of a disk whose first sector is
/// `mbr`, with GRUB's `boot.img` from `directory`.
pub fn install(
    directory: &GrubDirectory,
    core: &CoreImage,
    bios_boot: &RangeInclusive<Lba>,
    mbr: &Sector,
) -> Result<Installation, GrubError> {
    let (start, end) = (*bios_boot.start(), *bios_boot.end());
    let available = (end.0.saturating_add(1)).saturating_sub(start.0);
    if core.sectors() > available {
        let sectors = core.sectors();
        return Err(GrubError::TooLarge(format!(
            "the core image of GRUB has {sectors} sectors, and the place for it only {available}; embed fewer modules"
        )));
    }
    let boot_sector = boot_sector(&directory.file("boot.img"), &directory.read("boot.img")?, start, mbr)?;
    Ok(Installation { boot_sector, core_start: start, core: core.at(start)? })
}

/// GRUB's first stage merged with a disk's MBR: `boot.img`, told to load the core image from the sector `core` of
/// the disk that the BIOS booted from, with the MBR's partitions and disk signature. `file` names `boot.img` in
/// an error.
pub fn boot_sector(file: &Path, boot_img: &[u8], core: Lba, mbr: &Sector) -> Result<Sector, GrubError> {
    let problem = |problem: &str| GrubError::not_an_image(file, problem);
    let first_stage = BootSector::read_from_bytes(boot_img).map_err(|_| problem("it must have 512 bytes"))?;
    if first_stage.signature != BOOT_SIGNATURE {
        return Err(problem("it does not end in 55 aa"));
    }
    let old: BootSector = zerocopy::transmute!(*mbr);
    let merged = BootSector {
        bpb: old.bpb,
        kernel_sector: core.0.into(),
        boot_drive: DRIVE_OF_THE_BIOS,
        boot_drive_check: [NO_OPERATION; 2],
        nt_magic_and_partitions: old.nt_magic_and_partitions,
        ..first_stage
    };
    Ok(zerocopy::transmute!(merged))
}
