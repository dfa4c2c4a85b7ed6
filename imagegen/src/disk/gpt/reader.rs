//! Reading partition tables: an MBR, and a GPT where there is one (UEFI 2.10, chapter 5). Damage that does not keep the
//! partitions from being found is noted, not refused. The crate `gpt` would not tell of it: it takes the first header
//! that is whole, and reads partitions that do not lie on the disk.

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U32;

use crate::container::reader::{ReadError, Source};
use crate::disk::gpt_disk::{Entry, Header, Mbr, MbrRecord};
use crate::disk::mbr::OS_TYPE_PROTECTIVE;
use crate::guid::Guid;
use crate::units::{SECTOR, index};

/// The array of entries may have any size; no tool makes one of more than 16 KiB.
const ENTRIES_MAX: u64 = 1 << 20;

/// The partition table of a disk.
#[derive(Debug)]
pub struct PartitionTable {
    /// Sector 0.
    pub mbr: Mbr,
    /// The GPT.
    pub gpt: Option<Gpt>,
    /// The partitions: those of the GPT or, without one, of the MBR.
    pub partitions: Vec<Partition>,
    /// What is wrong with the tables.
    pub problems: Vec<String>,
}

/// A GPT.
#[derive(Debug)]
pub struct Gpt {
    /// The header in use: the first one, unless it is damaged.
    pub header: Header,
    /// The other header, at the end of the disk.
    pub backup: Option<Header>,
    /// The size of a logical block in bytes.
    pub block_size: u64,
}

/// A partition.
#[derive(Debug)]
pub struct Partition {
    /// Its number, from 1 on.
    pub number: u32,
    /// Its first byte on the disk.
    pub start: u64,
    /// Its length in bytes.
    pub size: u64,
    /// What the table says of it.
    pub entry: PartitionEntry,
}

/// What a table says of a partition.
#[derive(Debug)]
pub enum PartitionEntry {
    /// An entry of a GPT.
    Gpt(Box<Entry>),
    /// A record of an MBR.
    Mbr(Box<MbrRecord>),
}

impl PartitionTable {
    /// Reads the table of a disk; nothing if there is none.
    pub fn read(disk: &dyn Source) -> Result<Option<Self>, ReadError> {
        if disk.size() < SECTOR {
            return Ok(None);
        }
        let sector = disk.bytes(0, index(SECTOR))?;
        let Ok(mbr) = Mbr::read_from_bytes(&sector) else { return Ok(None) };
        let mut problems = Vec::new();
        for block_size in [512, 4096] {
            if let Some((gpt, partitions)) = Gpt::read(disk, block_size, &mut problems)? {
                if mbr.signature != [0x55, 0xAA] {
                    problems.push("sector 0 is no protective MBR: it does not end with 55 aa".to_owned());
                }
                return Ok(Some(Self { mbr, gpt: Some(gpt), partitions, problems }));
            }
        }
        let partitions = mbr.partitions(disk.size());
        Ok(partitions.map(|partitions| Self { mbr, gpt: None, partitions, problems }))
    }
}

impl Mbr {
    /// The partitions; nothing if this is no MBR, but the boot sector of a file system or anything else.
    fn partitions(&self, size: u64) -> Option<Vec<Partition>> {
        let used = |record: &&MbrRecord| record.os_type != 0;
        let possible = |record: &MbrRecord| {
            let end = (u64::from(record.starting_lba.get()) + u64::from(record.size_in_lba.get())) * SECTOR;
            matches!(record.boot_indicator, 0 | 0x80) && record.starting_lba.get() != 0 && end <= size
        };
        let mut records = self.partition_record.iter().filter(used).peekable();
        if self.signature != [0x55, 0xAA] || records.peek().is_none() || !records.all(possible) {
            return None;
        }
        let numbered = (1..).zip(&self.partition_record).filter(|(_, record)| used(record));
        Some(
            numbered
                .map(|(number, record)| Partition {
                    number,
                    start: u64::from(record.starting_lba.get()) * SECTOR,
                    size: u64::from(record.size_in_lba.get()) * SECTOR,
                    entry: PartitionEntry::Mbr(Box::new(record.clone())),
                })
                .collect(),
        )
    }

