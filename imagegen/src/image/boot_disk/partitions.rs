//! The two partitions of a boot disk: byte for byte what sgdisk makes of the command line in nixpkgs' `qemu-vm.nix`.

use crate::disk::gpt::{self, Entry, MbrKind, Table};
use crate::disk::mbr::Partition;
use crate::fixed;
use crate::units::{ByteCount, Lba, SECTOR};

/// The number of the EFI system partition.
pub const ESP_NUMBER: u32 = 2;
/// The ESP begins at this sector; those before it are left to the BIOS boot partition.
const ESP_START: u64 = 2048;

/// Why a disk cannot be partitioned.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PartitionsError {
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

/// Where the partitions lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partitions {
    sectors: u64,
}

impl Partitions {
    /// Those of a disk of `sectors` sectors of 512 bytes.
    pub fn new(sectors: u64) -> Result<Self, PartitionsError> {
        let smallest = ESP_START + 1 + gpt::BACKUP_SECTORS;
        if sectors < smallest {
            let bytes = |sectors: u64| ByteCount(sectors * SECTOR);
            return Err(PartitionsError::TooSmall { size: bytes(sectors), smallest: bytes(smallest) });
        }
        if u32::try_from(sectors).is_err() {
            return Err(PartitionsError::TooLarge(ByteCount(sectors.saturating_mul(SECTOR))));
        }
        Ok(Self { sectors })
    }

    /// Partition 1, where GRUB's core image goes.
    pub const fn bios_boot(self) -> Partition {
        Partition { first: Lba(gpt::PRIMARY_SECTORS), last: Lba(ESP_START - 1) }
    }

    /// Partition 2, the EFI system partition: all the rest.
    pub const fn esp(self) -> Partition {
        Partition { first: Lba(ESP_START), last: Lba(self.sectors - gpt::BACKUP_SECTORS - 1) }
    }

    /// The table that shows them, to BIOSes too.
    pub fn table(self) -> Table {
        let bios_boot = Entry {
            kind: gpt::BIOS_BOOT_TYPE,
            guid: fixed::BIOS_BOOT_PARTITION_GUID,
            name: "BIOSBootPartition",
            place: self.bios_boot(),
            attributes: gpt::NO_BLOCK_IO_PROTOCOL,
        };
        let esp = Entry {
            kind: gpt::ESP_TYPE,
            guid: fixed::ESP_GUID,
            name: "EFISystem",
            place: self.esp(),
            attributes: gpt::LEGACY_BIOS_BOOTABLE,
        };
        Table {
            sectors: self.sectors,
            disk_guid: fixed::BOOT_DISK_GUID,
            partitions: vec![bios_boot, esp],
            mbr: MbrKind::Hybrid(self.esp()),
        }
    }
}
