//! ext4 file systems, planned to the last block from a file tree, then written in any order (the kernel's
//! documentation of ext4, "Data Structures and Algorithms").
//!
//! What lies where, in ascending order: superblock and group descriptors; the bitmaps and inode tables of all groups;
//! directories; long link targets; file contents in the order of the tree, each file in one run but for the backup
//! superblocks at the beginnings of a few groups. A store image has no journal: it is read only. A file system that
//! is to be written can have one ([`Options::journal`]).
//!
//! # From a tree to a file system
//! 1. Build a [`Tree`] with a [`TreeBuilder`]: node 0 is the root directory, modes are those of a Nix store unless
//!    [`TreeBuilder::set_permissions`] gives others. [`TreeBuilder::append`] hangs in another tree, such as a closure's.
//! 2. [`plan`] it. The plan tells the size and the ranges for [`crate::container::ImageFile::create`].
//! 3. [`Plan::write_metadata`], and [`Plan::write_content`] for each file, in any order and on any thread. Contents
//!    that are never written are zeros. A closure's files go in with [`crate::image::store_image::plan_within`], which checks
//!    their hashes.

mod checksum;
mod directory;
mod directory_block;
mod disk;
mod extent;
mod file_data;
mod geometry;
mod group;
mod growth;
mod htree;
mod inode;
mod journal;
mod layout;
mod planner;
pub mod reader;
mod resize;
mod superblock;
mod write;

use std::io;
use std::path::PathBuf;

use crate::container::Sink;
use crate::error_kind::{ErrorKind, InternalError};
use crate::fixed;
#[cfg(doc)]
use crate::fs::file_tree::TreeBuilder;
use crate::fs::file_tree::{Kind, NodeId, Tree};
use crate::guid::Guid;
use crate::units::{ByteCount, GuestOffset, GuestRange};

use layout::{Layout, file_size};

pub use file_data::FileDataError;
pub use growth::Growth;

/// The base-2 logarithm of the block size.
const BLOCK_BITS: u32 = 12;
/// The block size, in bytes.
const BLOCK: u64 = 1 << BLOCK_BITS;
/// The most names that a file can have.
pub const NAMES_MAX: u32 = 65_000;
/// The room for a label in the superblock.
const LABEL_MAX: usize = 16;

/// What a file system is made with, besides its files.
#[derive(Debug, Clone)]
pub struct Options {
    /// The label, at most 16 bytes.
    pub label: String,
    /// The UUID, which is also the seed of all checksums.
    pub uuid: Guid,
    /// The seed of the hashes in large directories.
    pub hash_seed: Guid,
    /// Every time in the file system, in seconds since 1970.
    pub time: u32,
    /// Whether it gets a journal, for a file system that is to be written to; its size is the one that mke2fs takes.
    pub journal: bool,
    /// Whether its user is to make it larger, and how it is prepared for that.
    pub growth: Option<Growth>,
    /// How large it is to be.
    pub size: Size,
}

impl Options {
    /// A read-only file system just large enough, with this project's hash seed and time.
    pub fn new(label: impl Into<String>, uuid: Guid) -> Self {
        Self {
            label: label.into(),
            uuid,
            hash_seed: fixed::EXT4_HASH_SEED,
            time: fixed::STORE_TIME,
            journal: false,
            growth: None,
            size: Size::Auto { additional: ByteCount(0) },
        }
    }

    /// A file system of this size that is to be written to: with a journal, and ready to be made larger.
    pub fn writable(label: impl Into<String>, uuid: Guid, size: Size) -> Self {
        Self { journal: true, growth: Some(Growth::default()), size, ..Self::new(label, uuid) }
    }
}

/// The size of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Size {
    /// What the files need and so much more.
    Auto {
        /// Free space, with an inode for every 16 KiB of it, or what [`Growth`] says.
        additional: ByteCount,
    },
    /// So much, rounded down to whole blocks.
    Fixed(ByteCount),
}

