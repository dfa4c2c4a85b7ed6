//! What lies on disk (the kernel's documentation of ext4, "Data Structures and Algorithms"): one declaration of each
//! structure for those who write it and those who read it, with the documentation's names.

mod features;
mod journal;
mod superblock;

use bitflags::bitflags;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::error_kind::InternalError;
use crate::on_disk::structure;
use crate::units::fit;

pub use features::{Compat, Incompat, RoCompat, names};
pub use journal::{BLOCK_TYPE_SUPERBLOCK_V2, JOURNAL_MAGIC, JournalSuperblock};
pub use superblock::{CHECKSUM_CRC32C, DYNAMIC_REVISION, FIRST_BYTE, HASH_HALF_MD4, MAGIC, Superblock};

/// The number of the root directory's inode.
pub const ROOT_INODE: u32 = 2;
/// That of the inode which holds the blocks that are kept for growth.
pub const RESIZE_INODE: u32 = 7;
/// The journal's.
pub const JOURNAL_INODE: u32 = 8;
/// The first number that is not reserved; mke2fs gives it to lost+found, where e2fsck looks first.
pub const FIRST_INODE: u32 = 11;

/// The name of the directory for what e2fsck finds; it is in the root of every ext4 file system.
pub const LOST_FOUND: &[u8] = b"lost+found";

/// A group descriptor without the `64bit` feature.
pub const DESCRIPTOR_SIZE: u16 = 32;
/// One with it.
pub const DESCRIPTOR_SIZE_64BIT: u16 = 64;

structure! {
    /// A group's descriptor. The second half is there with the `64bit` feature only, and zero without it.
    pub struct GroupDescriptor {
        bg_block_bitmap_lo: U32 = decimal,
        bg_inode_bitmap_lo: U32 = decimal,
        bg_inode_table_lo: U32 = decimal,
        bg_free_blocks_count_lo: U16 = decimal,
        bg_free_inodes_count_lo: U16 = decimal,
        bg_used_dirs_count_lo: U16 = decimal,
        bg_flags: U16 = hex,
        bg_exclude_bitmap_lo: U32 = decimal,
        bg_block_bitmap_csum_lo: U16 = hex,
        bg_inode_bitmap_csum_lo: U16 = hex,
        bg_itable_unused_lo: U16 = decimal,
        bg_checksum: U16 = hex,
        bg_block_bitmap_hi: U32 = decimal,
        bg_inode_bitmap_hi: U32 = decimal,
        bg_inode_table_hi: U32 = decimal,
        bg_free_blocks_count_hi: U16 = decimal,
        bg_free_inodes_count_hi: U16 = decimal,
        bg_used_dirs_count_hi: U16 = decimal,
        bg_itable_unused_hi: U16 = decimal,
        bg_exclude_bitmap_hi: U32 = decimal,
        bg_block_bitmap_csum_hi: U16 = hex,
        bg_inode_bitmap_csum_hi: U16 = hex,
        bg_reserved: U32 = hex,
    }
}

const _: () = assert!(size_of::<GroupDescriptor>() == 64);

bitflags! {
    /// What has been initialised of a group: `bg_flags`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct GroupFlags: u16 {
        /// The inode table has been zeroed, so that no kernel thread needs to do it after the first mount.
        const INODE_ZEROED = 0x4;
    }
}

/// The room for extents or a short link's target in an inode.
pub const BLOCK_AREA: usize = 60;

structure! {
    /// An inode as it lies in the table. Fields that an inode of 128 bytes lacks are zero.
    pub struct RawInode {
        i_mode: U16 = octal,
        i_uid: U16 = decimal,
        i_size_lo: U32 = decimal,
        i_atime: U32 = decimal,
        i_ctime: U32 = decimal,
        i_mtime: U32 = decimal,
        i_dtime: U32 = decimal,
        i_gid: U16 = decimal,
        i_links_count: U16 = decimal,
        i_blocks_lo: U32 = decimal,
        i_flags: U32 = hex,
        i_osd1: U32 = hex,
        i_block: [u8; BLOCK_AREA] = bytes,
        i_generation: U32 = decimal,
        i_file_acl_lo: U32 = decimal,
        i_size_high: U32 = decimal,
        i_obso_faddr: U32 = decimal,
        l_i_blocks_high: U16 = decimal,
        l_i_file_acl_high: U16 = decimal,
        l_i_uid_high: U16 = decimal,
        l_i_gid_high: U16 = decimal,
        l_i_checksum_lo: U16 = hex,
        l_i_reserved: U16 = hex,
        i_extra_isize: U16 = decimal,
        i_checksum_hi: U16 = hex,
        i_ctime_extra: U32 = hex,
        i_mtime_extra: U32 = hex,
        i_atime_extra: U32 = hex,
        i_crtime: U32 = decimal,
        i_crtime_extra: U32 = hex,
        i_version_hi: U32 = decimal,
        i_projid: U32 = decimal,
    }
}

