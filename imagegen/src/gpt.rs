//! The partition table of a boot disk: a GPT with two partitions, and an MBR that shows one of them to BIOSes too.
//!
//! Byte for byte what sgdisk makes of the command line in nixpkgs' `qemu-vm.nix`; the structures are those of the
//! UEFI specification 2.10, chapter 5.

pub mod reader;

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::fixed;
use crate::guid::Guid;
use crate::units::{ByteCount, Lba, SECTOR, index};

/// The number of bytes of the MBR that belong to a boot loader.
pub const BOOT_CODE: usize = 440;

/// MBR, GPT header and partition entries.
const PRIMARY_SECTORS: u64 = 34;
/// Partition entries, then the GPT header.
const BACKUP_SECTORS: u64 = 33;
const HEADER_SIZE: u32 = 92;
const ENTRY_SIZE: u32 = 128;
const ENTRIES: u32 = 128;
const ENTRIES_LBA: u64 = 2;
/// The ESP begins at a multiple of this; sectors before it are left to the BIOS boot partition.
const ALIGNMENT: u64 = 2048;

const BIOS_BOOT_TYPE: Guid = Guid::from_u128(0x2168_6148_6449_6E6F_744E_6565_6445_4649);
const ESP_TYPE: Guid = Guid::from_u128(0xC12A_7328_F81F_11D2_BA4B_00A0_C93E_C93B);
/// Attribute bit 1: firmware need not look into the partition for files (UEFI, table 5.8).
const NO_BLOCK_IO_PROTOCOL: u64 = 1 << 1;
/// Attribute bit 2: a BIOS may boot from the partition.
const LEGACY_BIOS_BOOTABLE: u64 = 1 << 2;

const OS_TYPE_PROTECTIVE: u8 = 0xEE;
const OS_TYPE_ESP: u8 = 0xEF;

/// The partition table of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    sectors: u64,
}

/// A partition, from its first to its last sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// The first sector.
    pub first: Lba,
    /// The last sector, which belongs to the partition.
    pub last: Lba,
}

/// Why a disk cannot be partitioned.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GptError {
    /// There is no room for the partitions.
    #[error("a disk of {size} has no room for the two boot partitions; they begin to fit at {smallest}")]
    TooSmall {
        /// The disk's size.
        size: ByteCount,
        /// The size from which on the table can be made.
        smallest: ByteCount,
    },
    /// The ESP cannot be entered into the MBR.
    #[error("a disk of {0} is too large: an MBR counts sectors in 32 bits, so the largest is 2 TiB")]
    TooLarge(ByteCount),
}

/// Plans the table of a disk of `sectors` sectors of 512 bytes.
pub fn plan(sectors: u64) -> Result<Table, GptError> {
    let smallest = ALIGNMENT + 1 + BACKUP_SECTORS;
    if sectors < smallest {
        let bytes = |sectors: u64| ByteCount(sectors * SECTOR);
        return Err(GptError::TooSmall { size: bytes(sectors), smallest: bytes(smallest) });
    }
    if u32::try_from(sectors).is_err() {
        return Err(GptError::TooLarge(ByteCount(sectors.saturating_mul(SECTOR))));
    }
    Ok(Table { sectors })
}

impl Table {
    /// The size of the disk in sectors.
    pub const fn sectors(self) -> u64 {
        self.sectors
    }

    /// Partition 1, where GRUB's core image goes.
    pub const fn bios_boot(self) -> Partition {
        Partition { first: Lba(PRIMARY_SECTORS), last: Lba(ALIGNMENT - 1) }
    }

    /// Partition 2, the EFI system partition: all the rest.
    pub const fn esp(self) -> Partition {
        Partition { first: Lba(ALIGNMENT), last: self.last_usable() }
    }

