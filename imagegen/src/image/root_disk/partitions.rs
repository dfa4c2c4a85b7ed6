//! The partitions of a root disk, with the names, numbers and places that they have in nixpkgs' make-disk-image.

use std::fmt;

use crate::boot::Loader;
use crate::disk::gpt::{self, Entry, MbrKind, Table};
use crate::disk::mbr::{self, BOOT_CODE, OS_TYPE_LINUX, Partition, Record};
use crate::fixed;
use crate::fs::ext4::Size;
use crate::units::{ByteCount, Lba, SECTOR, index};

/// Where the EFI system partition ends if nobody says otherwise.
pub const BOOT_END: ByteCount = ByteCount(256 << 20);
/// Partitions with a file system begin at multiples of this: 1 MiB.
const ALIGNMENT: u64 = 2048;
/// The first sector of the EFI system partition.
const ESP_START: u64 = 8 * ALIGNMENT;

/// How a disk is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionTable {
    /// The file system is all there is.
    None,
    /// An MBR with the file system from 1 MiB to the end; GRUB goes into the sectors before it.
    Legacy,
    /// A GPT with an EFI system partition from 8 MiB to `boot_end`, rounded up to a MiB, and the file system behind it.
    Efi {
        /// Where the EFI system partition ends.
        boot_end: ByteCount,
    },
    /// The same with a partition for GRUB's core image before the EFI system partition, as number 2.
    Hybrid {
        /// Where the EFI system partition ends.
        boot_end: ByteCount,
    },
}

/// Why a disk cannot be divided so.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PartitionsError {
    /// The end is before the beginning.
    #[error("the EFI system partition begins at 8 MiB, so it cannot end at {0}; give a larger --boot-size")]
    BootEnd(ByteCount),
    /// The partition cannot be entered into the MBR.
    #[error("a disk of {0} is too large: an MBR counts sectors in 32 bits; use --partition-table efi")]
    TooLarge(ByteCount),
}

impl fmt::Display for PartitionTable {
    /// In the words of nixpkgs' make-disk-image.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no partition table",
            Self::Legacy => "a legacy partition table",
            Self::Efi { .. } => "an efi partition table",
            Self::Hybrid { .. } => "a hybrid partition table",
        })
    }
}

impl PartitionTable {
    /// What is left of the disk's size for the file system.
    pub fn file_system_size(self, size: Size) -> Size {
        match size {
            Size::Auto { .. } => size,
            Size::Fixed(disk) => Size::Fixed(ByteCount(disk.0.saturating_sub(self.besides().0))),
        }
    }

    /// What the disk has besides the file system.
    pub fn besides(self) -> ByteCount {
        ByteCount((self.root_start().0 + self.sectors_behind()).saturating_mul(SECTOR))
    }

    /// The EFI system partition.
    pub fn esp(self) -> Option<Partition> {
        let last = Lba(self.root_start().0.saturating_sub(1));
        self.has_gpt().then_some(Partition { first: Lba(ESP_START), last })
    }

    /// The loaders that there is a place for on such a disk.
    pub const fn loaders(self) -> &'static [Loader] {
        match self {
            Self::None => &[],
            Self::Legacy => &[Loader::Grub],
            Self::Efi { .. } => &[Loader::SystemdBoot],
            Self::Hybrid { .. } => &[Loader::SystemdBoot, Loader::Grub],
        }
    }

    /// The first sector of the file system.
    fn root_start(self) -> Lba {
        match self {
            Self::None => Lba(0),
            Self::Legacy => Lba(ALIGNMENT),
            Self::Efi { boot_end } | Self::Hybrid { boot_end } => {
                Lba(boot_end.0.div_ceil(ALIGNMENT * SECTOR).saturating_mul(ALIGNMENT))
            }
        }
    }

    const fn has_gpt(self) -> bool {
        matches!(self, Self::Efi { .. } | Self::Hybrid { .. })
    }

    /// The sectors behind the file system.
    const fn sectors_behind(self) -> u64 {
        if self.has_gpt() { gpt::BACKUP_SECTORS } else { 0 }
    }

    fn check(self, disk: ByteCount) -> Result<(), PartitionsError> {
        match self {
            Self::Efi { boot_end } | Self::Hybrid { boot_end } if boot_end.0 <= ESP_START * SECTOR => {
                Err(PartitionsError::BootEnd(boot_end))
            }
            Self::Legacy if u32::try_from(disk.0 / SECTOR).is_err() => Err(PartitionsError::TooLarge(disk)),
            _ => Ok(()),
        }
    }
}

