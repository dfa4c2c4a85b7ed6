//! The superblock and its backups.

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

use super::checksum::Checksum;
use super::disk::{
    CHECKSUM_CRC32C, Compat, DYNAMIC_REVISION, FIRST_BYTE, FIRST_INODE, HASH_HALF_MD4, Incompat,
    JOURNAL_INODE, MAGIC, RoCompat, Superblock, halves,
};
use super::geometry::Geometry;
use super::inode::{EXTRA_ISIZE, INODE_SIZE};
use super::{BLOCK_BITS, Options, journal};
use crate::error_kind::InternalError;
use crate::units::{fit, index};

const STATE_CLEAN: u16 = 1;
const ERRORS_CONTINUE: u16 = 1;
/// Extended attributes and access control lists are on unless a mount option says otherwise, as mke2fs has it.
const MOUNT_XATTR_ACL: u32 = 0x4 | 0x8;
const FLAG_UNSIGNED_HASH: u32 = 0x2;
/// The superblock keeps the block area and size of the journal's inode.
const JOURNAL_BACKUP_INODE: u8 = 1;
/// A count of mounts that never asks for a check.
const NO_MOUNT_LIMIT: u16 = 0xFFFF;

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
) -> Result<Vec<u8>, InternalError> {
    let mut block = Superblock::new_zeroed();
    block.s_inodes_count = geometry.inodes().into();
    (block.s_blocks_count_lo, block.s_blocks_count_hi) = halves(geometry.blocks);
    (block.s_free_blocks_count_lo, block.s_free_blocks_count_hi) = halves(free.blocks);
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
    [block.s_block_group_nr, _] = zerocopy::transmute!(U32::new(group));
    let mut compat = Compat::EXT_ATTR | Compat::DIR_INDEX;
    compat.set(Compat::RESIZE_INODE, geometry.reserved_descriptor_blocks > 0);
    block.s_reserved_gdt_blocks = fit::<u16, _>(geometry.reserved_descriptor_blocks)?.into();
    if let Some(journal) = journal {
        compat |= Compat::HAS_JOURNAL;
        block.s_journal_inum = JOURNAL_INODE.into();
        block.s_jnl_backup_type = JOURNAL_BACKUP_INODE;
        let area: [U32; 15] = zerocopy::transmute!(journal.area);
        block.s_jnl_blocks[..15].copy_from_slice(&area);
        (block.s_jnl_blocks[16], block.s_jnl_blocks[15]) = halves(journal.size);
    }
    let mut incompat = Incompat::FILETYPE | Incompat::EXTENT | Incompat::FLEX_BG;
    if geometry.is_64bit() {
        incompat |= Incompat::_64BIT;
        block.s_desc_size = geometry.descriptor_size().into();
    }
    let ro_compat = RoCompat::SPARSE_SUPER
        | RoCompat::LARGE_FILE
        | RoCompat::HUGE_FILE
        | RoCompat::DIR_NLINK
        | RoCompat::EXTRA_ISIZE
        | RoCompat::METADATA_CSUM;
    block.s_feature_compat = compat.bits().into();
    block.s_feature_incompat = incompat.bits().into();
    block.s_feature_ro_compat = ro_compat.bits().into();
    block.s_uuid = options.uuid.bytes();
    // The plan has checked the length.
    block.s_volume_name[..options.label.len()].copy_from_slice(options.label.as_bytes());
    block.s_hash_seed = options.hash_seed.bytes();
    block.s_def_hash_version = HASH_HALF_MD4;
    block.s_default_mount_opts = MOUNT_XATTR_ACL.into();
    block.s_mkfs_time = options.time.into();
    block.s_min_extra_isize = EXTRA_ISIZE.into();
    block.s_want_extra_isize = EXTRA_ISIZE.into();
    block.s_flags = FLAG_UNSIGNED_HASH.into();
    block.s_log_groups_per_flex = geometry.log_groups_per_flex();
    block.s_checksum_type = CHECKSUM_CRC32C;
    let covered = std::mem::offset_of!(Superblock, s_checksum);
    block.s_checksum = Checksum::START.and(&block.as_bytes()[..covered]).get().into();

    // Behind room for a boot sector, which backups do not have.
    let mut out = vec![0; if group == 0 { index(FIRST_BYTE) } else { 0 }];
    out.extend_from_slice(block.as_bytes());
    out.resize(index(super::BLOCK), 0);
    Ok(out)
}
