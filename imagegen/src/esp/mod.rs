//! The EFI system partition: a FAT16 file system, planned as a whole and then written in one pass.

mod directory;
mod files;
mod layout;
mod names;
pub mod reader;

use std::io;

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U16;

pub use directory::Contents;
use layout::{FATS, FIRST_CLUSTER, Geometry, MEDIA};

use crate::container::Sink;
use crate::content::NamedContent;
use crate::mbr::Partition;
use crate::progress::Progress;
use crate::units::{ByteCount, GuestOffset, GuestRange, length};

/// In the allocation table: the chain ends here.
const END_OF_CHAIN: u16 = 0xFFFF;

/// Why a file system cannot be planned or written.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// A name that FAT cannot hold.
    #[error("`{path}` cannot be stored on the EFI system partition: {why}")]
    Name {
        /// The path on the partition.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A path that is given twice, or as file and as directory.
    #[error("`{path}` would be on the EFI system partition twice")]
    Twice {
        /// The path on the partition.
        path: String,
    },
    /// Names that are the same to FAT.
    #[error("`{path}` and `{other}` differ only in case, which FAT does not tell apart")]
    SameName {
        /// One path on the partition.
        path: String,
        /// The other one.
        other: String,
    },
    /// More entries than a directory can have.
    #[error("the directory `/{path}` of the EFI system partition has more entries than FAT allows")]
    DirectoryFull {
        /// The directory.
        path: String,
    },
    /// The root directory of FAT16 has a fixed size.
    #[error("the root directory of the EFI system partition has {entries} entries and holds {limit}")]
    RootFull {
        /// How many entries there would be.
        entries: u64,
        /// How many there can be.
        limit: u64,
    },
    /// FAT12 would be the file system for so few clusters.
    #[error("an EFI system partition of {0} is too small for FAT16")]
    TooSmall(ByteCount),
    /// FAT32 would be the file system for so many clusters.
    #[error("an EFI system partition of {0} is too large for FAT16")]
    TooLarge(ByteCount),
    /// The files are too large.
    #[error("the files need {missing} more than the EFI system partition has room for")]
    Full {
        /// How much is missing, in whole clusters.
        missing: ByteCount,
    },
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file on this machine.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file has another size than it had before.
    #[error("`{path}` changed while it was read; it had {size} bytes when the disk was planned")]
    Changed {
        /// The file on this machine.
        path: String,
        /// Its former size.
        size: u64,
    },
    /// The image cannot be written.
    #[error("cannot write the EFI system partition")]
    Write {
        /// What the system said.
        source: io::Error,
    },
}

/// A file system of which everything is known but the contents of the files.
#[derive(Debug, Clone)]
pub struct Plan {
    geometry: Geometry,
    contents: Contents,
    /// Where each directory lies; the root, which has no clusters, comes first.
    directories: Vec<Chain>,
    /// Where each file lies.
    files: Vec<Chain>,
}

/// Neighbouring clusters. Nothing is ever deleted here, so nothing is ever in pieces.
#[derive(Debug, Clone, Copy)]
struct Chain {
    /// The first cluster, or zero for something without any.
    first: u64,
    count: u64,
}

/// Plans a file system that fills a partition, with the geometry that mkfs.fat would give it.
pub fn plan(partition: Partition, contents: &Contents) -> Result<Plan, EspError> {
    let geometry = Geometry::new(partition)?;
    let missing = missing(&geometry, contents)?;
    if missing > ByteCount(0) {
        return Err(EspError::Full { missing });
    }
    let mut next = FIRST_CLUSTER;
    let mut chains = contents.lengths().map(|length| {
        let count = length.div_ceil(geometry.cluster_bytes());
        let first = if count == 0 { 0 } else { next };
        next += count;
        Chain { first, count }
    });
    let mut directories = vec![Chain { first: 0, count: 0 }];
    directories.extend(chains.by_ref().take(contents.directory_count()));
    let files = chains.collect();
    Ok(Plan { geometry, contents: contents.clone(), directories, files })
}

/// Whether the contents fit into a partition of that size.
pub fn fits(partition: Partition, contents: &Contents) -> bool {
    Geometry::new(partition)
        .and_then(|geometry| missing(&geometry, contents))
        .is_ok_and(|missing| missing == ByteCount(0))
}

