//! Group descriptors (the kernel's documentation of ext4, "Block Group Descriptors").

use zerocopy::byteorder::little_endian::U16;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{beyond_end, check};
use crate::container::reader::{ReadError, Source};
use crate::fs::ext4::disk::{GroupDescriptor, Superblock, join};
use crate::units::index;

impl GroupDescriptor {
    /// Reads the descriptors of all groups, whose number the superblock's check has bounded.
    pub fn read_all(source: &dyn Source, superblock: &Superblock) -> Result<Vec<Self>, ReadError> {
        let block = u64::from(superblock.block_size());
        let size = u64::from(superblock.descriptor_size());
        let per_block = block / size;
        let mut all = Vec::with_capacity(index(superblock.groups()));
        let mut numbers = 0_u32..;
        for table_block in 0..superblock.groups().div_ceil(per_block) {
            let count = per_block.min(superblock.groups() - table_block * per_block);
            let place = superblock.descriptor_block(table_block, per_block);
            if place >= superblock.blocks_count() {
                return Err(beyond_end(place));
            }
            let bytes = source.bytes(place * block, index(count * size))?;
            for (bytes, number) in bytes.chunks(index(size)).zip(&mut numbers) {
                let mut descriptor = Self::new_zeroed();
                let known = bytes.len().min(size_of::<Self>());
                descriptor.as_mut_bytes()[..known].copy_from_slice(&bytes[..known]);
                check_descriptor(superblock, number, bytes)?;
                all.push(descriptor);
            }
        }
        Ok(all)
    }

    /// The block bitmap's block.
    pub fn block_bitmap(&self) -> u64 {
        join(self.bg_block_bitmap_lo, self.bg_block_bitmap_hi)
    }

    /// The inode bitmap's block.
    pub fn inode_bitmap(&self) -> u64 {
        join(self.bg_inode_bitmap_lo, self.bg_inode_bitmap_hi)
    }

    /// The first block of the inode table.
    pub fn inode_table(&self) -> u64 {
        join(self.bg_inode_table_lo, self.bg_inode_table_hi)
    }

    /// The number of free blocks in the group.
    pub fn free_blocks(&self) -> u32 {
        u32::from(self.bg_free_blocks_count_hi.get()) << 16 | u32::from(self.bg_free_blocks_count_lo.get())
    }

    /// The number of free inodes in the group.
    pub fn free_inodes(&self) -> u32 {
        u32::from(self.bg_free_inodes_count_hi.get()) << 16 | u32::from(self.bg_free_inodes_count_lo.get())
    }
}

/// Compares the checksum of a descriptor, taken with its own field as zeros.
fn check_descriptor(superblock: &Superblock, number: u32, bytes: &[u8]) -> Result<(), ReadError> {
    let Some(seed) = superblock.seed() else { return Ok(()) };
    let field = std::mem::offset_of!(GroupDescriptor, bg_checksum);
    let mut covered = bytes.to_vec();
    let Some(place) = covered.get_mut(field..field + size_of::<U16>()) else { return Ok(()) };
    let expected = U16::read_from_bytes(place).map_or(0, U16::get);
    place.fill(0);
    let found = seed.and(&number.to_le_bytes()).and(&covered).halves().0;
    check(format_args!("the descriptor of group {number}"), found.into(), expected.into())
}
