//! Reading partition tables: an MBR, and a GPT where there is one (UEFI 2.10, chapter 5). Damage that does not keep the
//! partitions from being found is noted, not refused. The crate `gpt` would not tell of it: it takes the first header
//! that is whole, and reads partitions that do not lie on the disk.

use serde::Serialize;
use zerocopy::FromBytes;

use super::checksum::compare;
use crate::container::reader::{ReadError, Source};
use crate::disk::gpt_disk::{Entry, Header, Mbr, MbrRecord};
use crate::disk::mbr::OS_TYPE_PROTECTIVE;
use crate::on_disk::{self, Field, Structure};
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

/// A partition, as the table has it.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Partition {
    /// Its number, from 1 on.
    pub number: u32,
    /// Its name; an MBR has none.
    pub name: String,
    /// The type's GUID or number.
    pub type_id: String,
    /// The type by a name that people know.
    pub type_name: &'static str,
    /// Its own GUID, in a GPT.
    pub guid: Option<String>,
    /// The attributes, in a GPT.
    pub attributes: Option<u64>,
    /// Its first byte on the disk.
    pub start_bytes: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// All that the table says of it.
    #[serde(skip)]
    pub fields: Vec<Field>,
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
        let possible = |(_, record): &(u32, &MbrRecord)| {
            let end = (u64::from(record.starting_lba.get()) + u64::from(record.size_in_lba.get())) * SECTOR;
            matches!(record.boot_indicator, 0 | 0x80) && record.starting_lba.get() != 0 && end <= size
        };
        let records: Vec<_> = self.used_records().collect();
        if self.signature != [0x55, 0xAA] || records.is_empty() || !records.iter().all(possible) {
            return None;
        }
        Some(records.into_iter().map(|(number, record)| Partition::of_mbr(number, record)).collect())
    }

    /// The records that are in use, with their numbers from 1 on.
    pub fn used_records(&self) -> impl Iterator<Item = (u32, &MbrRecord)> {
        (1..).zip(&self.partition_record).filter(|(_, record)| record.os_type != 0)
    }

    /// Whether records beside the protective one show partitions of a GPT too.
    pub fn is_hybrid(&self) -> bool {
        let is_protective = |(_, record): (u32, &MbrRecord)| record.os_type == OS_TYPE_PROTECTIVE;
        self.used_records().any(is_protective) && self.used_records().count() > 1
    }
}

impl Gpt {
    fn read(
        disk: &dyn Source,
        block_size: u64,
        problems: &mut Vec<String>,
    ) -> Result<Option<(Self, Vec<Partition>)>, ReadError> {
        let last = (disk.size() / block_size).saturating_sub(1);
        let (first, first_problem) = Header::read_at(disk, 1, block_size)?;
        let alternate = first.as_ref().map_or(last, |header| header.alternate_lba.get());
        let (backup, backup_problem) = Header::read_at(disk, alternate, block_size)?;
        let (header, backup) = match (first, backup) {
            (Some(first), backup) if first_problem.is_none() || backup_problem.is_some() => (first, backup),
            (_, Some(backup)) => (backup, None),
            _ => return Ok(None),
        };
        if let Some(problem) = first_problem {
            problems.push(format!("the GPT header in LBA 1 is damaged: {problem}"));
        }
        if let Some(problem) = backup_problem {
            problems.push(format!("the backup GPT header in LBA {alternate} is damaged: {problem}"));
        }
        if alternate != last {
            problems.push(format!("the backup GPT header is in LBA {alternate}, not in the last, {last}"));
        }
        if let Some(backup) = &backup {
            compare(&header, backup, problems);
        }
        let partitions = partitions(disk, &header, block_size, problems)?;
        Ok(Some((Self { header, backup, block_size }, partitions)))
    }
}

impl Header {
    /// The header in a block, and what is wrong with it.
    fn read_at(
        disk: &dyn Source,
        lba: u64,
        block_size: u64,
    ) -> Result<(Option<Self>, Option<String>), ReadError> {
        let offset = lba.checked_mul(block_size).filter(|&offset| disk.check(offset, block_size).is_ok());
        if let Some(offset) = offset {
            let block = disk.bytes(offset, index(block_size))?;
            if let Ok((header, _)) = Self::read_from_prefix(&block)
                && &header.signature == b"EFI PART"
            {
                let problem = header.problem(&block, lba);
                return Ok((Some(header), problem));
            }
        }
        Ok((None, Some("there is none".to_owned())))
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
    problems.extend(header.entries_problem(&array));
    let mut partitions = Vec::new();
    for (number, bytes) in (1..).zip(array.chunks(index(size))) {
        let Ok((entry, _)) = Entry::read_from_prefix(bytes) else { continue };
        if entry.partition_type_guid == [0; 16] {
            continue;
        }
        let (first, last) = (entry.starting_lba.get(), entry.ending_lba.get());
        let place = || {
            let blocks = last.checked_sub(first)?.checked_add(1)?;
            Some((first.checked_mul(block_size)?, blocks.checked_mul(block_size)?))
        };
        let place = place().filter(|&(start, size)| disk.check(start, size).is_ok());
        if place.is_none() {
            problems.push(format!("partition {number} (LBA {first} to {last}) does not lie on the disk"));
        }
        partitions.push(Partition::of_gpt(number, &entry, place.unwrap_or_default()));
    }
    Ok(partitions)
}

impl Partition {
    fn of_gpt(number: u32, entry: &Entry, (start_bytes, bytes): (u64, u64)) -> Self {
        let type_id = on_disk::guid(&entry.partition_type_guid);
        let known = GPT_TYPES.iter().find(|(id, _)| *id == type_id);
        Self {
            number,
            name: on_disk::utf16(&entry.partition_name),
            type_id,
            type_name: known.map_or("unknown type", |(_, name)| name),
            guid: Some(on_disk::guid(&entry.unique_partition_guid)),
            attributes: Some(entry.attributes.get()),
            start_bytes,
            bytes,
            fields: entry.fields(),
        }
    }

    fn of_mbr(number: u32, record: &MbrRecord) -> Self {
        let type_name = match record.os_type {
            0x05 | 0x0F | 0x85 => "extended",
            0x01 | 0x04 | 0x06 | 0x0B | 0x0C | 0x0E => "FAT",
            0x07 => "NTFS or exFAT",
            0x82 => "Linux swap",
            0x83 => "Linux file system",
            0x8E => "Linux LVM",
            OS_TYPE_PROTECTIVE => "GPT protective",
            0xEF => "EFI system partition",
            _ => "unknown type",
        };
        Self {
            number,
            name: String::new(),
            type_id: format!("{:#04x}", record.os_type),
            type_name,
            guid: None,
            attributes: None,
            start_bytes: u64::from(record.starting_lba.get()) * SECTOR,
            bytes: u64::from(record.size_in_lba.get()) * SECTOR,
            fields: record.fields(),
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
