//! Reading FAT12, FAT16 and FAT32 file systems, ours and others'. Nothing on disk is trusted: chains of clusters are
//! bounded, and no directory is entered twice.

mod boot_sector;
mod directory;
mod table;

use std::collections::HashSet;

use crate::container::reader::{ReadError, Source};
use crate::error_kind::Failure;
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
    pub fn open(source: &'s dyn Source) -> Result<Self, ReadError> {
        Ok(Self { source, boot: BootSector::read(source)? })
    }

    /// The boot sector.
    pub fn boot_sector(&self) -> &BootSector {
        &self.boot
    }

    /// The number of free clusters by the first allocation table.
    pub fn free_clusters(&self) -> Result<u32, ReadError> {
        let mut table = Table::new(&self.boot, self.source);
        let mut free = 0;
        for cluster in 2..self.boot.clusters.saturating_add(2) {
            free += u32::from(table.next(cluster)? == Next::Free);
        }
        Ok(free)
    }

    /// Everything in the file system.
    pub fn list(&self) -> Result<Listing, ReadError> {
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
            let guest_offset = self.boot.cluster(first).and_then(|offset| self.source.guest_offset(offset));
            if listing.found.len() >= FILES_MAX {
                return Err(Failure::too_large(format!("there are more than {FILES_MAX} files")).into());
            }
            if entry.is_directory() {
                if open.len() > DEPTH_MAX {
                    let problem =
                        format!("the directory `{path}` is nested more than {DEPTH_MAX} levels deep");
                    return Err(Failure::too_large(problem).into());
                }
                if !entered.insert(first) {
                    return Err(ReadError::damaged(format!("the directory `{path}` is in the tree twice")));
                }
                let (entries, _) = directory::parse(&self.directory(first)?);
                open.push((path.clone(), sorted(entries)));
            }
            listing.found.push(Found { path, entry, guest_offset });
        }
        Ok(listing)
    }

    /// The names in the root directory (`None`) or another one as they lie there, without its `.` and `..`.
    pub fn entries(&self, directory: Option<&Entry>) -> Result<Vec<Entry>, ReadError> {
        let bytes = match directory {
            None => self.root()?,
            Some(entry) => self.directory(entry.first_cluster())?,
        };
        Ok(directory::parse(&bytes).0)
    }

    /// The contents of a file, at most `limit` bytes of them.
    pub fn contents(&self, found: &Found, limit: u64) -> Result<Vec<u8>, ReadError> {
        self.first_bytes(found, found.entry.size().min(limit))?.read()
    }

    /// Finds the clusters of a file.
    pub fn file(&self, found: &Found) -> Result<FileOnDisk<'s>, ReadError> {
        self.first_bytes(found, found.entry.size())
    }

    fn first_bytes(&self, found: &Found, wanted: u64) -> Result<FileOnDisk<'s>, ReadError> {
        if wanted == 0 {
            return Ok(FileOnDisk::new(self.source, 0, Vec::new()));
        }
        let chain = self.chain(found.entry.first_cluster(), wanted)?;
        if chain.size() < wanted {
            return Err(ReadError::damaged(format!(
                "the file `{}` has {} bytes by its entry, but clusters for {} only",
                found.path,
                found.entry.size(),
                chain.size()
            )));
        }
        Ok(chain)
    }

    fn root(&self) -> Result<Vec<u8>, ReadError> {
        match &self.boot.fat32 {
            Some(fat32) => self.directory(fat32.bpb_root_clus.get()),
            // At most 2 MiB: the number of entries has 16 bits.
            None => Ok(self.source.bytes(self.boot.root.0, index(self.boot.root.1))?),
        }
    }

    fn directory(&self, first: u32) -> Result<Vec<u8>, ReadError> {
        self.chain(first, DIRECTORY_MAX)?.read()
    }

    /// The first `limit` bytes, or all that there are, in the clusters of a chain.
    fn chain(&self, first: u32, limit: u64) -> Result<FileOnDisk<'s>, ReadError> {
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
