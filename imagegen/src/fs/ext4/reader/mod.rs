//! Reading ext4 file systems, ours and others': superblock, groups, inodes with their numbers, directories, and where each
//! byte of a file lies. Nothing on disk is trusted, and whatever has a checksum is checked.
//!
//! Files are read through extents; encrypted files, `inline_data`, and the block maps of ext2 and ext3 are refused by name.

mod directory;
mod extent;
mod group;
mod inode;
mod superblock;

use crate::container::reader::{ReadError, Source};
use crate::error_kind::ErrorKind;
use crate::fs::file_on_disk::{FileOnDisk, Piece};
use crate::units::index;

pub use super::disk::{
    FIRST_BYTE, GroupDescriptor, LOST_FOUND, MAGIC, ROOT_INODE as ROOT, RawInode, Superblock,
};
pub use directory::Entry;
pub use extent::{Blocks, Run};
pub use inode::{Inode, Type};

/// What to do about a feature that is not read.
const HELP: &str = "mount it with Linux, or copy its files into a file system without that";

/// Why a file system cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ext4ReadError {
    /// The image cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The superblock is impossible.
    #[error("the ext4 superblock is damaged: {0}")]
    Superblock(String),
    /// A feature without which files cannot be found.
    #[error("the ext4 file system uses {features}, which this program does not read; {help}")]
    Feature {
        /// Its name or names.
        features: String,
        /// What to do about it.
        help: &'static str,
    },
    /// An inode whose contents are stored in a way that is not read.
    #[error("inode {number} {problem}, which this program does not read; {help}")]
    Unread {
        /// Its number.
        number: u32,
        /// How they are stored.
        problem: &'static str,
        /// What to do about it.
        help: &'static str,
    },
    /// Metadata is not what it was when it was written.
    #[error("{what} is damaged: its checksum is {found:#x}, not {expected:#x}; `e2fsck -fn` says more")]
    Checksum {
        /// What is damaged.
        what: String,
        /// The checksum of what is there.
        found: u32,
        /// The checksum that is stored.
        expected: u32,
    },
    /// An inode cannot be read.
    #[error("inode {number} {problem}")]
    Inode {
        /// Its number.
        number: u32,
        /// What is wrong.
        problem: String,
    },
    /// A block number leads beyond the end.
    #[error("block {0} is beyond the end of the ext4 file system")]
    Block(u64),
}

impl Ext4ReadError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::Feature { .. } | Self::Unread { .. } => ErrorKind::Unsupported,
            Self::Checksum { .. } => ErrorKind::Mismatch,
            _ => ErrorKind::InvalidInput,
        }
    }

    /// Whether nothing is wrong but that this program cannot read it.
    pub fn is_unread(&self) -> bool {
        matches!(self, Self::Feature { .. } | Self::Unread { .. })
    }
}

/// A file system in a disk or partition.
pub struct FileSystem<'s> {
    source: &'s dyn Source,
    superblock: Superblock,
    groups: Vec<GroupDescriptor>,
}

impl<'s> FileSystem<'s> {
    /// Reads the superblock and the group descriptors.
    pub fn open(source: &'s dyn Source) -> Result<Self, Ext4ReadError> {
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

    /// The disk or partition.
    pub fn source(&self) -> &'s dyn Source {
        self.source
    }

    /// Reads an inode by its number.
    pub fn inode(&self, number: u32) -> Result<Inode, Ext4ReadError> {
        Inode::read(self, number)
    }

    /// The inode that a path of names leads to, from the root on; nothing if a name is not there.
    pub fn lookup(&self, path: &[&[u8]]) -> Result<Option<Inode>, Ext4ReadError> {
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

    /// The blocks of a file, directory or long link.
    pub fn blocks(&self, inode: &Inode) -> Result<Blocks, Ext4ReadError> {
        inode.check_readable()?;
        if inode.has_extents() {
            Blocks::read(self, inode)
        } else if inode.raw.i_block == [0; 60] {
            Ok(Blocks::default())
        } else {
            Err(inode.unread("has a block map, as ext2 and ext3 have"))
        }
    }

    /// The contents of a file, directory or long link.
    pub fn file(&self, inode: &Inode) -> Result<FileOnDisk<'s>, Ext4ReadError> {
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
    pub fn block_offset(&self, block: u64) -> Result<u64, Ext4ReadError> {
        if block >= self.superblock.blocks_count() {
            return Err(Ext4ReadError::Block(block));
        }
        Ok(block * u64::from(self.superblock.block_size()))
    }

    /// Where an inode begins, in bytes.
    fn inode_offset(&self, number: u32) -> Result<u64, Ext4ReadError> {
        let missing = || Ext4ReadError::Inode { number, problem: "does not exist".to_owned() };
        let per_group = self.superblock.s_inodes_per_group.get();
        let i = number
            .checked_sub(1)
            .filter(|&i| i < self.superblock.s_inodes_count.get())
            .ok_or_else(missing)?;
        let group = self.groups.get(index((i / per_group).into())).ok_or_else(missing)?;
        let within = u64::from(i % per_group) * u64::from(self.superblock.inode_size());
        let block = u64::from(self.superblock.block_size());
        let table = group.inode_table();
        let first = table.checked_add(within / block).ok_or(Ext4ReadError::Block(table))?;
        Ok(self.block_offset(first)? + within % block)
    }
}
