//! The superblock (the kernel's documentation of ext4, "Super Block"), checked before anything is built on it.

use std::fmt;

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U32;

use super::{HELP, check};
use crate::container::reader::{ReadError, Source, refuse};
use crate::fs::ext4::checksum::Checksum;
use crate::fs::ext4::disk::{
    CHECKSUM_CRC32C, Compat, DESCRIPTOR_SIZE, FIRST_BYTE, Incompat, MAGIC, RoCompat, Superblock, join, names,
};
use crate::fs::ext4::geometry::has_backup;
use crate::guid::Guid;
use crate::text::shown;

/// Features with which not all files can be found, or most cannot be read. With others, inodes say for themselves that
/// they are encrypted or have their contents in them.
const UNREAD: Incompat = Incompat::COMPRESSION.union(Incompat::JOURNAL_DEV).union(Incompat::DIRDATA);
const HELP_JOURNAL: &str = "it holds no files, but the journal of another file system; name that one";

const BLOCK_SIZE_MAX: u32 = 64 << 10;
/// The fewest blocks that mke2fs gives to a group.
const BLOCKS_PER_GROUP_MIN: u32 = 256;
/// The descriptors of a file system of a PiB; no more are read.
const DESCRIPTORS_MAX: u64 = 512 << 20;

impl Superblock {
    /// Reads the superblock and checks that what it says of sizes is possible.
    pub fn read(source: &dyn Source) -> Result<Self, ReadError> {
        let bytes = source.bytes(FIRST_BYTE, size_of::<Self>())?;
        let superblock = Self::read_from_bytes(&bytes).map_err(|_| damaged("it is cut short"))?;
        if superblock.s_magic.get() != MAGIC {
            return Err(damaged("it does not have the magic number 0xef53"));
        }
        // Before the features: they may be what is damaged.
        if superblock.has_checksums() && superblock.s_checksum_type == CHECKSUM_CRC32C {
            let covered = std::mem::offset_of!(Self, s_checksum);
            let found = Checksum::START.and(&bytes[..covered]).get();
            check(format_args!("the superblock"), found, superblock.s_checksum.get())?;
        }
        superblock.check_features()?;
        superblock.check_sizes(source.size())?;
        Ok(superblock)
    }

    fn check_features(&self) -> Result<(), ReadError> {
        // Of the features that only forbid writing, one hides files from a reader.
        let unknown = names(self.incompat().difference(Incompat::all().difference(UNREAD)))
            .chain(names(self.ro_compat().intersection(RoCompat::BIGALLOC)));
        let features = unknown.collect::<Vec<_>>().join(", ");
        if !features.is_empty() {
            let is_journal = self.incompat().contains(Incompat::JOURNAL_DEV);
            let help = if is_journal { HELP_JOURNAL } else { HELP };
            return Err(unread(&features, help));
        }
        if self.has_checksums() && self.s_checksum_type != CHECKSUM_CRC32C {
            return Err(unread(&format!("checksums of type {}", self.s_checksum_type), HELP));
        }
        Ok(())
    }

    fn check_sizes(&self, available: u64) -> Result<(), ReadError> {
        let log = u64::from(self.s_log_block_size.get());
        let (block, blocks, groups) = (self.block_size(), self.blocks_count(), self.groups());
        let (per_group, inodes) = (self.s_blocks_per_group.get(), self.s_inodes_per_group.get());
        let (inode, descriptor) = (u32::from(self.inode_size()), self.descriptor_size());
        let table = groups.saturating_mul(descriptor.into());
        refuse([
            (log > 6, format!("blocks of 2^{} bytes are larger than 64 KiB", log + 10)),
            (
                blocks.saturating_mul(block.into()) > available || blocks == 0,
                format!(
                    "it says that the file system has {blocks} blocks of {block} bytes; there are {available} bytes"
                ),
            ),
            (
                !(BLOCKS_PER_GROUP_MIN..=block * 8).contains(&per_group),
                format!("a group cannot have {per_group} blocks"),
            ),
            (!(1..=block * 8).contains(&inodes), format!("a group cannot have {inodes} inodes")),
            (
                !(128..=block).contains(&inode) || !inode.is_power_of_two(),
                format!("an inode cannot have {inode} bytes"),
            ),
            (
                !(32..=1024).contains(&descriptor) || !descriptor.is_power_of_two(),
                format!("a group descriptor cannot have {descriptor} bytes"),
            ),
            (
                table > DESCRIPTORS_MAX || table > available || u32::try_from(groups).is_err(),
                format!("{groups} groups are more than this program reads"),
            ),
            (
                u64::from(self.s_inodes_count.get()) > groups.saturating_mul(inodes.into()),
                "it counts more inodes than its groups have".to_owned(),
            ),
        ])
        .map_err(damaged)
    }

