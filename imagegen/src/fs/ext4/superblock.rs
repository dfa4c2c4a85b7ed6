//! The superblock and its feature words (the kernel's documentation of ext4, "Super Block").

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::Checksum;
use super::geometry::Geometry;
use super::inode::{BLOCK_AREA, EXTRA_ISIZE, FIRST_INODE, INODE_SIZE};
use super::{BLOCK_BITS, Options, journal};
use crate::units::index;

/// Where the superblock begins in block 0, behind room for a boot sector; backups have it at their block's start.
pub const OFFSET: usize = 1024;
/// A hint of half-MD4 directories whose hash takes names as unsigned bytes.
pub const HASH_HALF_MD4: u8 = 1;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_EXT_ATTR: u32 = 0x8;
const COMPAT_RESIZE_INODE: u32 = 0x10;
const COMPAT_DIR_INDEX: u32 = 0x20;
const INCOMPAT_FILETYPE: u32 = 0x2;
const INCOMPAT_EXTENTS: u32 = 0x40;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_FLEX_BG: u32 = 0x200;
const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
const RO_COMPAT_LARGE_FILE: u32 = 0x2;
const RO_COMPAT_HUGE_FILE: u32 = 0x8;
const RO_COMPAT_DIR_NLINK: u32 = 0x20;
const RO_COMPAT_EXTRA_ISIZE: u32 = 0x40;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;

const MAGIC: u16 = 0xEF53;
const STATE_CLEAN: u16 = 1;
const ERRORS_CONTINUE: u16 = 1;
const DYNAMIC_REVISION: u32 = 1;
/// Extended attributes and access control lists are on unless a mount option says otherwise, as mke2fs has it.
const MOUNT_XATTR_ACL: u32 = 0x4 | 0x8;
const FLAG_UNSIGNED_HASH: u32 = 0x2;
/// The superblock keeps the block area and size of the journal's inode.
const JOURNAL_BACKUP_INODE: u8 = 1;
const CHECKSUM_CRC32C: u8 = 1;
/// A count of mounts that never asks for a check.
const NO_MOUNT_LIMIT: u16 = 0xFFFF;

#[derive(IntoBytes, FromZeros, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Superblock {
    s_inodes_count: U32,
    s_blocks_count_lo: U32,
    s_r_blocks_count_lo: U32,
    s_free_blocks_count_lo: U32,
    s_free_inodes_count: U32,
    s_first_data_block: U32,
    s_log_block_size: U32,
    s_log_cluster_size: U32,
    s_blocks_per_group: U32,
    s_clusters_per_group: U32,
    s_inodes_per_group: U32,
    s_mtime: U32,
    s_wtime: U32,
    s_mnt_count: U16,
    s_max_mnt_count: U16,
    s_magic: U16,
    s_state: U16,
    s_errors: U16,
    s_minor_rev_level: U16,
    s_lastcheck: U32,
    s_checkinterval: U32,
    s_creator_os: U32,
    s_rev_level: U32,
    s_def_resuid: U16,
    s_def_resgid: U16,
    s_first_ino: U32,
    s_inode_size: U16,
    s_block_group_nr: U16,
    s_feature_compat: U32,
    s_feature_incompat: U32,
    s_feature_ro_compat: U32,
    s_uuid: [u8; 16],
    s_volume_name: [u8; 16],
    s_last_mounted: [u8; 64],
    s_algorithm_usage_bitmap: U32,
    s_prealloc_blocks: u8,
    s_prealloc_dir_blocks: u8,
    s_reserved_gdt_blocks: U16,
    s_journal_uuid: [u8; 16],
    s_journal_inum: U32,
    s_journal_dev: U32,
    s_last_orphan: U32,
    s_hash_seed: [u8; 16],
    s_def_hash_version: u8,
    s_jnl_backup_type: u8,
    s_desc_size: U16,
    s_default_mount_opts: U32,
    s_first_meta_bg: U32,
    s_mkfs_time: U32,
    /// The block area of the journal's inode, then its size, high half first.
    s_jnl_blocks: [u8; BLOCK_AREA],
    s_jnl_size_high: U32,
    s_jnl_size_lo: U32,
    s_blocks_count_hi: U32,
    s_r_blocks_count_hi: U32,
    s_free_blocks_count_hi: U32,
    s_min_extra_isize: U16,
    s_want_extra_isize: U16,
    s_flags: U32,
    s_raid_stride: U16,
    s_mmp_interval: U16,
    s_mmp_block: U64,
    s_raid_stripe_width: U32,
    s_log_groups_per_flex: u8,
    s_checksum_type: u8,
    s_reserved_pad: U16,
    s_kbytes_written: U64,
    /// Snapshots, error records, mount options, quotas, encryption and what else is not used here.
    unused: [u8; 636],
    s_checksum: U32,
}

const _: () = assert!(size_of::<Superblock>() == 1024);

/// What the superblock counts over all groups.
#[derive(Debug, Clone, Copy)]
pub struct Free {
    /// Free blocks.
    pub blocks: u64,
    /// Free inodes.
    pub inodes: u32,
}

