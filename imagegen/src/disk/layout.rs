//! Where the parts of a disk lie, and the partition table that says so.

use super::gpt::{self, Entry};
use super::mbr::{self, OS_TYPE_ESP, OS_TYPE_LINUX, OS_TYPE_PROTECTIVE, Partition, Record, Sector};
use crate::error_kind::{ErrorKind, InternalError};
use crate::guid::Guid;
use crate::units::{ByteCount, GuestOffset, Lba, SECTOR, index};

/// How a disk says where its parts lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Not at all: one part is the disk.
    Whole,
    /// By an MBR, with the disk's signature. It names the file system of Linux.
    Mbr(u32),
    /// By a GPT, with the disk's GUID.
    Gpt(Guid),
    /// By a GPT whose MBR shows the EFI system partition too, behind a protective record that ends before it.
    HybridGpt(Guid),
}

/// What a part of a disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// GRUB's core image.
    GrubCore,
    /// The FAT file system of an EFI system partition.
    Fat,
    /// An ext4 file system.
    Ext4,
}

/// A part of a disk that is to be laid out. It follows the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What it holds.
    pub content: Content,
    /// What a GPT says of it; none for sectors that no GPT names.
    pub entry: Option<Entry>,
    /// It begins at a multiple of this number of sectors.
    pub alignment: u64,
    /// Where it ends.
    pub end: End,
}

/// Where a part of a disk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Before this sector.
    Before(Lba),
    /// After this number of sectors.
    After(u64),
    /// With the disk of this number of sectors, which has nothing behind the part but its partition table.
    WithDisk(u64),
}

/// A disk that is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Layout {
    scheme: Scheme,
    sectors: u64,
    parts: Vec<(Content, Option<Entry>, Partition)>,
}

/// The sectors of a partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The first sectors of the disk; none without a partition table. The boot code is zeros.
    pub head: Vec<u8>,
    /// The last sectors of the disk, where the backup of a GPT is; none otherwise.
    pub tail: Vec<u8>,
}

/// The parts have no room on the disk.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum LayoutError {
    /// The disk is too small.
    #[error("a disk of {size} has no room for its partitions; they begin to fit at {smallest}")]
    NoRoom {
        size: ByteCount,
        /// The size from which on the table can be made.
        smallest: ByteCount,
    },
    /// A part would end before it begins.
    #[error("the EFI system partition begins at {} MiB, so it cannot end at {end}", .start.0 >> 20)]
    End { start: ByteCount, end: ByteCount },
    /// An MBR cannot name a part.
    #[error("a disk of {0} is too large: an MBR counts sectors in 32 bits, so the largest is 2 TiB")]
    TooLarge(ByteCount),
}

impl LayoutError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRoom { .. } | Self::End { .. } => ErrorKind::InvalidInput,
            Self::TooLarge(_) => ErrorKind::TooLarge,
        }
    }
}

impl Scheme {
    const fn has_gpt(self) -> bool {
        matches!(self, Self::Gpt(_) | Self::HybridGpt(_))
    }

    /// The sectors before the first part and behind the last.
    const fn around(self) -> (u64, u64) {
        match self {
            Self::Whole => (0, 0),
            Self::Mbr(_) => (1, 0),
            Self::Gpt(_) | Self::HybridGpt(_) => (gpt::PRIMARY_SECTORS, gpt::BACKUP_SECTORS),
        }
    }
}

impl Layout {
    /// Lays out a disk.
    pub fn new(scheme: Scheme, parts: &[Part]) -> Result<Self, LayoutError> {
        let bytes = |sectors: u64| ByteCount(sectors.saturating_mul(SECTOR));
        let (mut next, behind) = scheme.around();
        let mut laid_out = Vec::with_capacity(parts.len());
        for part in parts {
            let first = next.next_multiple_of(part.alignment);
            next = match part.end {
                End::Before(end) => end.0,
                End::After(sectors) => first.saturating_add(sectors),
                End::WithDisk(sectors) => sectors.saturating_sub(behind),
            };
            if next <= first {
                return Err(match part.end {
                    End::WithDisk(sectors) => {
                        LayoutError::NoRoom { size: bytes(sectors), smallest: bytes(first + 1 + behind) }
                    }
                    _ => LayoutError::End { start: bytes(first), end: bytes(next) },
                });
            }
            laid_out.push((part.content, part.entry, Partition { first: Lba(first), last: Lba(next - 1) }));
        }
        let sectors = next.saturating_add(behind);
        let size = bytes(sectors);
        let counts_in_32_bits = matches!(scheme, Scheme::Mbr(_) | Scheme::HybridGpt(_));
        if size.0 == u64::MAX || counts_in_32_bits && u32::try_from(sectors).is_err() {
            return Err(LayoutError::TooLarge(size));
        }
        Ok(Self { scheme, sectors, parts: laid_out })
    }

    /// The size of the disk.
    pub fn size(&self) -> ByteCount {
        ByteCount(self.sectors * SECTOR)
    }

    /// Where a part lies.
    pub fn part(&self, content: Content) -> Option<Partition> {
        self.parts.iter().find(|(found, ..)| *found == content).map(|(.., partition)| *partition)
    }

    /// Whether it has a GPT.
    pub fn has_gpt(&self) -> bool {
        self.scheme.has_gpt()
    }

    /// Where [`Table::tail`] begins.
    pub fn tail_start(&self) -> GuestOffset {
        Lba(self.sectors - self.scheme.around().1).offset()
    }

    /// The bytes of the partition table.
    pub fn table(&self) -> Result<Table, InternalError> {
        let sector = |signature, records: &[_]| mbr::sector(signature, records);
        let record = |os_type, first, last| Record {
            os_type,
            partition: Partition { first: Lba(first), last: Lba(last) },
            active: false,
        };
        let (disk_guid, mbr) = match (self.scheme, self.part(Content::Fat), self.part(Content::Ext4)) {
            (Scheme::Mbr(signature), _, Some(root)) => {
                let root = Record { active: true, ..record(OS_TYPE_LINUX, root.first.0, root.last.0) };
                return Ok(Table { head: sector(signature, &[root])?.to_vec(), tail: Vec::new() });
            }
            (Scheme::Gpt(guid), ..) => (guid, sector(0, &[record(OS_TYPE_PROTECTIVE, 1, self.sectors - 1)])?),
            (Scheme::HybridGpt(guid), Some(esp), _) => {
                let before_esp = record(OS_TYPE_PROTECTIVE, 1, esp.first.0 - 1);
                (guid, sector(0, &[before_esp, record(OS_TYPE_ESP, esp.first.0, esp.last.0)])?)
            }
            (Scheme::Whole, ..) => return Ok(Table { head: Vec::new(), tail: Vec::new() }),
            _ => return Err(InternalError::new("the disk has no part for its MBR to show")),
        };
        let partitions = self.parts.iter().filter_map(|&(_, entry, partition)| Some((entry?, partition)));
        let (head, tail) = gpt::write(self.sectors, disk_guid, &mbr, partitions)?;
        Ok(Table { head, tail })
    }
}

impl Table {
    /// Sector 0, if it belongs to the table.
    pub fn mbr(&self) -> Option<&Sector> {
        self.head.first_chunk()
    }

    /// Puts a boot sector in the place of sector 0. It has the partitions of the one that is there.
    pub(crate) fn set_boot_sector(&mut self, sector: &Sector) {
        self.head[..index(SECTOR)].copy_from_slice(sector);
    }
}
