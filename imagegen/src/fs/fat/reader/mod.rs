//! Reading FAT12, FAT16 and FAT32 file systems, ours and others'. Nothing on disk is trusted: chains of clusters are
//! bounded, and no directory is entered twice.

mod boot_sector;
mod directory;
mod table;

use std::collections::HashSet;

use crate::container::reader::{ReadError, Source};
use crate::error_kind::ErrorKind;
use crate::fs::file_on_disk::{FileOnDisk, Piece};
use crate::units::{GuestOffset, index};

pub use super::disk::RawEntry;
pub use boot_sector::{BootSector, Width, is_fat};
pub use directory::Entry;

use table::{Next, Table};

/// The most that a directory may have: 65,536 entries.
const DIRECTORY_MAX: u64 = 2 << 20;
/// More files than this are in no system partition.
const FILES_MAX: usize = 1 << 20;

/// A path has at most 260 characters for most of those who read it.
const DEPTH_MAX: usize = 130;

/// Why a file system cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FatReadError {
    /// The image cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The boot sector is impossible.
    #[error("the FAT boot sector is damaged: {0}")]
    BootSector(String),
    /// A chain leads nowhere.
    #[error(
        "the chain of clusters that begins with {first} breaks off at {cluster}; `fsck.fat -n` says more"
    )]
    Chain {
        /// Its first cluster.
        first: u32,
        /// The one that is free, bad or does not exist.
        cluster: u32,
    },
    /// A directory that contains itself.
    #[error("the directory `{0}` is in the tree twice")]
    Loop(String),
    /// A file that is shorter than its entry says.
    #[error("the file `{path}` has {size} bytes by its entry, but clusters for {there} only")]
    Short {
        /// The file.
        path: String,
        /// Its size by its entry.
        size: u64,
        /// What its clusters hold.
        there: u64,
    },
    /// More nested than anybody's path can name.
    #[error("the directory `{0}` is nested more than {DEPTH_MAX} levels deep")]
    TooDeep(String),
    /// More files than this program reads.
    #[error("there are more than {FILES_MAX} files")]
    TooManyFiles,
}

impl FatReadError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::TooDeep(_) | Self::TooManyFiles => ErrorKind::TooLarge,
            _ => ErrorKind::InvalidInput,
        }
    }
}

/// A file system in a disk or partition.
pub struct FileSystem<'s> {
    source: &'s dyn Source,
    boot: BootSector,
}

/// A file or directory and its place in the tree.
#[derive(Debug, Clone)]
pub struct Found {
    /// The path from the root, fit for a terminal, names separated by `/`.
    pub path: String,
    /// Its entry.
    pub entry: Entry,
    /// Where its contents lie on the disk; nothing for an empty file.
    pub guest_offset: Option<GuestOffset>,
}

/// All that is in a file system.
#[derive(Debug)]
pub struct Listing {
    /// The label in the root directory.
    pub label: Option<String>,
    /// Everything, each directory before what it contains, names in the order of their bytes.
    pub found: Vec<Found>,
}

impl<'s> FileSystem<'s> {
    /// Reads the boot sector.
    pub fn open(source: &'s dyn Source) -> Result<Self, FatReadError> {
        Ok(Self { source, boot: BootSector::read(source)? })
    }

    /// The boot sector.
    pub fn boot_sector(&self) -> &BootSector {
        &self.boot
    }

    /// The number of free clusters by the first allocation table.
    pub fn free_clusters(&self) -> Result<u32, FatReadError> {
        let mut table = Table::new(&self.boot, self.source);
        let mut free = 0;
        for cluster in 2..self.boot.clusters.saturating_add(2) {
            free += u32::from(table.next(cluster)? == Next::Free);
        }
        Ok(free)
    }

    /// Everything in the file system.
    pub fn list(&self) -> Result<Listing, FatReadError> {
        let (entries, label) = directory::parse(&self.root()?);
        let mut listing = Listing { label, found: Vec::new() };
        let mut entered = HashSet::new();
        let mut open = vec![(String::new(), sorted(entries))];
        while let Some((prefix, entries)) = open.last_mut() {
            let Some(entry) = entries.next() else {
                open.pop();
                continue;
            };
            let path =
                if prefix.is_empty() { entry.name.clone() } else { format!("{prefix}/{}", entry.name) };
            let first = entry.first_cluster();
            let guest_offset = self.boot.cluster(first).map(|offset| self.source.guest_offset(offset));
            if listing.found.len() >= FILES_MAX {
                return Err(FatReadError::TooManyFiles);
            }
            if entry.is_directory() {
                if open.len() > DEPTH_MAX {
                    return Err(FatReadError::TooDeep(path));
                }
                if !entered.insert(first) {
                    return Err(FatReadError::Loop(path));
                }
                let (entries, _) = directory::parse(&self.directory(first)?);
                open.push((path.clone(), sorted(entries)));
            }
            listing.found.push(Found { path, entry, guest_offset });
        }
        Ok(listing)
    }

    /// The contents of a file, at most `limit` bytes of them.
    pub fn contents(&self, found: &Found, limit: u64) -> Result<Vec<u8>, FatReadError> {
        Ok(self.first_bytes(found, found.entry.size().min(limit))?.read()?)
    }

    /// Finds the clusters of a file.
    pub fn file(&self, found: &Found) -> Result<FileOnDisk<'s>, FatReadError> {
        self.first_bytes(found, found.entry.size())
    }

    fn first_bytes(&self, found: &Found, wanted: u64) -> Result<FileOnDisk<'s>, FatReadError> {
        if wanted == 0 {
            return Ok(FileOnDisk::new(self.source, 0, Vec::new()));
        }
        let chain = self.chain(found.entry.first_cluster(), wanted)?;
        if chain.size() < wanted {
            let (path, size) = (found.path.clone(), found.entry.size());
            return Err(FatReadError::Short { path, size, there: chain.size() });
        }
        Ok(chain)
    }

    fn root(&self) -> Result<Vec<u8>, FatReadError> {
        match &self.boot.fat32 {
            Some(fat32) => self.directory(fat32.bpb_root_clus.get()),
            // At most 2 MiB: the number of entries has 16 bits.
            None => Ok(self.source.bytes(self.boot.root.0, index(self.boot.root.1))?),
        }
    }

    fn directory(&self, first: u32) -> Result<Vec<u8>, FatReadError> {
        Ok(self.chain(first, DIRECTORY_MAX)?.read()?)
    }

    /// The first `limit` bytes, or all that there are, in the clusters of a chain.
    fn chain(&self, first: u32, limit: u64) -> Result<FileOnDisk<'s>, FatReadError> {
        let length = self.boot.cluster_size;
        let clusters = Table::new(&self.boot, self.source).chain(first, limit.div_ceil(length))?;
        let places = clusters.iter().filter_map(|&cluster| self.boot.cluster(cluster));
        let mut pieces: Vec<Piece> = Vec::new();
        let mut start = 0;
        for place in places {
            match pieces.last_mut() {
                Some(piece) if piece.place + piece.length == place => piece.length += length,
                _ => pieces.push(Piece { start, place, length }),
            }
            start += length;
        }
        Ok(FileOnDisk::new(self.source, start.min(limit), pieces))
    }
}

fn sorted(mut entries: Vec<Entry>) -> std::vec::IntoIter<Entry> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries.into_iter()
}