    /// Whether records beside the protective one show partitions of a GPT too.
    pub fn is_hybrid(&self) -> bool {
        let types = self.partition_record.iter().map(|record| record.os_type);
        let used: Vec<u8> = types.filter(|&os_type| os_type != 0).collect();
        used.contains(&OS_TYPE_PROTECTIVE) && used.len() > 1
    }
}

impl Gpt {
    fn read(
        disk: &dyn Source,
        block_size: u64,
        problems: &mut Vec<String>,
    ) -> Result<Option<(Self, Vec<Partition>)>, ReadError> {
        let last = (disk.size() / block_size).saturating_sub(1);
        let first = Header::read_at(disk, 1, block_size)?;
        let alternate = first.as_ref().map_or(last, |(header, _)| header.alternate_lba.get());
        let backup = Header::read_at(disk, alternate, block_size)?;
        let (first_error, backup_error) = match (&first, &backup) {
            (None, None) => return Ok(None),
            (Some((_, first)), Some((_, backup))) => (first.clone(), backup.clone()),
            (Some((_, first)), None) => (first.clone(), Some("there is none".to_owned())),
            (None, Some((_, backup))) => (Some("there is none".to_owned()), backup.clone()),
        };
        if let Some(error) = &first_error {
            problems.push(format!("the GPT header in LBA 1 is damaged: {error}"));
        }
        if let Some(error) = &backup_error {
            problems.push(format!("the backup GPT header in LBA {alternate} is damaged: {error}"));
        }
        if alternate != last {
            problems.push(format!("the backup GPT header is in LBA {alternate}, not in the last, {last}"));
        }
        let (first, backup) = (first.map(|(header, _)| header), backup.map(|(header, _)| header));
        let (header, backup) = match (first, backup) {
            (Some(first), backup) if first_error.is_none() || backup_error.is_some() => (first, backup),
            (_, Some(backup)) => (backup, None),
            (Some(first), None) => (first, None),
            (None, None) => return Ok(None),
        };
        if let Some(backup) = &backup {
            compare(&header, backup, problems);
        }
        let partitions = partitions(disk, &header, block_size, problems)?;
        Ok(Some((Self { header, backup, block_size }, partitions)))
    }
}

impl Header {
    /// The header in a block and what is wrong with it; nothing if there is none.
    fn read_at(
        disk: &dyn Source,
        lba: u64,
        block_size: u64,
    ) -> Result<Option<(Self, Option<String>)>, ReadError> {
        let Some(offset) = lba.checked_mul(block_size) else { return Ok(None) };
        if disk.check(offset, block_size).is_err() {
            return Ok(None);
        }
        let block = disk.bytes(offset, index(block_size))?;
        let Ok((header, _)) = Self::read_from_prefix(&block) else { return Ok(None) };
        if &header.signature != b"EFI PART" {
            return Ok(None);
        }
        let problem = header.problem(&block, lba);
        Ok(Some((header, problem)))
    }

    fn problem(&self, block: &[u8], lba: u64) -> Option<String> {
        let size = index(self.header_size.get().into());
        if size < size_of::<Self>() || size > block.len() {
            return Some(format!("it cannot have {size} bytes"));
        }
        let mut covered = block[..size].to_vec();
        let field = std::mem::offset_of!(Self, header_crc32);
        covered[field..field + size_of::<U32>()].fill(0);
        let (found, expected) = (crc32fast::hash(&covered), self.header_crc32.get());
        if found != expected {
            return Some(format!("its CRC-32 is {found:#x}, not {expected:#x}"));
        }
        (self.my_lba.get() != lba).then(|| format!("it says that it is in LBA {}", self.my_lba.get()))
    }
}

/// The two headers must agree in all but their own places and checksums.
fn compare(header: &Header, backup: &Header, problems: &mut Vec<String>) {
    use crate::on_disk::Structure;
    let own = ["header_crc32", "my_lba", "alternate_lba", "partition_entry_lba"];
    for (a, b) in header.fields().iter().zip(backup.fields()) {
        if a.value != b.value && !own.contains(&a.name) {
            problems.push(format!("the GPT headers disagree: {} is {} and {}", a.name, a.value, b.value));
        }
    }
}