/// Why a file system cannot be laid out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ext4Error {
    /// The label does not fit.
    #[error("the label `{0}` has more than {LABEL_MAX} bytes")]
    Label(String),
    /// ext4 cannot hold the link.
    #[error("`{path}`: a link's target has 1 to 4095 bytes in ext4; this one has {length}")]
    Target {
        /// Where the link is.
        path: PathBuf,
        /// The target's length in bytes.
        length: usize,
    },
    /// ext4 cannot hold the file.
    #[error("`{path}` has {size} bytes; ext4 with 4 KiB blocks holds less than 16 TiB in a file")]
    FileTooLarge {
        /// Where it is.
        path: PathBuf,
        /// Its length in bytes.
        size: u64,
    },
    /// The tree has a file where e2fsck keeps lost ones.
    #[error("`lost+found` in the root directory is ext4's own; rename it")]
    LostAndFound,
    /// The root of the tree is not a directory.
    #[error("the root of the file system must be a directory")]
    Root,
    /// The size was given and is not enough.
    #[error("the files need a file system of {needed} bytes, {missing} more than {asked}")]
    TooSmall {
        /// What was asked for.
        asked: u64,
        /// The least that would do.
        needed: u64,
        /// The difference.
        missing: u64,
    },
    /// More files than inode numbers.
    #[error("more files than ext4 has inode numbers for: split the closure")]
    TooManyFiles,
    /// More free space than there are inodes for.
    #[error("a file system of this size would have 2^32 inodes or more, one for every {0} free bytes")]
    TooMuchSpace(u64),
    /// More inodes than they have numbers.
    #[error("a file system of this size with an inode for every {0} bytes would have 2^32 inodes or more")]
    TooManyInodes(u64),
    /// A ratio that mke2fs would refuse too.
    #[error("there cannot be an inode for every {0} bytes")]
    BytesPerInode(u32),
    /// More hard links than a file can have.
    #[error("a file has {0} names; ext4 holds {NAMES_MAX} at most")]
    TooManyNames(u32),
    /// A directory's index would need a third level.
    #[error(
        "a directory has more entries than an ext4 directory index of two levels holds (some 10 million)"
    )]
    DirectoryTooLarge,
    /// Beyond what ext4 can address.
    #[error("the file system would be larger than ext4 can be")]
    TooLarge,
    /// This library contradicts itself.
    #[error(transparent)]
    Internal(#[from] InternalError),
}

impl Ext4Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Label(_)
            | Self::Target { .. }
            | Self::LostAndFound
            | Self::Root
            | Self::BytesPerInode(_) => ErrorKind::InvalidInput,
            Self::Internal(_) => ErrorKind::Internal,
            _ => ErrorKind::TooLarge,
        }
    }
}

/// A file system, laid out but not written.
#[derive(Debug)]
pub struct Plan<'t> {
    tree: &'t Tree,
    options: Options,
    layout: Layout,
}

/// What hard links save.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SavedByLinks {
    /// Files that are further names of another one's contents.
    pub linked_files: u64,
    /// What their contents would have taken, in whole blocks.
    pub saved_bytes: ByteCount,
}

/// Counts the files of a tree that need no contents of their own.
pub fn saved_by_links(tree: &Tree) -> SavedByLinks {
    let mut saved = SavedByLinks::default();
    for node in tree.nodes().filter(|&node| tree.first_name(node) != node) {
        if let Kind::File { size, .. } = tree.kind(node) {
            saved.linked_files += 1;
            saved.saved_bytes.0 += size.div_ceil(BLOCK) * BLOCK;
        }
    }
    saved
}

/// Lays out a file system for a tree whose node 0 is the root directory. Owner and group are root's.
pub fn plan<'t>(tree: &'t Tree, options: &Options) -> Result<Plan<'t>, Ext4Error> {
    if options.label.len() > LABEL_MAX {
        return Err(Ext4Error::Label(options.label.clone()));
    }
    options.growth.map_or(Ok(()), Growth::check)?;
    let layout = planner::layout(tree, options)?;
    Ok(Plan { tree, options: options.clone(), layout })
}

impl Plan<'_> {
    /// The size of the file system, a whole number of 4 KiB blocks.
    pub fn size(&self) -> ByteCount {
        ByteCount(self.layout.geometry.blocks * BLOCK)
    }

    /// The free space in it.
    pub fn free(&self) -> ByteCount {
        ByteCount(group::total(&self.layout.free_blocks()) * BLOCK)
    }

    /// Where something other than zeros may be written: sorted, disjoint ranges.
    pub fn allocated(&self) -> Vec<GuestRange> {
        let blocks = self.layout.allocated_blocks();
        blocks.into_iter().map(|run| GuestOffset(run.start * BLOCK)..GuestOffset(run.end * BLOCK)).collect()
    }

    /// Where the contents of a file lie, in the file's order: offset and number of bytes. Nothing for anything but
    /// a file with contents, and nothing for its further names.
    pub fn file_data(&self, node: NodeId) -> impl Iterator<Item = (GuestOffset, u64)> + '_ {
        let mut left = file_size(self.tree, node);
        self.layout.runs_at(self.layout.place(node), left.div_ceil(BLOCK)).map(move |run| {
            let bytes = ((run.end - run.start) * BLOCK).min(left);
            left -= bytes;
            (GuestOffset(run.start * BLOCK), bytes)
        })
    }

    /// Writes everything but the contents of files.
    pub fn write_metadata(&self, sink: &(impl Sink + ?Sized)) -> io::Result<()> {
        write::write_metadata(self.tree, &self.options, &self.layout, sink)
    }
}