/// How much the contents need beyond what there is.
fn missing(geometry: &Geometry, contents: &Contents) -> Result<ByteCount, EspError> {
    let entries = contents.directory_bytes(0) / directory::ENTRY;
    if entries > geometry.root_entries() {
        return Err(EspError::RootFull { entries, limit: geometry.root_entries() });
    }
    let cluster = geometry.cluster_bytes();
    let needed = contents.lengths().fold(0, |sum: u64, length| sum.saturating_add(length.div_ceil(cluster)));
    Ok(ByteCount(needed.saturating_sub(geometry.clusters).saturating_mul(cluster)))
}

impl Plan {
    /// The files and directories.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The ranges of the disk that [`Plan::write`] writes, sorted and disjoint.
    pub fn allocated(&self) -> Vec<GuestRange> {
        let range = |start: GuestOffset, length| start..start.advanced(length);
        let mut ranges = vec![range(self.geometry.boot_sector(), 512)];
        let table = length(self.table().as_bytes().len());
        ranges.extend((0..FATS).map(|copy| range(self.geometry.fat_copy(copy), table)));
        ranges.push(range(self.geometry.root_directory(), self.contents.directory_bytes(0)));
        let directories = self.directories[1..].iter().zip(self.contents.lengths());
        ranges.extend(
            directories
                .filter(|(chain, _)| chain.count > 0)
                .map(|(chain, length)| range(self.geometry.cluster(chain.first), length)),
        );
        // One behind the other.
        let mut files = self.file_ranges().into_iter().filter(|range| !range.is_empty());
        if let Some(first) = files.next() {
            ranges.push(first.start..files.next_back().unwrap_or(first).end);
        }
        ranges
    }

    /// Writes the file system. A file is read a piece at a time.
    pub fn write(&self, sink: &dyn Sink, progress: &dyn Progress) -> Result<(), EspError> {
        let data =
            |offset, bytes: &[u8]| sink.data(offset, bytes).map_err(|source| EspError::Write { source });
        let boot_sector = self.geometry.boot_sector_bytes(self.contents.label);
        data(self.geometry.boot_sector(), boot_sector.as_bytes())?;
        let table = self.table();
        for copy in 0..FATS {
            data(self.geometry.fat_copy(copy), table.as_bytes())?;
        }
        for (number, chain) in self.directories.iter().enumerate() {
            let entries = self.contents.directory_entries(
                number,
                |directory| self.directories[directory].first,
                |file| self.files[file].first,
            );
            let place =
                if number == 0 { self.geometry.root_directory() } else { self.geometry.cluster(chain.first) };
            data(place, &entries)?;
        }
        let contents = self.contents.files.iter().map(|file| &file.content);
        let placed: Vec<_> = contents.zip(self.file_ranges()).collect();
        files::write(&placed, sink, progress)
    }

    /// Where each file is written: up to the beginning of the next one, and the last one as long as it is.
    fn file_ranges(&self) -> Vec<GuestRange> {
        let last = self.files.iter().map(|chain| chain.first).max();
        let range = |(file, chain): (&NamedContent, &Chain)| {
            if chain.count == 0 {
                return GuestOffset(0)..GuestOffset(0);
            }
            let start = self.geometry.cluster(chain.first);
            let whole = chain.count * self.geometry.cluster_bytes();
            let written = if Some(chain.first) == last { file.content.size() } else { whole };
            start..start.advanced(written)
        };
        self.contents.files.iter().zip(&self.files).map(range).collect()
    }

    /// The allocation table up to its last entry in use.
    fn table(&self) -> Vec<U16> {
        let mut table = vec![U16::new(0xFF00 | u16::from(MEDIA)), END_OF_CHAIN.into()];
        for chain in self.directories.iter().chain(&self.files).filter(|chain| chain.count > 0) {
            // Chains follow one another without gaps, and clusters have numbers of 16 bits.
            let next = (chain.first + 1..chain.first + chain.count)
                .map(|cluster| u16::try_from(cluster).unwrap_or(END_OF_CHAIN));
            table.extend(next.chain([END_OF_CHAIN]).map(U16::new));
        }
        table
    }
}
