//! Reading FAT12, FAT16 and FAT32 file systems, ours and others'. Nothing on disk is trusted: chains of clusters are
//! bounded, and no directory is entered twice.

mod boot_sector;
mod directory;
mod table;

use std::collections::HashSet;

use crate::container::reader::{ReadError, Source};
use crate::units::{GuestOffset, index, length};

pub use boot_sector::{BootSector, Width, is_fat};
pub use directory::{Entry, RawEntry};

use table::{Next, Table};

/// The most that a directory may have: 65,536 entries.
const DIRECTORY_MAX: u64 = 2 << 20;
/// More files than this are in no system partition.
const FILES_MAX: usize = 1 << 20;

/// A path has at most 260 characters for most of those who read it.
const DEPTH_MAX: usize = 130;

/// Why a file system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
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
    pub fn open(source: &'s dyn Source) -> Result<Self, FatError> {
        Ok(Self { source, boot: BootSector::read(source)? })
    }

    /// The boot sector.
    pub fn boot_sector(&self) -> &BootSector {
        &self.boot
    }

    /// The number of free clusters by the first allocation table.
    pub fn free_clusters(&self) -> Result<u32, FatError> {
        let mut table = Table::new(&self.boot, self.source);
        let mut free = 0;
        for cluster in 2..self.boot.clusters.saturating_add(2) {
            free += u32::from(table.next(cluster)? == Next::Free);
        }
        Ok(free)
    }

    /// Everything in the file system.
    pub fn list(&self) -> Result<Listing, FatError> {
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
                return Err(FatError::TooManyFiles);
            }
            if entry.is_directory() {
                if open.len() > DEPTH_MAX {
                    return Err(FatError::TooDeep(path));
                }
                if !entered.insert(first) {
                    return Err(FatError::Loop(path));
                }
                let (entries, _) = directory::parse(&self.chain(first, DIRECTORY_MAX)?);
                open.push((path.clone(), sorted(entries)));
            }
            listing.found.push(Found { path, entry, guest_offset });
        }
        Ok(listing)
    }

    /// The contents of a file, at most `limit` bytes of them.
    pub fn contents(&self, found: &Found, limit: u64) -> Result<Vec<u8>, FatError> {
        let size = found.entry.size();
        let wanted = size.min(limit);
        let mut bytes = match wanted {
            0 => Vec::new(),
            wanted => self.chain(found.entry.first_cluster(), wanted)?,
        };
        if length(bytes.len()) < wanted {
            return Err(FatError::Short { path: found.path.clone(), size, there: length(bytes.len()) });
        }
        bytes.truncate(index(wanted));
        Ok(bytes)
    }

    /// Finds the clusters of a file.
    pub fn file(&self, found: &Found) -> Result<File<'_>, FatError> {
        let size = found.entry.size();
        let cluster = self.boot.cluster_size;
        let clusters = match size {
            0 => Vec::new(),
            size => Table::new(&self.boot, self.source)
                .chain(found.entry.first_cluster(), size.div_ceil(cluster))?,
        };
        let there = length(clusters.len()).saturating_mul(cluster);
        if there < size {
            return Err(FatError::Short { path: found.path.clone(), size, there });
        }
        Ok(File { file_system: self, clusters, size })
    }

    /// Where a byte of a file lies on the disk.
    pub fn guest_offset(&self, found: &Found, offset: u64) -> Option<GuestOffset> {
        let mut table = Table::new(&self.boot, self.source);
        let i = offset / self.boot.cluster_size;
        let chain = table.chain(found.entry.first_cluster(), i.saturating_add(1)).ok()?;
        let start = self.boot.cluster(*chain.get(index(i))?)?;
        Some(self.source.guest_offset(start + offset % self.boot.cluster_size))
    }

    fn root(&self) -> Result<Vec<u8>, FatError> {
        match &self.boot.fat32 {
            Some(fat32) => self.chain(fat32.bpb_root_clus.get(), DIRECTORY_MAX),
            // At most 2 MiB: the number of entries has 16 bits.
            None => Ok(self.source.bytes(self.boot.root.0, index(self.boot.root.1))?),
        }
    }

    /// The clusters of a chain until it ends or there are `limit` bytes.
    fn chain(&self, first: u32, limit: u64) -> Result<Vec<u8>, FatError> {
        let size = self.boot.cluster_size;
        let chain = Table::new(&self.boot, self.source).chain(first, limit.div_ceil(size))?;
        let mut bytes = vec![0; chain.len() * index(size)];
        for (cluster, piece) in chain.iter().zip(bytes.chunks_mut(index(size))) {
            let offset = self.boot.cluster(*cluster).unwrap_or_default();
            self.source.read_at(piece, offset)?;
        }
        Ok(bytes)
    }
}

/// A file that can be read at any offset.
pub struct File<'f> {
    file_system: &'f FileSystem<'f>,
    clusters: Vec<u32>,
    size: u64,
}

impl File<'_> {
    /// The length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many clusters it has.
    pub fn clusters(&self) -> u64 {
        length(self.clusters.len())
    }

    /// Fills the buffer with the bytes from `offset` on; all must lie within the file.
    pub fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> Result<(), FatError> {
        while let Some((start, left)) = self.place(offset)
            && !buffer.is_empty()
        {
            let (piece, rest) = buffer.split_at_mut(index(left.min(length(buffer.len()))));
            self.file_system.source.read_at(piece, start)?;
            offset += length(piece.len());
            buffer = rest;
        }
        buffer.fill(0);
        Ok(())
    }

    /// The first offset from `offset` on where there may be anything but zeros, as far as that is known without reading;
    /// the size if there is nothing.
    pub fn data_from(&self, mut offset: u64) -> Result<u64, FatError> {
        while let Some((start, left)) = self.place(offset) {
            let zeros = self.file_system.source.data_from(start)? - start;
            if zeros < left {
                return Ok((offset + zeros).min(self.size));
            }
            offset += left;
        }
        Ok(self.size)
    }

    /// Where a byte of the file is, and how many are left in its cluster.
    fn place(&self, offset: u64) -> Option<(u64, u64)> {
        let boot = &self.file_system.boot;
        let cluster = *self.clusters.get(index(offset / boot.cluster_size))?;
        let within = offset % boot.cluster_size;
        Some((boot.cluster(cluster)? + within, boot.cluster_size - within))
    }
}

fn sorted(mut entries: Vec<Entry>) -> std::vec::IntoIter<Entry> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries.into_iter()
}
