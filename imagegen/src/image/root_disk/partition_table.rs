//! The partitions of a root disk, with the names, numbers and places that they have in nixpkgs' make-disk-image.

use std::fmt;

use crate::boot::Loader;
use crate::disk::gpt::{self, Entry};
use crate::disk::layout::{Content, End, Layout, LayoutError, Part, Scheme};
use crate::fixed;
use crate::fs::ext4::Size;
use crate::units::{ByteCount, Lba, SECTOR};

/// Where the EFI system partition ends if nobody says otherwise.
pub const BOOT_END: ByteCount = ByteCount(256 << 20);
/// Partitions with a file system begin at multiples of this number of sectors: 1 MiB.
const ALIGNMENT: u64 = (1 << 20) / SECTOR;
/// The first sector of the EFI system partition.
const ESP_START: u64 = 8 * ALIGNMENT;
/// The number of the EFI system partition.
pub(super) const ESP_NUMBER: u32 = 1;

/// How a disk is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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

impl fmt::Display for PartitionTable {
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
    /// The loaders that there is a place for on such a disk.
    pub const fn loaders(self) -> &'static [Loader] {
        match self {
            Self::None => &[],
            Self::Legacy => &[Loader::Grub],
            Self::Efi { .. } => &[Loader::SystemdBoot],
            Self::Hybrid { .. } => &[Loader::SystemdBoot, Loader::Grub],
        }
    }

    /// Whether there is an EFI system partition.
    pub const fn has_esp(self) -> bool {
        matches!(self, Self::Efi { .. } | Self::Hybrid { .. })
    }

    /// The same with another end of the EFI system partition, if there is one.
    pub(super) const fn with_boot_end(self, boot_end: ByteCount) -> Self {
        match self {
            Self::Efi { .. } => Self::Efi { boot_end },
            Self::Hybrid { .. } => Self::Hybrid { boot_end },
            Self::None | Self::Legacy => self,
        }
    }

    /// Lays out a disk around a file system of this size, a multiple of the sector.
    pub fn layout(self, file_system: ByteCount) -> Result<Layout, LayoutError> {
        let part = |content, entry, alignment, end| Part { content, entry, alignment, end };
        let [first_guid, second_guid] = fixed::ROOT_DISK_PARTITION_GUIDS;
        let entry = |number, kind, guid, name| Some(Entry { number, kind, guid, name, attributes: 0 });
        let core = |entry| part(Content::GrubCore, entry, 1, End::Before(Lba(ALIGNMENT)));
        let esp = |boot_end: ByteCount| {
            let entry = entry(ESP_NUMBER, gpt::ESP_TYPE, first_guid, "ESP");
            let end = boot_end.0.div_ceil(ALIGNMENT * SECTOR).saturating_mul(ALIGNMENT);
            part(Content::Fat, entry, ESP_START, End::Before(Lba(end)))
        };
        let root = |number, alignment| {
            let entry = entry(number, gpt::LINUX_TYPE, fixed::ROOT_PARTITION_GUID, "primary");
            part(Content::Ext4, entry, alignment, End::After(file_system.0 / SECTOR))
        };
        let gpt = Scheme::Gpt(fixed::BOOT_DISK_GUID);
        match self {
            Self::None => Layout::new(Scheme::Whole, &[root(1, 1)]),
            Self::Legacy => {
                Layout::new(Scheme::Mbr(fixed::ROOT_DISK_SIGNATURE), &[core(None), root(1, ALIGNMENT)])
            }
            Self::Efi { boot_end } => Layout::new(gpt, &[esp(boot_end), root(2, ALIGNMENT)]),
            Self::Hybrid { boot_end } => {
                let core = core(entry(2, gpt::BIOS_BOOT_TYPE, second_guid, "no-fs"));
                Layout::new(gpt, &[core, esp(boot_end), root(3, ALIGNMENT)])
            }
        }
    }

    /// What the disk has besides the file system.
    pub(super) fn besides(self) -> Result<ByteCount, LayoutError> {
        let least = ByteCount(SECTOR);
        Ok(ByteCount(self.layout(least)?.size().0 - least.0))
    }

    /// What is left of the disk's size for the file system.
    pub(super) fn file_system_size(self, size: Size) -> Result<Size, LayoutError> {
        Ok(match size {
            Size::Fixed(disk) => Size::Fixed(ByteCount(disk.0.saturating_sub(self.besides()?.0))),
            Size::Auto { .. } => size,
        })
    }
}
