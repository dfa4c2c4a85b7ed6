//! Inodes (the kernel's documentation of ext4, "Index Nodes").

use zerocopy::{FromZeros, IntoBytes};

use super::checksum::Checksum;
use super::disk::{BLOCK_AREA, InodeFlags, RawInode, halves, halves_48};
use super::{BLOCK, NAMES_MAX};
use crate::error_kind::InternalError;

/// The size of an inode on disk; room for extended attributes is at its end.
pub const INODE_SIZE: u16 = 256;
/// Inodes in a block of an inode table.
pub const INODES_PER_BLOCK: u32 = 16;
/// What an inode has beyond the first 128 bytes: second checksum half, times, project.
pub const EXTRA_ISIZE: u16 = 32;

const _: () = assert!(size_of::<RawInode>() == 128 + 32, "EXTRA_ISIZE");

/// What differs from one inode to the next. Owner and group are root's, times are the file system's.
#[derive(Debug)]
pub struct Inode {
    /// File type and permissions.
    pub mode: u16,
    /// The length in bytes.
    pub size: u64,
    /// The number of names; for a directory, two and its subdirectories.
    pub links: u32,
    /// Blocks in use, extent blocks included.
    pub blocks: u64,
    /// What is special about it.
    pub flags: InodeFlags,
    /// What leads to its contents: an extent tree's root, a map of blocks as ext2 and ext3 have, or a short link's target.
    pub area: [u8; BLOCK_AREA],
}

impl Inode {
    /// The inode as it lies in the table.
    pub fn encode(&self, number: u32, time: u32, seed: Checksum) -> Result<[u8; 256], InternalError> {
        let mut raw = RawInode::new_zeroed();
        raw.i_mode = self.mode.into();
        (raw.i_size_lo, raw.i_size_high) = halves(self.size);
        // More subdirectories than can be counted make the count say 1 (`dir_nlink`).
        let links = u16::try_from(self.links).ok().filter(|&links| u32::from(links) <= NAMES_MAX);
        raw.i_links_count = links.unwrap_or(1).into();
        // In units of 512 bytes (`huge_file`).
        (raw.i_blocks_lo, raw.l_i_blocks_high) = halves_48(self.blocks * (BLOCK / 512))?;
        raw.i_flags = self.flags.bits().into();
        raw.i_block = self.area;
        raw.i_extra_isize = EXTRA_ISIZE.into();
        for field in [&mut raw.i_atime, &mut raw.i_ctime, &mut raw.i_mtime, &mut raw.i_crtime] {
            *field = time.into();
        }
        let mut bytes = [0; 256];
        bytes[..size_of::<RawInode>()].copy_from_slice(raw.as_bytes());
        (raw.l_i_checksum_lo, raw.i_checksum_hi) = seed.of_inode(number).and(&bytes).halves();
        bytes[..size_of::<RawInode>()].copy_from_slice(raw.as_bytes());
        Ok(bytes)
    }
}