bitflags! {
    /// What is special about an inode: `i_flags`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct InodeFlags: u32 {
        const ENCRYPT = 0x800;
        /// A directory with an index of hashes.
        const INDEX = 0x1000;
        /// The block area holds extents.
        const EXTENTS = 0x8_0000;
        /// The contents are in the inode.
        const INLINE_DATA = 0x1000_0000;
    }
}

pub const EXTENT_MAGIC: u16 = 0xF30A;
/// The longest extent. A longer `ee_len` is so much longer, and the extent has not been written yet.
pub const EXTENT_BLOCKS_MAX: u16 = 32768;

structure! {
    /// Before the entries of a node of an extent tree.
    pub struct ExtentHeader {
        eh_magic: U16 = hex,
        eh_entries: U16 = decimal,
        eh_max: U16 = decimal,
        eh_depth: U16 = decimal,
        eh_generation: U32 = decimal,
    }
}

structure! {
    /// An entry where `eh_depth` is 0.
    pub struct Extent {
        ee_block: U32 = decimal,
        ee_len: U16 = decimal,
        ee_start_hi: U16 = decimal,
        ee_start_lo: U32 = decimal,
    }
}

structure! {
    /// An entry of any other node.
    pub struct ExtentIndex {
        ei_block: U32 = decimal,
        ei_leaf_lo: U32 = decimal,
        ei_leaf_hi: U16 = decimal,
        ei_unused: U16 = hex,
    }
}

/// Directory entries are aligned to this.
pub const ENTRY_ALIGNMENT: usize = 4;

/// File types in directory entries (`filetype`).
pub const TYPE_FILE: u8 = 1;
pub const TYPE_DIRECTORY: u8 = 2;
pub const TYPE_SYMLINK: u8 = 7;
/// What a block's tail has in the place of a file type.
pub const TYPE_TAIL: u8 = 0xDE;

structure! {
    /// What stands before a name in a directory; `rec_len` leads to the next entry.
    pub struct EntryHeader {
        inode: U32 = decimal,
        rec_len: U16 = decimal,
        name_len: u8 = decimal,
        file_type: u8 = decimal,
    }
}

structure! {
    /// The end of a block of entries, disguised as an entry without a name.
    pub struct EntryTail {
        det_reserved_zero1: U32 = decimal,
        det_rec_len: U16 = decimal,
        det_reserved_zero2: u8 = decimal,
        det_reserved_ft: u8 = hex,
        det_checksum: U32 = hex,
    }
}

structure! {
    /// What stands behind the two dots in the root block of an indexed directory.
    pub struct IndexRootInfo {
        reserved_zero: U32 = decimal,
        hash_version: u8 = decimal,
        info_length: u8 = decimal,
        indirect_levels: u8 = decimal,
        unused_flags: u8 = hex,
    }
}

structure! {
    /// An entry of an index: hashes from this one up to the next entry's are in `block`.
    pub struct IndexEntry {
        hash: U32 = hex,
        block: U32 = decimal,
    }
}

structure! {
    /// Takes the place of the first entry's hash, which needs none.
    pub struct IndexCount {
        limit: U16 = decimal,
        count: U16 = decimal,
    }
}

structure! {
    /// The end of a block of an index.
    pub struct IndexTail {
        dt_reserved: U32 = hex,
        dt_checksum: U32 = hex,
    }
}

impl Extent {
    /// An extent of `count` blocks from `start` on, where the file has its block `logical`.
    pub fn new(logical: u64, start: u64, count: u64) -> Result<Self, InternalError> {
        let (ee_start_lo, ee_start_hi) = halves_48(start)?;
        let (ee_block, ee_len) = (fit::<u32, _>(logical)?.into(), fit::<u16, _>(count)?.into());
        Ok(Self { ee_block, ee_len, ee_start_hi, ee_start_lo })
    }
}

impl ExtentIndex {
    /// An entry that leads to the node in the block `leaf`, whose first entry is for the file's block `logical`.
    pub fn new(logical: u64, leaf: u64) -> Result<Self, InternalError> {
        let (ei_leaf_lo, ei_leaf_hi) = halves_48(leaf)?;
        Ok(Self { ei_block: fit::<u32, _>(logical)?.into(), ei_leaf_lo, ei_leaf_hi, ei_unused: U16::ZERO })
    }
}

/// The low and the high 32 bits.
pub fn halves(n: u64) -> (U32, U32) {
    let [low, high] = zerocopy::transmute!(U64::new(n));
    (low, high)
}

/// The low 32 and the high 16 bits of a number that has no more.
pub fn halves_48(n: u64) -> Result<(U32, U16), InternalError> {
    let (low, high) = halves(n);
    Ok((low, fit::<u16, _>(high.get())?.into()))
}

/// A number out of its halves.
pub fn join(low: U32, high: impl Into<u64>) -> u64 {
    high.into() << 32 | u64::from(low.get())
}
