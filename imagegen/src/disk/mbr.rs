//! Sector 0 of a disk: boot code and up to four partitions (UEFI specification 2.10, chapter 5.2).

use zerocopy::byteorder::little_endian::U16;

use super::gpt_disk::{Mbr, MbrRecord};
use crate::error_kind::InternalError;
use crate::units::{Lba, SECTOR, fit, index};

/// The number of bytes of the MBR that belong to a boot loader.
pub const BOOT_CODE: usize = 440;

/// The partition type of what a GPT describes.
pub const OS_TYPE_PROTECTIVE: u8 = 0xEE;
/// The partition type of an EFI system partition.
pub const OS_TYPE_ESP: u8 = 0xEF;
/// The partition type of Linux's file systems.
pub const OS_TYPE_LINUX: u8 = 0x83;

/// The boot indicator of the partition that a BIOS, or the boot code, is to start.
const ACTIVE: u8 = 0x80;

/// A sector in memory.
pub type Sector = [u8; index(SECTOR)];

/// A partition, from its first to its last sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// The first sector.
    pub first: Lba,
    /// The last sector, which belongs to the partition.
    pub last: Lba,
}

impl Partition {
    /// The number of sectors.
    pub const fn sectors(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }
}

/// A partition as an MBR has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What is in the partition.
    pub os_type: u8,
    /// Where it lies. What protects a GPT may be longer than 32 bits can say, and is entered as the longest there is.
    pub partition: Partition,
    /// Whether a BIOS may start it. Some look for such a partition before they start the boot code.
    pub active: bool,
}

/// The bytes of sector 0 without boot code, with the records in their order, and the disk's `signature`, by which Linux
/// names partitions.
pub fn sector(signature: u32, records: &[Record]) -> Result<Sector, InternalError> {
    let mut partition_record = [const { zerocopy::transmute!([0_u8; size_of::<MbrRecord>()]) }; 4];
    for (slot, record) in partition_record.iter_mut().zip(records) {
        *slot = record.on_disk()?;
    }
    Ok(zerocopy::transmute!(Mbr {
        boot_code: [0; BOOT_CODE],
        unique_mbr_disk_signature: signature.into(),
        unknown: U16::ZERO,
        partition_record,
        signature: [0x55, 0xAA],
    }))
}

impl Record {
    fn on_disk(&self) -> Result<MbrRecord, InternalError> {
        let Self { os_type, partition, active } = *self;
        let sectors = match os_type {
            OS_TYPE_PROTECTIVE => partition.sectors().min(u32::MAX.into()),
            _ => partition.sectors(),
        };
        Ok(MbrRecord {
            boot_indicator: if active { ACTIVE } else { 0 },
            starting_chs: chs(partition.first)?,
            os_type,
            ending_chs: chs(partition.last)?,
            starting_lba: fit::<u32, _>(partition.first.0)?.into(),
            size_in_lba: fit::<u32, _>(sectors)?.into(),
        })
    }
}

/// Head, sector and cylinder of a sector on a disk of 255 heads and 63 sectors a track, packed as an MBR has them:
/// the cylinder's two high bits stand above the sector.
fn chs(lba: Lba) -> Result<[u8; 3], InternalError> {
    const SECTORS: u64 = 63;
    const HEADS: u64 = 255;
    let (track, sector) = (lba.0 / SECTORS, lba.0 % SECTORS + 1);
    let (cylinder, head) = (track / HEADS, track % HEADS);
    if cylinder > 1023 {
        // "Too far for CHS", as sgdisk writes it.
        return Ok([0xFE, 0xFF, 0xFF]);
    }
    Ok([fit(head)?, fit(sector | (cylinder >> 8 << 6))?, fit(cylinder & 0xFF)?])
}