fn partitions(
    disk: &dyn Source,
    header: &Header,
    block_size: u64,
    problems: &mut Vec<String>,
) -> Result<Vec<Partition>, ReadError> {
    let (count, size) = (
        u64::from(header.number_of_partition_entries.get()),
        u64::from(header.size_of_partition_entry.get()),
    );
    let total = count * size;
    if size < 128 || total > ENTRIES_MAX {
        problems.push(format!("the GPT cannot have {count} entries of {size} bytes"));
        return Ok(Vec::new());
    }
    let start = header.partition_entry_lba.get().saturating_mul(block_size);
    if disk.check(start, total).is_err() {
        problems.push(format!("the GPT's entries at byte {start} lie beyond the end of the disk"));
        return Ok(Vec::new());
    }
    let array = disk.bytes(start, index(total))?;
    let (found, expected) = (crc32fast::hash(&array), header.partition_entry_array_crc32.get());
    if found != expected {
        problems
            .push(format!("the GPT's entries are damaged: their CRC-32 is {found:#x}, not {expected:#x}"));
    }
    let mut partitions = Vec::new();
    for (number, bytes) in (1..).zip(array.chunks(index(size))) {
        let Ok((entry, _)) = Entry::read_from_prefix(bytes) else { continue };
        if entry.partition_type_guid == [0; 16] {
            continue;
        }
        let (first, last) = (entry.starting_lba.get(), entry.ending_lba.get());
        let blocks = last.checked_sub(first).and_then(|blocks| blocks.checked_add(1));
        let place =
            blocks.and_then(|blocks| Some((first.checked_mul(block_size)?, blocks.checked_mul(block_size)?)));
        let inside = place.filter(|&(start, size)| disk.check(start, size).is_ok());
        let (start, size) = inside.unwrap_or((0, 0));
        if inside.is_none() {
            problems.push(format!("partition {number} (LBA {first} to {last}) does not lie on the disk"));
        }
        partitions.push(Partition { number, start, size, entry: PartitionEntry::Gpt(Box::new(entry)) });
    }
    Ok(partitions)
}

impl Partition {
    /// The type's GUID or number.
    pub fn type_id(&self) -> String {
        match &self.entry {
            PartitionEntry::Gpt(entry) => Guid::from_mixed_endian(entry.partition_type_guid).to_string(),
            PartitionEntry::Mbr(record) => format!("{:#04x}", record.os_type),
        }
    }

    /// The type by a name that people know.
    pub fn type_name(&self) -> &'static str {
        match &self.entry {
            PartitionEntry::Gpt(entry) => {
                let guid = Guid::from_mixed_endian(entry.partition_type_guid).to_string();
                let known = GPT_TYPES.iter().find(|(id, _)| *id == guid);
                known.map_or("unknown type", |(_, name)| name)
            }
            PartitionEntry::Mbr(record) => match record.os_type {
                0x05 | 0x0F | 0x85 => "extended",
                0x01 | 0x04 | 0x06 | 0x0B | 0x0C | 0x0E => "FAT",
                0x07 => "NTFS or exFAT",
                0x82 => "Linux swap",
                0x83 => "Linux file system",
                0x8E => "Linux LVM",
                OS_TYPE_PROTECTIVE => "GPT protective",
                0xEF => "EFI system partition",
                _ => "unknown type",
            },
        }
    }

    /// The name in the table; an MBR has none.
    pub fn name(&self) -> String {
        match &self.entry {
            PartitionEntry::Gpt(entry) => crate::on_disk::utf16(&entry.partition_name),
            PartitionEntry::Mbr(_) => String::new(),
        }
    }

    /// The partition's own GUID.
    pub fn guid(&self) -> Option<Guid> {
        match &self.entry {
            PartitionEntry::Gpt(entry) => Some(Guid::from_mixed_endian(entry.unique_partition_guid)),
            PartitionEntry::Mbr(_) => None,
        }
    }
}

/// Partition types that a NixOS machine may have (UEFI 2.10, table 5.7; the Discoverable Partitions Specification).
const GPT_TYPES: &[(&str, &str)] = &[
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system partition"),
    ("21686148-6449-6e6f-744e-656564454649", "BIOS boot partition"),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux file system"),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", "extended boot loader partition"),
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "Linux root (x86-64)"),
    ("b921b045-1df0-41c3-af44-4c6f280d3fae", "Linux root (arm64)"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"),
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "basic data partition"),
];