    /// The first sectors of the disk, LBA 0 to 33: MBR, header and entries. A boot loader for BIOSes brings its boot
    /// code; zeros otherwise.
    pub fn primary(self, boot_code: &[u8; BOOT_CODE]) -> Vec<u8> {
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
    pub const fn backup_start(self) -> Lba {
        Lba(self.sectors - BACKUP_SECTORS)
    }

    /// The last sectors of the disk: entries and header once more.
    pub fn backup(self) -> Vec<u8> {
        let entries = self.entries();
        let header = self.header(self.backup_header(), Lba(1), self.backup_start(), &entries);
        let mut bytes = Vec::with_capacity(index(BACKUP_SECTORS * SECTOR));
        bytes.extend_from_slice(entries.as_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(index(BACKUP_SECTORS * SECTOR), 0);
        bytes
    }

    const fn last_usable(self) -> Lba {
        Lba(self.sectors - BACKUP_SECTORS - 1)
    }

    const fn backup_header(self) -> Lba {
        Lba(self.sectors - 1)
    }

    /// LBA 0, a hybrid MBR: the ESP as it is, and a protective record for what lies before it.
    pub fn mbr(self, boot_code: &[u8; BOOT_CODE]) -> [u8; index(SECTOR)] {
        let before_esp = Partition { first: Lba(1), last: Lba(self.esp().first.0 - 1) };
        let records = [
            MbrPartitionRecord::new(OS_TYPE_PROTECTIVE, before_esp),
            MbrPartitionRecord::new(OS_TYPE_ESP, self.esp()),
        ];
        let [first, second] = records;
        let none = MbrPartitionRecord::default();
        zerocopy::transmute!(Mbr {
            boot_code: *boot_code,
            unique_mbr_disk_signature: U32::ZERO,
            unknown: U16::ZERO,
            partition_record: [first, second, none, none],
            signature: [0x55, 0xAA],
        })
    }

    fn header(self, my: Lba, alternate: Lba, entries_at: Lba, entries: &[GptEntry]) -> GptHeader {
        let mut header = GptHeader {
            signature: *b"EFI PART",
            revision: U32::new(0x0001_0000),
            header_size: HEADER_SIZE.into(),
            header_crc32: U32::ZERO,
            reserved: U32::ZERO,
            my_lba: my.0.into(),
            alternate_lba: alternate.0.into(),
            first_usable_lba: PRIMARY_SECTORS.into(),
            last_usable_lba: self.last_usable().0.into(),
            disk_guid: fixed::BOOT_DISK_GUID.mixed_endian(),
            partition_entry_lba: entries_at.0.into(),
            number_of_partition_entries: ENTRIES.into(),
            size_of_partition_entry: ENTRY_SIZE.into(),
            partition_entry_array_crc32: crc32fast::hash(entries.as_bytes()).into(),
        };
        // The checksum is taken with its own field zero.
        header.header_crc32 = crc32fast::hash(header.as_bytes()).into();
        header
    }

    fn entries(self) -> Vec<GptEntry> {
        let mut entries = vec![GptEntry::default(); index(ENTRIES.into())];
        let used = [
            GptEntry {
                partition_type_guid: BIOS_BOOT_TYPE.mixed_endian(),
                unique_partition_guid: fixed::BIOS_BOOT_PARTITION_GUID.mixed_endian(),
                attributes: NO_BLOCK_IO_PROTOCOL.into(),
                ..GptEntry::new(self.bios_boot(), "BIOSBootPartition")
            },
            GptEntry {
                partition_type_guid: ESP_TYPE.mixed_endian(),
                unique_partition_guid: fixed::ESP_GUID.mixed_endian(),
                attributes: LEGACY_BIOS_BOOTABLE.into(),
                ..GptEntry::new(self.esp(), "EFISystem")
            },
        ];
        entries.iter_mut().zip(used).for_each(|(entry, used)| *entry = used);
        entries
    }
}

impl Partition {
    /// The number of sectors.
    pub const fn sectors(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }
}

/// Sector 0 (UEFI 2.10, table 5.1).
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Mbr {
    boot_code: [u8; BOOT_CODE],
    unique_mbr_disk_signature: U32,
    unknown: U16,
    partition_record: [MbrPartitionRecord; 4],
    signature: [u8; 2],
}

/// One of the four partitions of an MBR (UEFI 2.10, table 5.2).
#[derive(Clone, Copy, Default, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MbrPartitionRecord {
    boot_indicator: u8,
    starting_chs: [u8; 3],
    os_type: u8,
    ending_chs: [u8; 3],
    starting_lba: U32,
    size_in_lba: U32,
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

impl MbrPartitionRecord {
    fn new(os_type: u8, partition: Partition) -> Self {
        // `plan` keeps every sector number within 32 bits.
        let number = |n: u64| U32::new(u32::try_from(n).unwrap_or(u32::MAX));
        Self {
            boot_indicator: 0,
            starting_chs: chs(partition.first),
            os_type,
            ending_chs: chs(partition.last),
            starting_lba: number(partition.first.0),
            size_in_lba: number(partition.sectors()),
        }
    }
}

impl GptEntry {
    fn new(partition: Partition, name: &str) -> Self {
        let mut entry = Self {
            starting_lba: partition.first.0.into(),
            ending_lba: partition.last.0.into(),
            ..Self::default()
        };
        entry.partition_name.iter_mut().zip(name.encode_utf16()).for_each(|(unit, c)| *unit = c.into());
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