/// The partitions around a file system whose size is known.
#[derive(Debug, Clone, Copy)]
pub struct Partitions {
    table: PartitionTable,
    /// The length of the file system in sectors.
    file_system: u64,
}

impl Partitions {
    /// Divides the disk for a file system of this size, a multiple of 4 KiB.
    pub fn new(table: PartitionTable, file_system: ByteCount) -> Result<Self, PartitionsError> {
        table.check(ByteCount(table.besides().0.saturating_add(file_system.0)))?;
        Ok(Self { table, file_system: file_system.0 / SECTOR })
    }

    /// The size of the disk, computed to the sector.
    pub fn disk_size(&self) -> ByteCount {
        ByteCount(self.sectors() * SECTOR)
    }

    /// The partition of the file system.
    pub fn root(&self) -> Partition {
        let first = self.table.root_start();
        Partition { first, last: Lba(first.0 + self.file_system - 1) }
    }

    /// Where GRUB's core image goes.
    pub fn core_image(&self) -> Option<Partition> {
        match self.table {
            PartitionTable::None | PartitionTable::Efi { .. } => None,
            PartitionTable::Legacy => Some(Partition { first: Lba(1), last: Lba(ALIGNMENT - 1) }),
            PartitionTable::Hybrid { .. } => {
                Some(Partition { first: Lba(gpt::PRIMARY_SECTORS), last: Lba(ALIGNMENT - 1) })
            }
        }
    }

    /// The first sectors of the disk, with a boot loader's code; nothing without a partition table.
    pub fn first_sectors(&self, boot_code: &[u8; BOOT_CODE]) -> Vec<u8> {
        match self.table {
            PartitionTable::None => Vec::new(),
            PartitionTable::Legacy => {
                let root = Record { os_type: OS_TYPE_LINUX, partition: self.root(), active: true };
                mbr::sector(boot_code, fixed::ROOT_DISK_SIGNATURE, [root]).to_vec()
            }
            PartitionTable::Efi { .. } | PartitionTable::Hybrid { .. } => self.gpt().primary(boot_code),
        }
    }

    /// The last sectors of the disk: the backup of a GPT.
    pub fn last_sectors(&self) -> Option<(Lba, Vec<u8>)> {
        let table = self.table.has_gpt().then(|| self.gpt())?;
        Some((table.backup_start(), table.backup()))
    }

    fn sectors(&self) -> u64 {
        self.table.root_start().0 + self.file_system + self.table.sectors_behind()
    }

    fn gpt(&self) -> Table {
        let partitions = [
            self.table.esp().map(|place| (gpt::ESP_TYPE, "ESP", place)),
            self.core_image().map(|place| (gpt::BIOS_BOOT_TYPE, "no-fs", place)),
        ];
        let by_number = partitions.into_iter().flatten().zip(fixed::ROOT_DISK_PARTITION_GUIDS);
        let mut partitions: Vec<Entry> = by_number
            .map(|((kind, name, place), guid)| Entry { kind, guid, name, place, attributes: 0 })
            .collect();
        partitions.push(Entry {
            kind: gpt::LINUX_TYPE,
            guid: fixed::ROOT_PARTITION_GUID,
            name: "primary",
            place: self.root(),
            attributes: 0,
        });
        let disk_guid = fixed::BOOT_DISK_GUID;
        Table { sectors: self.sectors(), disk_guid, partitions, mbr: MbrKind::Protective }
    }
}

const _: () = assert!(index(ALIGNMENT * SECTOR) == 1 << 20, "sectors of 512 bytes");
