//! GUID partition tables, as the planner of a disk wants them: every partition at its place, with its fixed identifiers
//! (UEFI specification 2.10, chapter 5.3), and before them an MBR.

pub mod reader;

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::disk::mbr::{self, BOOT_CODE, OS_TYPE_ESP, OS_TYPE_PROTECTIVE, Partition, Record};
use crate::guid::Guid;
use crate::units::{Lba, SECTOR, index};

/// MBR, GPT header and partition entries: the sectors before the first partition.
pub const PRIMARY_SECTORS: u64 = 34;
/// Partition entries, then the GPT header: the sectors behind the last partition.
pub const BACKUP_SECTORS: u64 = 33;
const HEADER_SIZE: u32 = 92;
const ENTRY_SIZE: u32 = 128;
const ENTRIES: u32 = 128;
const ENTRIES_LBA: u64 = 2;

/// The type of a partition for GRUB's core image.
pub const BIOS_BOOT_TYPE: Guid = Guid::from_u128(0x2168_6148_6449_6E6F_744E_6565_6445_4649);
/// The type of an EFI system partition.
pub const ESP_TYPE: Guid = Guid::from_u128(0xC12A_7328_F81F_11D2_BA4B_00A0_C93E_C93B);
/// The type of a file system of Linux.
pub const LINUX_TYPE: Guid = Guid::from_u128(0x0FC6_3DAF_8483_4772_8E79_3D69_D847_7DE4);

/// Attribute bit 1: firmware need not look into the partition for files (UEFI, table 5.8).
pub const NO_BLOCK_IO_PROTOCOL: u64 = 1 << 1;
/// Attribute bit 2: a BIOS may boot from the partition.
pub const LEGACY_BIOS_BOOTABLE: u64 = 1 << 2;

/// The partition table of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The size of the disk in sectors: all partitions, [`PRIMARY_SECTORS`] before them and [`BACKUP_SECTORS`] behind.
    pub sectors: u64,
    /// The disk's GUID.
    pub disk_guid: Guid,
    /// The partitions by number, from 1 on; at most 128.
    pub partitions: Vec<Entry>,
    /// What the MBR shows.
    pub mbr: MbrKind,
}

/// A partition of a GPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What is in it: one of the types above.
    pub kind: Guid,
    /// Its own GUID.
    pub guid: Guid,
    /// Its name, at most 36 characters.
    pub name: &'static str,
    /// Where it lies.
    pub place: Partition,
    /// Bits such as [`LEGACY_BIOS_BOOTABLE`].
    pub attributes: u64,
}

/// What a GPT's MBR shows to those who know no GPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MbrKind {
    /// A disk that is full.
    Protective,
    /// This EFI system partition as it is, and a full disk before it. Both must end below 2 TiB.
    Hybrid(Partition),
}

impl Table {
    /// The first sectors of the disk, LBA 0 to 33: MBR, header and entries. A boot loader for BIOSes brings its boot
    /// code; zeros otherwise.
    pub fn primary(&self, boot_code: &[u8; BOOT_CODE]) -> Vec<u8> {
        let entries = self.entries();
        let header = self.header(Lba(1), self.backup_header(), Lba(ENTRIES_LBA), &entries);
        let mut bytes = Vec::with_capacity(index(PRIMARY_SECTORS * SECTOR));
        bytes.extend_from_slice(&self.mbr(boot_code));
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(index(ENTRIES_LBA * SECTOR), 0);
        bytes.extend_from_slice(entries.as_bytes());
        bytes
    }

    /// The sector at which [`Table::backup`] begins.
    pub const fn backup_start(&self) -> Lba {
        Lba(self.sectors - BACKUP_SECTORS)
    }

