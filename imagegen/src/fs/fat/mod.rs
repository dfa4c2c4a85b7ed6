//! The EFI system partition: a FAT16 or FAT32 file system, planned as a whole and then written in one pass.

mod boot_sector;
mod directory;
mod disk;
mod files;
mod geometry;
mod names;
pub mod reader;

use std::io;

pub use directory::Contents;
pub use geometry::Fat;

use disk::{ENTRY, MEDIA};
use geometry::{FATS, FIRST_CLUSTER, Geometry};

use crate::container::Sink;
use crate::disk::mbr::Partition;
use crate::error_kind::{ErrorKind, InternalError};
use crate::fs::file_source::{NamedFile, SourceError};
use crate::job::Job;
use crate::units::{ByteCount, GuestOffset, GuestRange, SECTOR, fit, length};

/// In the allocation table: the chain ends here. FAT16 has the lower half of it.
const END_OF_CHAIN: u32 = 0x0FFF_FFFF;

/// Why a file system cannot be planned or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FatError {
    /// A name that FAT cannot hold.
    #[error("`{path}` cannot be stored on the EFI system partition: {why}")]
    Name {
        /// The path on the partition.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A path that is given twice, or as file and as directory.
    #[error("`{path}` would be on the EFI system partition twice{sources}")]
    Twice {
        /// The path on the partition.
        path: String,
        /// Where either comes from, and what to do; empty where that is nowhere on this machine.
        sources: String,
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
    /// Another FAT would be the file system for so few clusters.
    #[error(
        "an EFI system partition of {size} is too small for {kind}: it has room for {clusters} clusters, and {kind} is what \
         has at least {}",
        if *kind == Fat::Fat32 { "65525" } else { "4085" }
    )]
    TooSmall {
        /// The partition's size.
        size: ByteCount,
        /// What it was to be.
        kind: Fat,
        /// The clusters of the smallest size that there are.
        clusters: u64,
    },
    /// The boot sector counts the sectors before it in 32 bits.
    #[error(
        "an EFI system partition cannot begin at sector {first}: FAT counts the sectors before it in 32 bits, up to 2 TiB"
    )]
    TooFar {
        /// The partition's first sector.
        first: u64,
    },
    /// The largest number of clusters of the largest size is too small.
    #[error(
        "an EFI system partition of {size} is too large for {kind}, which has at most {}",
        if *kind == Fat::Fat32 { "2^32 sectors (2 TiB)" } else { "65524 clusters of 64 KiB (4 GiB); FAT32 has more" }
    )]
    TooLarge {
        /// The partition's size.
        size: ByteCount,
        /// What it was to be.
        kind: Fat,
    },
    /// A file's size has 32 bits.
    #[error(
        "`{path}` has {size}, and a file on FAT has less than 4 GiB; it cannot be on the EFI system partition"
    )]
    FileTooLarge {
        /// The path on the partition.
        path: String,
        /// Its size.
        size: ByteCount,
    },
    /// The files are too large.
    #[error("the files need {missing} more than the EFI system partition has room for")]
    Full {
        /// How much is missing, in whole clusters.
        missing: ByteCount,
    },
    /// A file cannot be read, or is not what it was.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The image cannot be written.
    #[error("cannot write the EFI system partition")]
    Write {
        /// What the system said.
        source: io::Error,
    },
    /// This library contradicts itself.
    #[error(transparent)]
    Internal(#[from] InternalError),
}

impl FatError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name { .. } | Self::Twice { .. } | Self::SameName { .. } | Self::TooSmall { .. } => {
                ErrorKind::InvalidInput
            }
            Self::Source(error) => error.kind(),
            Self::Write { source } => ErrorKind::of(source),
            Self::Internal(_) => ErrorKind::Internal,
            _ => ErrorKind::TooLarge,
        }
    }
}

/// A file system of which everything is known but the contents of the files.
#[derive(Debug, Clone)]
pub struct Plan {
    geometry: Geometry,
    contents: Contents,
    /// Where each directory lies; the root, which has no clusters in FAT16, comes first.
    directories: Vec<Chain>,
    /// Where each file lies.
    files: Vec<Chain>,
}

/// Neighbouring clusters. Nothing is ever deleted here, so nothing is ever in pieces.
#[derive(Debug, Clone, Copy)]
struct Chain {
    /// The first cluster, or zero for something without any.
    first: u32,
    count: u32,
}

/// Plans a file system that fills a partition, with the geometry that mkfs.fat would give it; it chooses the kind, too, if
/// `fat` is none.
pub fn plan(partition: Partition, contents: &Contents, fat: Option<Fat>) -> Result<Plan, FatError> {
    let geometry = Geometry::new(partition, fat)?;
    let missing = missing(&geometry, contents)?;
    if missing > ByteCount(0) {
        return Err(FatError::Full { missing });
    }
    let mut next = FIRST_CLUSTER;
    let mut chains = Vec::new();
    for length in lengths(&geometry, contents) {
        let count = fit(length.div_ceil(geometry.cluster_bytes()))?;
        chains.push(Chain { first: if count == 0 { 0 } else { next }, count });
        next += count;
    }
    let files = chains.split_off(1 + contents.directory_count());
    Ok(Plan { geometry, contents: contents.clone(), directories: chains, files })
}

