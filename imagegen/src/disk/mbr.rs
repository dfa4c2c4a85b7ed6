//! Sector 0 of a disk: boot code and up to four partitions (UEFI specification 2.10, chapter 5.2).

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::units::{Lba, SECTOR, index};

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

/// A partition as an MBR has it. Sector numbers beyond 32 bits are entered as the largest one there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What is in the partition.
    pub os_type: u8,
    /// Where it lies.
    pub partition: Partition,
    /// Whether a BIOS may start it. Some look for such a partition before they start the boot code.
    pub active: bool,
}

/// The bytes of sector 0 with the records in their order, and the disk's `signature`, by which Linux names partitions.
pub fn sector(
    boot_code: &[u8; BOOT_CODE],
    signature: u32,
    records: impl IntoIterator<Item = Record>,
) -> [u8; index(SECTOR)] {
    let mut partition_record = [PartitionRecord::default(); 4];
    partition_record.iter_mut().zip(records).for_each(|(slot, record)| *slot = record.into());
    zerocopy::transmute!(Mbr {
        boot_code: *boot_code,
        unique_mbr_disk_signature: signature.into(),
        unknown: U16::ZERO,
        partition_record,
        signature: [0x55, 0xAA],
    })
}

/// Sector 0 (UEFI 2.10, table 5.1).
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Mbr {
    boot_code: [u8; BOOT_CODE],
    unique_mbr_disk_signature: U32,
    unknown: U16,
    partition_record: [PartitionRecord; 4],
    signature: [u8; 2],
}

/// One of the four partitions of an MBR (UEFI 2.10, table 5.2).
#[derive(Clone, Copy, Default, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct PartitionRecord {
    boot_indicator: u8,
    starting_chs: [u8; 3],
    os_type: u8,
    ending_chs: [u8; 3],
    starting_lba: U32,
    size_in_lba: U32,
}

impl From<Record> for PartitionRecord {
    fn from(Record { os_type, partition, active }: Record) -> Self {
        let number = |n: u64| U32::new(u32::try_from(n).unwrap_or(u32::MAX));
        Self {
            boot_indicator: if active { ACTIVE } else { 0 },
            starting_chs: chs(partition.first),
            os_type,
            ending_chs: chs(partition.last),
            starting_lba: number(partition.first.0),
            size_in_lba: number(partition.sectors()),
        }
    }
}

/// Head, sector and cylinder of a sector on a disk of 255 heads and 63 sectors a track, packed as an MBR has them:
/// the cylinder's two high bits stand above the sector.
fn chs(lba: Lba) -> [u8; 3] {
    const SECTORS: u64 = 63;
    const HEADS: u64 = 255;
    let (track, sector) = (lba.0 / SECTORS, lba.0 % SECTORS + 1);
    let (cylinder, head) = (track / HEADS, track % HEADS);
    if cylinder > 1023 {
        // "Too far for CHS", as sgdisk writes it.
        return [0xFE, 0xFF, 0xFF];
    }
    let byte = |n: u64| u8::try_from(n).unwrap_or(u8::MAX);
    [byte(head), byte(sector | (cylinder >> 8 << 6)), byte(cylinder & 0xFF)]
}