    /// The last sectors of the disk: entries and header once more.
    pub fn backup(&self) -> Vec<u8> {
        let entries = self.entries();
        let header = self.header(self.backup_header(), Lba(1), self.backup_start(), &entries);
        let mut bytes = Vec::with_capacity(index(BACKUP_SECTORS * SECTOR));
        bytes.extend_from_slice(entries.as_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(index(BACKUP_SECTORS * SECTOR), 0);
        bytes
    }

    /// LBA 0.
    pub fn mbr(&self, boot_code: &[u8; BOOT_CODE]) -> [u8; index(SECTOR)] {
        let record = |os_type, first, last| Record {
            os_type,
            partition: Partition { first: Lba(first), last: Lba(last) },
            active: false,
        };
        match self.mbr {
            MbrKind::Protective => {
                let all = record(OS_TYPE_PROTECTIVE, 1, self.sectors - 1);
                mbr::sector(boot_code, 0, [all])
            }
            MbrKind::Hybrid(esp) => {
                let before_esp = record(OS_TYPE_PROTECTIVE, 1, esp.first.0 - 1);
                let esp = record(OS_TYPE_ESP, esp.first.0, esp.last.0);
                mbr::sector(boot_code, 0, [before_esp, esp])
            }
        }
    }

    const fn backup_header(&self) -> Lba {
        Lba(self.sectors - 1)
    }

    fn header(&self, my: Lba, alternate: Lba, entries_at: Lba, entries: &[GptEntry]) -> GptHeader {
        let mut header = GptHeader {
            signature: *b"EFI PART",
            revision: U32::new(0x0001_0000),
            header_size: HEADER_SIZE.into(),
            header_crc32: U32::ZERO,
            reserved: U32::ZERO,
            my_lba: my.0.into(),
            alternate_lba: alternate.0.into(),
            first_usable_lba: PRIMARY_SECTORS.into(),
            last_usable_lba: (self.backup_start().0 - 1).into(),
            disk_guid: self.disk_guid.mixed_endian(),
            partition_entry_lba: entries_at.0.into(),
            number_of_partition_entries: ENTRIES.into(),
            size_of_partition_entry: ENTRY_SIZE.into(),
            partition_entry_array_crc32: crc32fast::hash(entries.as_bytes()).into(),
        };
        // The checksum is taken with its own field zero.
        header.header_crc32 = crc32fast::hash(header.as_bytes()).into();
        header
    }

    fn entries(&self) -> Vec<GptEntry> {
        let mut entries = vec![GptEntry::default(); index(ENTRIES.into())];
        entries.iter_mut().zip(&self.partitions).for_each(|(entry, planned)| *entry = planned.into());
        entries
    }
}

/// The header, in LBA 1 and in the last sector (UEFI 2.10, table 5.5).
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GptHeader {
    signature: [u8; 8],
    revision: U32,
    header_size: U32,
    header_crc32: U32,
    reserved: U32,
    my_lba: U64,
    alternate_lba: U64,
    first_usable_lba: U64,
    last_usable_lba: U64,
    disk_guid: [u8; 16],
    partition_entry_lba: U64,
    number_of_partition_entries: U32,
    size_of_partition_entry: U32,
    partition_entry_array_crc32: U32,
}

/// A partition (UEFI 2.10, table 5.6).
#[derive(Clone, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GptEntry {
    partition_type_guid: [u8; 16],
    unique_partition_guid: [u8; 16],
    starting_lba: U64,
    ending_lba: U64,
    attributes: U64,
    partition_name: [U16; 36],
}

const _: () = assert!(size_of::<GptHeader>() == 92, "HEADER_SIZE");
const _: () = assert!(size_of::<GptEntry>() == 128, "ENTRY_SIZE");

impl From<&Entry> for GptEntry {
    fn from(planned: &Entry) -> Self {
        let mut entry = Self {
            partition_type_guid: planned.kind.mixed_endian(),
            unique_partition_guid: planned.guid.mixed_endian(),
            starting_lba: planned.place.first.0.into(),
            ending_lba: planned.place.last.0.into(),
            attributes: planned.attributes.into(),
            ..Self::default()
        };
        let name = planned.name.encode_utf16();
        entry.partition_name.iter_mut().zip(name).for_each(|(unit, c)| *unit = c.into());
        entry
    }
}

impl Default for GptEntry {
    fn default() -> Self {
        Self {
            partition_type_guid: [0; 16],
            unique_partition_guid: [0; 16],
            starting_lba: U64::ZERO,
            ending_lba: U64::ZERO,
            attributes: U64::ZERO,
            partition_name: [U16::ZERO; 36],
        }
    }
}
