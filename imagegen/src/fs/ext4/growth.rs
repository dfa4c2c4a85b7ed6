//! What a file system that is to grow is made with.

use std::ops::RangeInclusive;

use super::{BLOCK, Ext4Error};

/// How much space gets an inode, as mke2fs has it unless the file system is small or very large.
pub const BYTES_PER_INODE: u64 = 16384;

/// A file system that its user makes larger one day: its groups have the inodes of full ones from the start, since their
/// number cannot be changed, and blocks are kept for the descriptors of more groups (`resize_inode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Growth {
    /// For how many bytes of a group there is an inode, from 1 KiB to 64 MiB. Unless it is given, that is mke2fs's (of
    /// e2fsprogs 1.47): 16 KiB, 32 KiB from 4 TiB on, 64 KiB from 16 TiB on. mke2fs's 4 KiB below 512 MiB is left out,
    /// since a file system that small is not so for long.
    pub bytes_per_inode: Option<u32>,
}

impl Growth {
    /// What can be asked for, as of mke2fs (`EXT2_MIN_BLOCK_SIZE` to `EXT2_MAX_BLOCK_SIZE` * 1024).
    pub const BYTES_PER_INODE: RangeInclusive<u32> = 1024..=64 << 20;

    /// Refuses what mke2fs refuses.
    pub(super) fn check(self) -> Result<(), Ext4Error> {
        match self.bytes_per_inode {
            Some(bytes) if !Self::BYTES_PER_INODE.contains(&bytes) => Err(Ext4Error::BytesPerInode(bytes)),
            _ => Ok(()),
        }
    }

    /// The same for a file system of so many blocks; by default, never so little that it would have 2^32 inodes.
    pub(super) fn bytes_per_inode_for(self, blocks: u64) -> u64 {
        const TIB: u64 = 1 << 40;
        self.bytes_per_inode.map_or_else(
            || match blocks.saturating_mul(BLOCK) {
                small if small < 4 * TIB => BYTES_PER_INODE,
                large if large < 16 * TIB => 2 * BYTES_PER_INODE,
                huge => (4 * BYTES_PER_INODE).max((huge >> 31).next_power_of_two()),
            },
            u64::from,
        )
    }
}
