//! Reading ext4 file systems, ours and others': superblock, groups, inodes with their numbers, directories, and where each
//! byte of a file lies. Nothing on disk is trusted, and whatever has a checksum is checked.
//!
//! Files are read through extents; encrypted files, `inline_data`, and the block maps of ext2 and ext3 are refused by name.

mod directory;
mod extent;
mod group;
mod inode;
mod superblock;

use std::fmt;

use crate::container::reader::{ReadError, Source};
use crate::error_kind::Failure;
use crate::fs::file_on_disk::{FileOnDisk, Piece};
use crate::units::index;

pub use super::disk::{GroupDescriptor, LOST_FOUND, MAGIC, ROOT_INODE as ROOT, RawInode, Superblock};
pub use directory::Entry;
pub use extent::{Blocks, Run};
pub use inode::{Inode, Type};

/// What to do about a feature that is not read.
const HELP: &str = "mount it with Linux, or copy its files into a file system without that";

/// Compares a checksum of metadata with the stored one.
fn check(what: fmt::Arguments<'_>, found: u32, expected: u32) -> Result<(), ReadError> {
    if found == expected {
        return Ok(());
    }
    Err(Failure::mismatch(format!(
        "{what} is damaged: its checksum is {found:#x}, not {expected:#x}; `e2fsck -fn` says more"
    ))
    .into())
}

fn beyond_end(block: u64) -> ReadError {
    ReadError::damaged(format!("block {block} is beyond the end of the ext4 file system"))
}

/// A file system in a disk or partition.
pub struct FileSystem<'s> {
    source: &'s dyn Source,
    superblock: Superblock,
    groups: Vec<GroupDescriptor>,
}

impl<'s> FileSystem<'s> {
    /// Reads the superblock and the group descriptors.
    pub fn open(source: &'s dyn Source) -> Result<Self, ReadError> {
        let superblock = Superblock::read(source)?;
        let groups = GroupDescriptor::read_all(source, &superblock)?;
        Ok(Self { source, superblock, groups })
    }

    /// The superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The descriptors of all groups.
    pub fn groups(&self) -> &[GroupDescriptor] {
        &self.groups
    }

    /// Reads an inode by its number.
    pub fn inode(&self, number: u32) -> Result<Inode, ReadError> {
        Inode::read(self, number)
    }

    /// The inode that a path of names leads to, from the root on; nothing if a name is not there.
    pub fn lookup(&self, path: &[&[u8]]) -> Result<Option<Inode>, ReadError> {
        let mut inode = self.inode(ROOT)?;
        for name in path {
            if inode.kind() != Type::Directory {
                return Ok(None);
            }
            let entries = self.entries(&inode)?;
            match entries.iter().find(|entry| entry.name == *name) {
                Some(entry) => inode = self.inode(entry.inode)?,
                None => return Ok(None),
            }
        }
        Ok(Some(inode))
    }

    /// The directory of store paths: `/nix/store` or, where there is none, the root, as in a store image.
    pub fn store_directory(&self) -> Result<Inode, ReadError> {
        let store = self.lookup(&[b"nix", b"store"])?.filter(|inode| inode.kind() == Type::Directory);
        store.map_or_else(|| self.inode(ROOT), Ok)
    }

    /// The blocks of a file, directory or long link.
    pub fn blocks(&self, inode: &Inode) -> Result<Blocks, ReadError> {
        inode.check_readable()?;
        if inode.has_extents() {
            Blocks::read(self, inode)
        } else if inode.raw.i_block == [0; 60] {
            Ok(Blocks::default())
        } else {
            Err(inode.unread("has a block map, as ext2 and ext3 have", HELP))
        }
    }

    /// The contents of a file, directory or long link.
    pub fn file(&self, inode: &Inode) -> Result<FileOnDisk<'s>, ReadError> {
        Ok(self.file_in(inode, &self.blocks(inode)?))
    }

    /// The same for somebody who has its [`blocks`](Self::blocks) already.
    pub(crate) fn file_in(&self, inode: &Inode, blocks: &Blocks) -> FileOnDisk<'s> {
        let block = u64::from(self.superblock.block_size());
        let pieces = blocks.runs.iter().filter(|run| !run.unwritten).map(|run| Piece {
            start: run.logical * block,
            place: run.physical * block,
            length: run.count * block,
        });
        FileOnDisk::new(self.source, inode.size(), pieces.collect())
    }

    /// Where a block begins, in bytes.
    pub fn block_offset(&self, block: u64) -> Result<u64, ReadError> {
        if block >= self.superblock.blocks_count() {
            return Err(beyond_end(block));
        }
        Ok(block * u64::from(self.superblock.block_size()))
    }

    /// Where an inode begins, in bytes.
    fn inode_offset(&self, number: u32) -> Result<u64, ReadError> {
        let missing = || ReadError::damaged(format!("inode {number} does not exist"));
        let per_group = self.superblock.s_inodes_per_group.get();
        let i = number
            .checked_sub(1)
            .filter(|&i| i < self.superblock.s_inodes_count.get())
            .ok_or_else(missing)?;
        let group = self.groups.get(index((i / per_group).into())).ok_or_else(missing)?;
        let within = u64::from(i % per_group) * u64::from(self.superblock.inode_size());
        let block = u64::from(self.superblock.block_size());
        let table = group.inode_table();
        let first = table.checked_add(within / block).ok_or_else(|| beyond_end(table))?;
        Ok(self.block_offset(first)? + within % block)
    }
}