    /// The size of a block in bytes, 1 to 64 KiB.
    pub fn block_size(&self) -> u32 {
        1024_u32
            .checked_shl(self.s_log_block_size.get())
            .map_or(BLOCK_SIZE_MAX, |size| size.min(BLOCK_SIZE_MAX))
    }

    /// The number of blocks.
    pub fn blocks_count(&self) -> u64 {
        join(self.s_blocks_count_lo, self.high(self.s_blocks_count_hi))
    }

    /// The number of free blocks.
    pub fn free_blocks_count(&self) -> u64 {
        join(self.s_free_blocks_count_lo, self.high(self.s_free_blocks_count_hi))
    }

    /// The number of block groups.
    pub fn groups(&self) -> u64 {
        let first = u64::from(self.s_first_data_block.get());
        self.blocks_count().saturating_sub(first).div_ceil(u64::from(self.s_blocks_per_group.get()).max(1))
    }

    /// The size of an inode in bytes; the first revision knew only one.
    pub fn inode_size(&self) -> u16 {
        if self.s_rev_level.get() == 0 { 128 } else { self.s_inode_size.get() }
    }

    /// The size of a group descriptor in bytes.
    pub fn descriptor_size(&self) -> u16 {
        if self.is_64bit() { self.s_desc_size.get() } else { DESCRIPTOR_SIZE }
    }

    /// Whether numbers of blocks have more than 32 bits.
    pub fn is_64bit(&self) -> bool {
        self.incompat().contains(Incompat::_64BIT)
    }

    /// Whether all metadata has checksums.
    pub fn has_checksums(&self) -> bool {
        self.ro_compat().contains(RoCompat::METADATA_CSUM)
    }

    /// Whether there is a journal.
    pub fn has_journal(&self) -> bool {
        self.compat().contains(Compat::HAS_JOURNAL)
    }

    /// Whether the journal holds changes that the rest of the file system lacks.
    pub fn needs_recovery(&self) -> bool {
        self.incompat().contains(Incompat::NEEDS_RECOVERY)
    }

    /// The seed of all checksums but the superblock's.
    pub(super) fn seed(&self) -> Option<Checksum> {
        if !self.has_checksums() {
            None
        } else if self.incompat().contains(Incompat::METADATA_CSUM_SEED) {
            Some(Checksum::of_seed(self.s_checksum_seed.get()))
        } else {
            Some(Checksum::of_file_system(self.uuid()))
        }
    }

    /// The UUID.
    pub fn uuid(&self) -> Guid {
        Guid::from_bytes(self.s_uuid)
    }

    /// The label, fit for a terminal.
    pub fn label(&self) -> String {
        shown(self.s_volume_name.split(|&byte| byte == 0).next().unwrap_or_default())
    }

    /// The names of all features, as e2fsprogs has them.
    pub fn features(&self) -> Vec<String> {
        names(self.compat()).chain(names(self.incompat())).chain(names(self.ro_compat())).collect()
    }

    /// Where the block `table_block` of the descriptor table is, which has so many descriptors. They follow the superblock
    /// or, from `s_first_meta_bg` on (`meta_bg`), stand in the first of the groups that they describe, behind its
    /// superblock if it has one.
    pub(super) fn descriptor_block(&self, table_block: u64, per_block: u64) -> u64 {
        let block = u64::from(self.block_size());
        let has_meta_bg = self.incompat().contains(Incompat::META_BG);
        if !has_meta_bg || table_block < u64::from(self.s_first_meta_bg.get()) {
            return FIRST_BYTE / block + 1 + table_block;
        }
        let group = table_block * per_block;
        let start =
            u64::from(self.s_first_data_block.get()) + group * u64::from(self.s_blocks_per_group.get());
        start + u64::from(self.has_superblock(group))
    }

    /// Whether a group begins with a superblock (the kernel's documentation of ext4, "Super Block", `sparse_super` and
    /// `sparse_super2`).
    fn has_superblock(&self, group: u64) -> bool {
        if self.compat().contains(Compat::SPARSE_SUPER2) {
            group == 0 || self.s_backup_bgs.iter().any(|backup| u64::from(backup.get()) == group)
        } else {
            has_backup(group) || !self.ro_compat().contains(RoCompat::SPARSE_SUPER)
        }
    }

    fn high(&self, word: U32) -> U32 {
        if self.is_64bit() { word } else { U32::ZERO }
    }
}

fn unread(features: &str, help: &str) -> ReadError {
    ReadError::unsupported(format!(
        "the ext4 file system uses {features}, which this program does not read; {help}"
    ))
}

fn damaged(problem: impl fmt::Display) -> ReadError {
    ReadError::damaged(format!("the ext4 superblock is damaged: {problem}"))
}
