//! An empty journal (the kernel's documentation of ext4, "Journal (jbd2)").
//!
//! It is a file with a superblock of its own in its first block, all numbers big-endian. The rest of it is zeros:
//! a file system that was never mounted has nothing to replay.

use zerocopy::{FromZeros, IntoBytes};

use super::BLOCK;
use super::disk::{BLOCK_AREA, BLOCK_TYPE_SUPERBLOCK_V2, JOURNAL_MAGIC, JournalSuperblock};
use crate::error_kind::InternalError;
use crate::guid::Guid;
use crate::units::{fit, index};

/// The least that the kernel takes, in blocks.
const BLOCKS_MIN: u64 = 1024;

/// Where the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journal {
    /// Its first block.
    pub start: u64,
    /// The number of its blocks.
    pub blocks: u64,
}

/// What the file system's superblock keeps of the journal's inode, to find the journal where the inode is damaged.
#[derive(Debug, Clone, Copy)]
pub struct Backup {
    /// The inode's block area.
    pub area: [u8; BLOCK_AREA],
    /// The journal's length in bytes.
    pub size: u64,
}

/// The blocks of the journal that mke2fs (of e2fsprogs 1.47) gives a file system of so many blocks. Where it would
/// refuse, below 8 MiB, the smallest journal.
pub fn blocks_for(file_system: u64) -> u64 {
    const STEPS: [(u64, u64); 7] = [
        (1 << 15, BLOCKS_MIN),
        (1 << 18, 4096),
        (1 << 19, 8192),
        (1 << 22, 16384),
        (1 << 23, 32768),
        (1 << 24, 65536),
        (1 << 25, 131_072),
    ];
    STEPS.into_iter().find(|&(below, _)| file_system < below).map_or(262_144, |(_, blocks)| blocks)
}

/// The journal's first block.
pub fn superblock(journal: Journal, uuid: Guid) -> Result<Vec<u8>, InternalError> {
    let mut block = JournalSuperblock::new_zeroed();
    block.h_magic = JOURNAL_MAGIC.into();
    block.h_blocktype = BLOCK_TYPE_SUPERBLOCK_V2.into();
    block.s_blocksize = fit::<u32, _>(BLOCK)?.into();
    block.s_maxlen = fit::<u32, _>(journal.blocks)?.into();
    block.s_first = 1.into();
    block.s_sequence = 1.into();
    block.s_uuid = uuid.bytes();
    block.s_nr_users = 1.into();
    let mut out = block.as_bytes().to_vec();
    out.resize(index(BLOCK), 0);
    Ok(out)
}
