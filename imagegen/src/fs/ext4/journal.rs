//! An empty journal (the kernel's documentation of ext4, "Journal (jbd2)").
//!
//! It is a file with a superblock of its own in its first block, all numbers big-endian. The rest of it is zeros:
//! a file system that was never mounted has nothing to replay.

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::BLOCK;
use super::inode::BLOCK_AREA;
use crate::guid::Guid;
use crate::units::index;

/// The journal's inode number, one of the reserved ones.
pub const INODE: u32 = 8;
/// The least that the kernel takes, in blocks.
const BLOCKS_MIN: u64 = 1024;

/// The first number of every journal block.
const MAGIC: u32 = 0xC03B_3998;
const BLOCK_TYPE_SUPERBLOCK_V2: u32 = 4;

/// The block that tells where the journal begins and what it may hold.
#[derive(IntoBytes, FromZeros, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct JournalSuperblock {
    h_magic: U32,
    h_blocktype: U32,
    h_sequence: U32,
    s_blocksize: U32,
    /// The journal's length in blocks, this one included.
    s_maxlen: U32,
    /// The first block of log.
    s_first: U32,
    /// The first number expected in the log.
    s_sequence: U32,
    /// Where the log begins; 0 where there is nothing to replay.
    s_start: U32,
    s_errno: U32,
    s_feature_compat: U32,
    s_feature_incompat: U32,
    s_feature_ro_compat: U32,
    s_uuid: [u8; 16],
    s_nr_users: U32,
    s_dynsuper: U32,
    s_max_transaction: U32,
    s_max_trans_data: U32,
    s_checksum_type: u8,
    s_padding2: [u8; 3],
    s_num_fc_blocks: U32,
    s_head: U32,
    s_padding: [U32; 40],
    s_checksum: U32,
    s_users: [[u8; 16]; 48],
}

const _: () = assert!(size_of::<JournalSuperblock>() == 1024);

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
pub fn superblock(journal: Journal, uuid: Guid) -> Vec<u8> {
    let mut block = JournalSuperblock::new_zeroed();
    block.h_magic = MAGIC.into();
    block.h_blocktype = BLOCK_TYPE_SUPERBLOCK_V2.into();
    block.s_blocksize = low_half(BLOCK);
    block.s_maxlen = low_half(journal.blocks);
    block.s_first = 1.into();
    block.s_sequence = 1.into();
    block.s_uuid = uuid.bytes();
    block.s_nr_users = 1.into();
    let mut out = block.as_bytes().to_vec();
    out.resize(index(BLOCK), 0);
    out
}

/// The low 32 bits; a journal has at most 2^18 blocks.
fn low_half(n: u64) -> U32 {
    let [_, low]: [U32; 2] = zerocopy::transmute!(U64::new(n));
    low
}