/// Whether the contents fit into a partition of that size.
pub fn fits(partition: Partition, contents: &Contents, fat: Option<Fat>) -> bool {
    Geometry::new(partition, fat)
        .and_then(|geometry| missing(&geometry, contents))
        .is_ok_and(|missing| missing == ByteCount(0))
}

/// How much the contents need beyond what there is.
fn missing(geometry: &Geometry, contents: &Contents) -> Result<ByteCount, FatError> {
    let entries = contents.directory_bytes(0) / ENTRY;
    if geometry.kind == Fat::Fat16 && entries > geometry.root_entries() {
        return Err(FatError::RootFull { entries, limit: geometry.root_entries() });
    }
    let cluster = geometry.cluster_bytes();
    let needed =
        lengths(geometry, contents).fold(0, |sum: u64, length| sum.saturating_add(length.div_ceil(cluster)));
    Ok(ByteCount(needed.saturating_sub(geometry.clusters).saturating_mul(cluster)))
}

/// The lengths in bytes of all directories, then of all files, in the order of their clusters. FAT16's root directory has
/// a place outside of the clusters.
fn lengths<'c>(geometry: &Geometry, contents: &'c Contents) -> impl Iterator<Item = u64> + use<'c> {
    let root = match geometry.kind {
        Fat::Fat16 => 0,
        Fat::Fat32 => contents.directory_bytes(0),
    };
    std::iter::once(root).chain(contents.lengths())
}

impl Plan {
    /// The files and directories.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The ranges of the disk that [`Plan::write`] writes, sorted and disjoint.
    pub fn allocated(&self) -> Vec<GuestRange> {
        let range = |start: GuestOffset, length| start..start.advanced(length);
        let mut ranges: Vec<_> = self.first_sectors().map(|start| range(start, SECTOR)).collect();
        let table = length(self.table().len());
        ranges.extend((0..FATS).map(|copy| range(self.geometry.fat_copy(copy), table)));
        let directories = 0..self.directories.len();
        ranges.extend(
            directories.map(|number| range(self.place(number), self.contents.directory_bytes(number))),
        );
        // One behind the other.
        let mut files = self.file_ranges().into_iter().filter(|range| !range.is_empty());
        if let Some(first) = files.next() {
            ranges.push(first.start..files.next_back().unwrap_or(first).end);
        }
        ranges
    }

    /// Writes the file system. A file is read a piece at a time.
    pub fn write(&self, sink: &dyn Sink, job: &Job<'_>) -> Result<(), FatError> {
        let data =
            |offset, bytes: &[u8]| sink.data(offset, bytes).map_err(|source| FatError::Write { source });
        let used = self.directories.iter().chain(&self.files).map(|chain| u64::from(chain.count)).sum();
        let sectors = boot_sector::sectors(&self.geometry, self.contents.label, used)?;
        for (offset, sector) in self.first_sectors().zip(sectors) {
            data(offset, &sector)?;
        }
        let table = self.table();
        for copy in 0..FATS {
            data(self.geometry.fat_copy(copy), &table)?;
        }
        for number in 0..self.directories.len() {
            let entries = self.contents.directory_entries(
                number,
                |directory| self.directories[directory].first,
                |file| self.files[file].first,
            )?;
            data(self.place(number), &entries)?;
        }
        let contents = self.contents.files.iter().map(|file| &file.content);
        let placed: Vec<_> = contents.zip(self.file_ranges()).collect();
        files::write(&placed, sink, job)
    }

    /// Where the sectors before the allocation tables lie.
    fn first_sectors(&self) -> impl Iterator<Item = GuestOffset> {
        let start = self.geometry.boot_sector();
        let numbers = boot_sector::numbers(self.geometry.kind).iter();
        numbers.map(move |&number| start.advanced(u64::from(number) * SECTOR))
    }

    /// Where a directory lies.
    fn place(&self, number: usize) -> GuestOffset {
        match self.directories.get(number) {
            Some(chain) if chain.count > 0 => self.geometry.cluster(chain.first),
            _ => self.geometry.root_directory(),
        }
    }

    /// Where each file is written: up to the beginning of the next one, and the last one as long as it is.
    fn file_ranges(&self) -> Vec<GuestRange> {
        let last = self.files.iter().map(|chain| chain.first).max();
        let range = |(file, chain): (&NamedFile, &Chain)| {
            if chain.count == 0 {
                return GuestOffset(0)..GuestOffset(0);
            }
            let start = self.geometry.cluster(chain.first);
            let whole = u64::from(chain.count) * self.geometry.cluster_bytes();
            let written = if Some(chain.first) == last { file.content.size() } else { whole };
            start..start.advanced(written)
        };
        self.contents.files.iter().zip(&self.files).map(range).collect()
    }

    /// The allocation table up to its last entry in use.
    fn table(&self) -> Vec<u8> {
        let mut entries = vec![END_OF_CHAIN & !0xFF | u32::from(MEDIA), END_OF_CHAIN];
        for chain in self.directories.iter().chain(&self.files).filter(|chain| chain.count > 0) {
            // Chains follow one another without gaps.
            entries.extend((chain.first + 1..chain.first + chain.count).chain([END_OF_CHAIN]));
        }
        let bytes = entries.into_iter().map(u32::to_le_bytes);
        match self.geometry.kind {
            Fat::Fat16 => bytes.flat_map(|[a, b, ..]| [a, b]).collect(),
            Fat::Fat32 => bytes.flatten().collect(),
        }
    }
}
