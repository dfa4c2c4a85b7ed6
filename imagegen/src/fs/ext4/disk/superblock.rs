//! The superblock (the kernel's documentation of ext4, "Super Block").

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::features::{Compat, Incompat, RoCompat};
use crate::on_disk::structure;

/// How an ext4 superblock is told: 0xEF53 at its byte 56.
pub const MAGIC: u16 = 0xEF53;
/// Where the superblock begins in the file system, in bytes; backups begin with their group.
pub const FIRST_BYTE: u64 = 1024;
/// The only type of checksum that there is.
pub const CHECKSUM_CRC32C: u8 = 1;
/// `s_rev_level` of a superblock whose fields from `s_first_ino` on mean something.
pub const DYNAMIC_REVISION: u32 = 1;
/// `s_def_hash_version` of half-MD4; `s_flags` says whether it takes the bytes of names as unsigned.
pub const HASH_HALF_MD4: u8 = 1;

structure! {
    /// The superblock, 1,024 bytes at byte 1,024 of the file system.
    pub struct Superblock {
        s_inodes_count: U32 = decimal,
        s_blocks_count_lo: U32 = decimal,
        s_r_blocks_count_lo: U32 = decimal,
        s_free_blocks_count_lo: U32 = decimal,
        s_free_inodes_count: U32 = decimal,
        s_first_data_block: U32 = decimal,
        s_log_block_size: U32 = decimal,
        s_log_cluster_size: U32 = decimal,
        s_blocks_per_group: U32 = decimal,
        s_clusters_per_group: U32 = decimal,
        s_inodes_per_group: U32 = decimal,
        s_mtime: U32 = decimal,
        s_wtime: U32 = decimal,
        s_mnt_count: U16 = decimal,
        s_max_mnt_count: U16 = decimal,
        s_magic: U16 = hex,
        s_state: U16 = hex,
        s_errors: U16 = decimal,
        s_minor_rev_level: U16 = decimal,
        s_lastcheck: U32 = decimal,
        s_checkinterval: U32 = decimal,
        s_creator_os: U32 = decimal,
        s_rev_level: U32 = decimal,
        s_def_resuid: U16 = decimal,
        s_def_resgid: U16 = decimal,
        s_first_ino: U32 = decimal,
        s_inode_size: U16 = decimal,
        s_block_group_nr: U16 = decimal,
        s_feature_compat: U32 = hex,
        s_feature_incompat: U32 = hex,
        s_feature_ro_compat: U32 = hex,
        s_uuid: [u8; 16] = uuid,
        s_volume_name: [u8; 16] = label,
        s_last_mounted: [u8; 64] = label,
        s_algorithm_usage_bitmap: U32 = hex,
        s_prealloc_blocks: u8 = decimal,
        s_prealloc_dir_blocks: u8 = decimal,
        s_reserved_gdt_blocks: U16 = decimal,
        s_journal_uuid: [u8; 16] = uuid,
        s_journal_inum: U32 = decimal,
        s_journal_dev: U32 = decimal,
        s_last_orphan: U32 = decimal,
        s_hash_seed: [u8; 16] = uuid,
        s_def_hash_version: u8 = decimal,
        s_jnl_backup_type: u8 = decimal,
        s_desc_size: U16 = decimal,
        s_default_mount_opts: U32 = hex,
        s_first_meta_bg: U32 = decimal,
        s_mkfs_time: U32 = decimal,
        s_jnl_blocks: [U32; 17] = list,
        s_blocks_count_hi: U32 = decimal,
        s_r_blocks_count_hi: U32 = decimal,
        s_free_blocks_count_hi: U32 = decimal,
        s_min_extra_isize: U16 = decimal,
        s_want_extra_isize: U16 = decimal,
        s_flags: U32 = hex,
        s_raid_stride: U16 = decimal,
        s_mmp_interval: U16 = decimal,
        s_mmp_block: U64 = decimal,
        s_raid_stripe_width: U32 = decimal,
        s_log_groups_per_flex: u8 = decimal,
        s_checksum_type: u8 = decimal,
        s_reserved_pad: U16 = decimal,
        s_kbytes_written: U64 = decimal,
        s_snapshot_inum: U32 = decimal,
        s_snapshot_id: U32 = decimal,
        s_snapshot_r_blocks_count: U64 = decimal,
        s_snapshot_list: U32 = decimal,
        s_error_count: U32 = decimal,
        s_first_error_time: U32 = decimal,
        s_first_error_ino: U32 = decimal,
        s_first_error_block: U64 = decimal,
        s_first_error_func: [u8; 32] = label,
        s_first_error_line: U32 = decimal,
        s_last_error_time: U32 = decimal,
        s_last_error_ino: U32 = decimal,
        s_last_error_line: U32 = decimal,
        s_last_error_block: U64 = decimal,
        s_last_error_func: [u8; 32] = label,
        s_mount_opts: [u8; 64] = label,
        s_usr_quota_inum: U32 = decimal,
        s_grp_quota_inum: U32 = decimal,
        s_overhead_blocks: U32 = decimal,
        s_backup_bgs: [U32; 2] = list,
        s_encrypt_algos: [u8; 4] = bytes,
        s_encrypt_pw_salt: [u8; 16] = bytes,
        s_lpf_ino: U32 = decimal,
        s_prj_quota_inum: U32 = decimal,
        s_checksum_seed: U32 = hex,
        s_wtime_hi: u8 = decimal,
        s_mtime_hi: u8 = decimal,
        s_mkfs_time_hi: u8 = decimal,
        s_lastcheck_hi: u8 = decimal,
        s_first_error_time_hi: u8 = decimal,
        s_last_error_time_hi: u8 = decimal,
        s_first_error_errcode: u8 = decimal,
        s_last_error_errcode: u8 = decimal,
        s_encoding: U16 = decimal,
        s_encoding_flags: U16 = hex,
        s_orphan_file_inum: U32 = decimal,
        s_reserved: [U32; 94] = list,
        s_checksum: U32 = hex,
    }
}

const _: () = assert!(size_of::<Superblock>() == 1024);

impl Superblock {
    /// The features that a reader may ignore.
    pub fn compat(&self) -> Compat {
        Compat::from_bits_retain(self.s_feature_compat.get())
    }

    /// The features without which a file system cannot be read.
    pub fn incompat(&self) -> Incompat {
        Incompat::from_bits_retain(self.s_feature_incompat.get())
    }

    /// The features without which a file system cannot be written to.
    pub fn ro_compat(&self) -> RoCompat {
        RoCompat::from_bits_retain(self.s_feature_ro_compat.get())
    }
}
