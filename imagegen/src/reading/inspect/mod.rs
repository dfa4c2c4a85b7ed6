//! What an image consists of, from the outside in: container, partition table, file systems, variables. The structures
//! are what `inspect --json` prints; docs/reading-images.md describes them.

mod container;
mod ext4;
mod fat;
mod variables;

use serde::Serialize;

use crate::container::reader::{Image, ReadError, Source, Window};
use crate::disk::gpt::reader::{Partition as Entry, PartitionTable};
use crate::error_kind::ErrorKind;
use crate::on_disk::{Field, Structure};
use crate::reading::bootable::{BootCode, is_grub_core};
use crate::reading::probe;

pub use container::{AllocatedFile, Container};
pub use ext4::{Ext4, Group, StorePathUse, Usage};
pub use fat::{Fat, FatFile, LoaderEntry};
pub use variables::{EfiVariables, ListedVariable};

/// An image and what is in it.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Inspection {
    /// The files of the image.
    pub container: Container,
    /// What the disk holds.
    pub contents: Contents,
}

/// What a disk or partition holds.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Contents {
    /// Partitions.
    PartitionTable(Box<Table>),
    /// An ext4 file system.
    Ext4(Box<Ext4>),
    /// A FAT file system.
    Fat(Box<Fat>),
    /// A variable store of firmware.
    EfiVariables(Box<EfiVariables>),
    /// Something that is only named.
    Other {
        /// Its name.
        name: &'static str,
    },
    /// Zeros at the start.
    Zeros,
    /// Unknown bytes.
    Unknown,
    /// Something known that this program does not read.
    Unread {
        /// What, and what to do about it.
        problem: String,
    },
    /// Something known that is damaged.
    Damaged {
        /// Why.
        problem: String,
    },
}

/// A partition table.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Table {
    /// `gpt` or `mbr`.
    pub scheme: &'static str,
    /// Whether an MBR shows some of a GPT's partitions too.
    pub hybrid: bool,
    /// What the boot code in sector 0 is: `grub`, `none` or `unknown`.
    pub boot_code: &'static str,
    /// The size of a logical block.
    pub block_bytes: u64,
    /// The records of the MBR that are in use.
    pub mbr: Vec<MbrPartition>,
    /// The fields of the GPT's header, by their names in the specification.
    pub gpt_header: Vec<Field>,
    /// The partitions.
    pub partitions: Vec<Partition>,
    /// What is wrong with the tables.
    pub problems: Vec<String>,
}

/// A record of an MBR.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct MbrPartition {
    /// Its number, from 1 on.
    pub number: u32,
    /// The type.
    pub os_type: u8,
    /// The first sector.
    pub first_lba: u32,
    /// The number of sectors.
    pub sectors: u32,
}

/// A partition.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Partition {
    /// What the table says of it.
    #[serde(flatten)]
    pub entry: Entry,
    /// What is in it.
    pub contents: Contents,
}

/// Examines an image. What is damaged inside is told where it stands; only the container must be readable.
pub fn inspect(image: &Image) -> Result<Inspection, ReadError> {
    Ok(Inspection { container: Container::of(image)?, contents: contents_of(image, true) })
}

fn contents_of(source: &dyn Source, whole_disk: bool) -> Contents {
    try_contents(source, whole_disk).unwrap_or_else(|error| match (error.kind(), error.to_string()) {
        (ErrorKind::Unsupported, problem) => Contents::Unread { problem },
        (_, problem) => Contents::Damaged { problem },
    })
}

fn try_contents(source: &dyn Source, whole_disk: bool) -> Result<Contents, ReadError> {
    Ok(match probe::Contents::detect(source)? {
        // A table within a partition belongs to a guest's disk.
        probe::Contents::Partitions(table) if whole_disk => {
            Contents::PartitionTable(Box::new(Table::of(source, *table)))
        }
        probe::Contents::Partitions(_) => Contents::Other { name: "partition table" },
        probe::Contents::Ext4 => Contents::Ext4(Box::new(Ext4::of(source)?)),
        probe::Contents::Fat => Contents::Fat(Box::new(Fat::of(source)?)),
        probe::Contents::EfiVariables => Contents::EfiVariables(Box::new(EfiVariables::of(source)?)),
        probe::Contents::Named(name) => Contents::Other { name },
        probe::Contents::Zeros => Contents::Zeros,
        probe::Contents::Unknown if is_grub_core(source) => Contents::Other { name: "GRUB core image" },
        probe::Contents::Unknown => Contents::Unknown,
    })
}

impl Table {
    fn of(disk: &dyn Source, table: PartitionTable) -> Self {
        Self {
            scheme: if table.gpt.is_some() { "gpt" } else { "mbr" },
            hybrid: table.mbr.is_hybrid(),
            boot_code: BootCode::name(&table.mbr),
            block_bytes: table.gpt.as_ref().map_or(512, |gpt| gpt.block_size),
            mbr: table
                .mbr
                .used_records()
                .map(|(number, record)| MbrPartition {
                    number,
                    os_type: record.os_type,
                    first_lba: record.starting_lba.get(),
                    sectors: record.size_in_lba.get(),
                })
                .collect(),
            gpt_header: table.gpt.as_ref().map(|gpt| gpt.header.fields()).unwrap_or_default(),
            partitions: table.partitions.into_iter().map(|entry| Partition::of(disk, entry)).collect(),
            problems: table.problems,
        }
    }
}

impl Partition {
    fn of(disk: &dyn Source, entry: Entry) -> Self {
        let contents = match Window::new(disk, entry.start_bytes, entry.bytes) {
            Ok(window) => contents_of(&window, false),
            Err(error) => Contents::Damaged { problem: error.to_string() },
        };
        Self { entry, contents }
    }
}
