//! The boot sector of a FAT file system (Microsoft's "FAT: General Overview of On-Disk Format" 1.03, "Boot Sector and
//! BPB Structure") and what follows from it.

use std::fmt;

use zerocopy::FromBytes;

use crate::container::reader::{ReadError, Source};
use crate::fs::fat::disk::{Common, ENTRY, Fat32, SIGNATURE, Volume};
use crate::on_disk::{Field, Structure};
use crate::units::{SECTOR, index};

/// How many bits an entry of the allocation table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Fewer than 4,085 clusters.
    Fat12,
    /// Fewer than 65,525.
    Fat16,
    /// More, with 28 bits in use.
    Fat32,
}

impl Width {
    /// The kind's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fat12 => "FAT12",
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
        }
    }
}

/// A boot sector and the places that follow from it, in bytes from the start of the file system.
#[derive(Debug)]
pub struct BootSector {
    /// The common fields.
    pub common: Common,
    /// FAT32's own.
    pub fat32: Option<Fat32>,
    /// The volume's number and label.
    pub volume: Volume,
    /// How wide the table's entries are.
    pub width: Width,
    /// The size of a cluster.
    pub cluster_size: u64,
    /// The number of clusters; the first has the number 2.
    pub clusters: u32,
    /// Where the first allocation table is.
    pub table: u64,
    /// The length of one table.
    pub table_size: u64,
    /// Where the root directory of FAT12 and FAT16 is, and its length.
    pub root: (u64, u64),
    /// Where cluster 2 is.
    pub data: u64,
}

/// Whether a sector looks like the start of a FAT file system.
pub fn is_fat(sector: &[u8]) -> bool {
    let Ok((common, _)) = Common::read_from_prefix(sector) else { return false };
    let jump = matches!(common.bs_jmp_boot, [0xEB, _, 0x90] | [0xE9, _, _]);
    let sizes = matches!(common.bpb_byts_per_sec.get(), 512 | 1024 | 2048 | 4096)
        && common.bpb_sec_per_clus.is_power_of_two()
        && matches!(common.bpb_num_fats, 1 | 2)
        && common.bpb_rsvd_sec_cnt.get() != 0;
    jump && sizes && sector.get(510..512) == Some(&SIGNATURE)
}

impl BootSector {
    /// Reads the boot sector and checks that what it says of sizes fits into the partition.
    pub fn read(source: &dyn Source) -> Result<Self, ReadError> {
        let sector = source.bytes(0, index(SECTOR))?;
        if !is_fat(&sector) {
            return Err(impossible("this is no FAT file system"));
        }
        let short = |_| impossible("it is cut short");
        let (common, rest) = Common::read_from_prefix(&sector).map_err(|error| short(error.to_string()))?;
        let (fat32, rest) = if common.bpb_fat_sz16.get() == 0 {
            let (fat32, rest) = Fat32::read_from_prefix(rest).map_err(|error| short(error.to_string()))?;
            (Some(fat32), rest)
        } else {
            (None, rest)
        };
        let (volume, _) = Volume::read_from_prefix(rest).map_err(|error| short(error.to_string()))?;

        let bytes = u64::from(common.bpb_byts_per_sec.get());
        let sectors = match common.bpb_tot_sec16.get() {
            0 => u64::from(common.bpb_tot_sec32.get()),
            sectors => sectors.into(),
        };
        let table_sectors =
            fat32.as_ref().map_or(common.bpb_fat_sz16.get().into(), |fat32| fat32.bpb_fat_sz32.get());
        let table = u64::from(common.bpb_rsvd_sec_cnt.get()) * bytes;
        let table_size = u64::from(table_sectors) * bytes;
        let root = table + u64::from(common.bpb_num_fats) * table_size;
        let root_size = (u64::from(common.bpb_root_ent_cnt.get()) * ENTRY).next_multiple_of(bytes);
        let data = root + root_size;
        let cluster_size = u64::from(common.bpb_sec_per_clus) * bytes;
        let total = sectors * bytes;
        if total > source.size() {
            return Err(impossible(format!(
                "it counts {sectors} sectors; there are {} bytes",
                source.size()
            )));
        }
        let clusters = total
            .checked_sub(data)
            .ok_or_else(|| impossible(format!("its tables need {data} bytes of {total}")))?
            / cluster_size;
        let clusters = u32::try_from(clusters).map_err(|_| impossible("it has too many clusters"))?;
        let width = match clusters {
            _ if fat32.is_some() => Width::Fat32,
            0..4085 => Width::Fat12,
            _ => Width::Fat16,
        };
        let needed = match width {
            Width::Fat12 => (u64::from(clusters) + 2) * 3 / 2,
            Width::Fat16 => (u64::from(clusters) + 2) * 2,
            Width::Fat32 => (u64::from(clusters) + 2) * 4,
        };
        if needed > table_size {
            return Err(impossible(format!(
                "a table of {table_size} bytes is too short for {clusters} clusters"
            )));
        }
        let root = (root, root_size);
        Ok(Self { common, fat32, volume, width, cluster_size, clusters, table, table_size, root, data })
    }

    /// All fields, in the order in which they lie on disk.
    pub fn fields(&self) -> Vec<Field> {
        let fat32 = self.fat32.as_ref().map(Structure::fields).unwrap_or_default();
        self.common.fields().into_iter().chain(fat32).chain(self.volume.fields()).collect()
    }

    /// Where a cluster begins; nothing for a number that no cluster has.
    pub fn cluster(&self, number: u32) -> Option<u64> {
        let i = number.checked_sub(2).filter(|&i| i < self.clusters)?;
        Some(self.data + u64::from(i) * self.cluster_size)
    }
}

pub fn impossible(problem: impl fmt::Display) -> ReadError {
    ReadError::damaged(format!("the FAT boot sector is damaged: {problem}"))
}
