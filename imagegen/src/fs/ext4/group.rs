//! Group descriptors and bitmaps (the kernel's documentation of ext4, "Block Group Descriptors", "Block and inode
//! Bitmaps").

use std::ops::Range;

use zerocopy::{FromZeros, IntoBytes};

use super::BLOCK;
use super::checksum::Checksum;
use super::disk::{GroupDescriptor, GroupFlags, halves};
use super::geometry::Geometry;
use crate::error_kind::InternalError;
use crate::units::{fit, index};

/// What is in use in a group.
#[derive(Debug)]
pub struct Usage<'a> {
    /// Free blocks of the whole file system, ascending.
    pub free: &'a [Range<u64>],
    /// The highest inode in use; all below are in use too.
    pub last_inode: u32,
    /// Directories among the group's inodes.
    pub directories: u32,
}

/// A group's descriptor and bitmaps.
#[derive(Debug)]
pub struct Group {
    pub descriptor: Vec<u8>,
    pub block_bitmap: Vec<u8>,
    pub inode_bitmap: Vec<u8>,
}

/// Renders the descriptor and bitmaps of a group.
pub fn group(
    geometry: &Geometry,
    group: u32,
    usage: &Usage<'_>,
    seed: Checksum,
) -> Result<Group, InternalError> {
    let (block_bitmap, free_blocks) = block_bitmap(geometry, group, usage.free);
    let used_inodes = used_inodes(geometry, group, usage.last_inode);
    let inode_bitmap = bitmap_with(0..used_inodes, geometry.inodes_per_group);
    let free_inodes = fit::<u16, _>(geometry.inodes_per_group - used_inodes)?.into();

    let tables = geometry.tables[index(group.into())];
    let mut raw = GroupDescriptor::new_zeroed();
    (raw.bg_block_bitmap_lo, raw.bg_block_bitmap_hi) = halves(tables.block_bitmap);
    (raw.bg_inode_bitmap_lo, raw.bg_inode_bitmap_hi) = halves(tables.inode_bitmap);
    (raw.bg_inode_table_lo, raw.bg_inode_table_hi) = halves(tables.inode_table);
    // A group has at most 32,768 of each, so that the high halves stay zero.
    raw.bg_free_blocks_count_lo = fit::<u16, _>(free_blocks)?.into();
    raw.bg_free_inodes_count_lo = free_inodes;
    raw.bg_used_dirs_count_lo = fit::<u16, _>(usage.directories)?.into();
    raw.bg_itable_unused_lo = free_inodes;
    raw.bg_flags = GroupFlags::INODE_ZEROED.bits().into();
    let covered = |bits: u32| index(u64::from(bits) / 8);
    (raw.bg_block_bitmap_csum_lo, raw.bg_block_bitmap_csum_hi) =
        seed.and(&block_bitmap[..covered(geometry.blocks_per_group)]).halves();
    (raw.bg_inode_bitmap_csum_lo, raw.bg_inode_bitmap_csum_hi) =
        seed.and(&inode_bitmap[..covered(geometry.inodes_per_group)]).halves();
    let size = usize::from(geometry.descriptor_size());
    // The checksum field itself counts as zeros.
    raw.bg_checksum = seed.and(&group.to_le_bytes()).and(&raw.as_bytes()[..size]).halves().0;
    Ok(Group { descriptor: raw.as_bytes()[..size].to_vec(), block_bitmap, inode_bitmap })
}

/// How many of a group's inodes are in use; they are its first ones.
pub fn used_inodes(geometry: &Geometry, group: u32, last_inode: u32) -> u32 {
    last_inode.saturating_sub(geometry.inodes_per_group.saturating_mul(group)).min(geometry.inodes_per_group)
}

/// The bitmap and the number of free blocks. Whatever lies beyond the group counts as used.
fn block_bitmap(geometry: &Geometry, group: u32, free: &[Range<u64>]) -> (Vec<u8>, u64) {
    let blocks = geometry.group_blocks(group);
    let mut bitmap = vec![0xFF; index(BLOCK)];
    let mut count = 0;
    let first = free.partition_point(|range| range.end <= blocks.start);
    for range in free[first..].iter().take_while(|range| range.start < blocks.end) {
        let start = range.start.max(blocks.start) - blocks.start;
        let end = range.end.min(blocks.end) - blocks.start;
        count += end - start;
        fill(&mut bitmap, start..end, false);
    }
    (bitmap, count)
}

/// A bitmap of `bits` bits with a run of ones; whatever lies beyond counts as used.
fn bitmap_with(ones: Range<u32>, bits: u32) -> Vec<u8> {
    let mut bitmap = vec![0; index(BLOCK)];
    fill(&mut bitmap, ones.start.into()..ones.end.into(), true);
    fill(&mut bitmap, bits.into()..BLOCK * 8, true);
    bitmap
}

/// Sets or clears a run of bits, the lowest of a byte first.
fn fill(bitmap: &mut [u8], bits: Range<u64>, value: bool) {
    let mut at = bits.start;
    while at < bits.end {
        let byte = &mut bitmap[index(at / 8)];
        if at.is_multiple_of(8) && at + 8 <= bits.end {
            *byte = if value { 0xFF } else { 0 };
            at += 8;
            continue;
        }
        let mask = 1 << (at % 8);
        *byte = if value { *byte | mask } else { *byte & !mask };
        at += 1;
    }
}

/// The sum of the lengths of ranges.
pub fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}