/// The superblock or, for any group but 0, its backup there.
pub fn superblock(
    geometry: &Geometry,
    options: &Options,
    free: Free,
    journal: Option<&journal::Backup>,
    group: u32,
) -> Vec<u8> {
    let (blocks_lo, blocks_hi) = halves(geometry.blocks);
    let (free_lo, free_hi) = halves(free.blocks);
    let mut block = Superblock::new_zeroed();
    block.s_inodes_count = geometry.inodes().into();
    block.s_blocks_count_lo = blocks_lo.into();
    block.s_blocks_count_hi = blocks_hi.into();
    block.s_free_blocks_count_lo = free_lo.into();
    block.s_free_blocks_count_hi = free_hi.into();
    block.s_free_inodes_count = free.inodes.into();
    // Both are counted from 1 KiB on.
    block.s_log_block_size = (BLOCK_BITS - 10).into();
    block.s_log_cluster_size = (BLOCK_BITS - 10).into();
    block.s_blocks_per_group = geometry.blocks_per_group.into();
    block.s_clusters_per_group = geometry.blocks_per_group.into();
    block.s_inodes_per_group = geometry.inodes_per_group.into();
    block.s_wtime = options.time.into();
    block.s_max_mnt_count = NO_MOUNT_LIMIT.into();
    block.s_magic = MAGIC.into();
    block.s_state = STATE_CLEAN.into();
    block.s_errors = ERRORS_CONTINUE.into();
    block.s_lastcheck = options.time.into();
    block.s_rev_level = DYNAMIC_REVISION.into();
    block.s_first_ino = FIRST_INODE.into();
    block.s_inode_size = INODE_SIZE.into();
    // Like the kernel, the low 16 bits where there are more groups.
    block.s_block_group_nr = low_half(group);
    block.s_feature_compat = (COMPAT_EXT_ATTR | COMPAT_DIR_INDEX).into();
    if geometry.reserved_descriptor_blocks > 0 {
        block.s_feature_compat |= COMPAT_RESIZE_INODE;
        // Their numbers fit into one block.
        block.s_reserved_gdt_blocks = low_half(geometry.reserved_descriptor_blocks);
    }
    let wide = if geometry.is_64bit() { INCOMPAT_64BIT } else { 0 };
    block.s_feature_incompat = (INCOMPAT_FILETYPE | INCOMPAT_EXTENTS | INCOMPAT_FLEX_BG | wide).into();
    block.s_feature_ro_compat = (RO_COMPAT_SPARSE_SUPER
        | RO_COMPAT_LARGE_FILE
        | RO_COMPAT_HUGE_FILE
        | RO_COMPAT_DIR_NLINK
        | RO_COMPAT_EXTRA_ISIZE
        | RO_COMPAT_METADATA_CSUM)
        .into();
    block.s_uuid = options.uuid.bytes();
    // The plan has checked the length.
    for (to, from) in block.s_volume_name.iter_mut().zip(options.label.bytes()) {
        *to = from;
    }
    if let Some(journal) = journal {
        block.s_feature_compat |= COMPAT_HAS_JOURNAL;
        block.s_journal_inum = journal::INODE.into();
        block.s_jnl_backup_type = JOURNAL_BACKUP_INODE;
        block.s_jnl_blocks = journal.area;
        let (low, high) = halves(journal.size);
        (block.s_jnl_size_lo, block.s_jnl_size_high) = (low.into(), high.into());
    }
    block.s_hash_seed = options.hash_seed.bytes();
    block.s_def_hash_version = HASH_HALF_MD4;
    block.s_desc_size = if geometry.is_64bit() { geometry.descriptor_size().into() } else { U16::ZERO };
    block.s_default_mount_opts = MOUNT_XATTR_ACL.into();
    block.s_mkfs_time = options.time.into();
    block.s_min_extra_isize = EXTRA_ISIZE.into();
    block.s_want_extra_isize = EXTRA_ISIZE.into();
    block.s_flags = FLAG_UNSIGNED_HASH.into();
    block.s_log_groups_per_flex = geometry.log_groups_per_flex();
    block.s_checksum_type = CHECKSUM_CRC32C;
    let covered = std::mem::offset_of!(Superblock, s_checksum);
    block.s_checksum = Checksum::START.and(&block.as_bytes()[..covered]).get().into();

    let mut out = vec![0; if group == 0 { OFFSET } else { 0 }];
    out.extend_from_slice(block.as_bytes());
    out.resize(index(super::BLOCK), 0);
    out
}

/// The low 16 bits.
fn low_half(n: u32) -> U16 {
    let [low, high, ..] = n.to_le_bytes();
    U16::from_bytes([low, high])
}

/// The low and the high 32 bits.
pub fn halves(n: u64) -> (u32, u32) {
    let [low, high]: [U32; 2] = zerocopy::transmute!(U64::new(n));
    (low.get(), high.get())
}
