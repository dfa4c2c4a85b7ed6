//! Group descriptors and bitmaps (the kernel's documentation of ext4, "Block Group Descriptors", "Block and inode
//! Bitmaps").

use std::ops::Range;

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::BLOCK;
use super::checksum::Checksum;
use super::geometry::{Geometry, group_index};
use super::superblock::halves;
use crate::units::index;

/// The inode table has been zeroed, so that no kernel thread needs to do it after the first mount.
const FLAG_INODE_ZEROED: u16 = 0x4;

#[derive(IntoBytes, FromZeros, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GroupDescriptor {
    bg_block_bitmap_lo: U32,
    bg_inode_bitmap_lo: U32,
    bg_inode_table_lo: U32,
    bg_free_blocks_count_lo: U16,
    bg_free_inodes_count_lo: U16,
    bg_used_dirs_count_lo: U16,
    bg_flags: U16,
    bg_exclude_bitmap_lo: U32,
    bg_block_bitmap_csum_lo: U16,
    bg_inode_bitmap_csum_lo: U16,
    bg_itable_unused_lo: U16,
    bg_checksum: U16,
    // The rest exists with the `64bit` feature only.
    bg_block_bitmap_hi: U32,
    bg_inode_bitmap_hi: U32,
    bg_inode_table_hi: U32,
    bg_free_blocks_count_hi: U16,
    bg_free_inodes_count_hi: U16,
    bg_used_dirs_count_hi: U16,
    bg_itable_unused_hi: U16,
    bg_exclude_bitmap_hi: U32,
    bg_block_bitmap_csum_hi: U16,
    bg_inode_bitmap_csum_hi: U16,
    bg_reserved: U32,
}

const _: () = assert!(size_of::<GroupDescriptor>() == 64);

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
pub fn group(geometry: &Geometry, group: u32, usage: &Usage<'_>, seed: Checksum) -> Group {
    let (block_bitmap, free_blocks) = block_bitmap(geometry, group, usage.free);
    let used_inodes = used_inodes(geometry, group, usage.last_inode);
    let inode_bitmap = bitmap_with(0..used_inodes, geometry.inodes_per_group);
    let free_inodes = geometry.inodes_per_group - used_inodes;

    let tables = geometry.tables[group_index(group)];
    let mut raw = GroupDescriptor::new_zeroed();
    set_wide(&mut raw.bg_block_bitmap_lo, &mut raw.bg_block_bitmap_hi, tables.block_bitmap);
    set_wide(&mut raw.bg_inode_bitmap_lo, &mut raw.bg_inode_bitmap_hi, tables.inode_bitmap);
    set_wide(&mut raw.bg_inode_table_lo, &mut raw.bg_inode_table_hi, tables.inode_table);
    // A group has at most 32,768 of each.
    let count = |n: u32| u16::try_from(n).unwrap_or(u16::MAX).into();
    raw.bg_free_blocks_count_lo = count(free_blocks);
    raw.bg_free_inodes_count_lo = count(free_inodes);
    raw.bg_used_dirs_count_lo = count(usage.directories);
    raw.bg_itable_unused_lo = count(free_inodes);
    raw.bg_flags = FLAG_INODE_ZEROED.into();
    let covered = |bits: u32| index(u64::from(bits) / 8);
    let (low, high) = seed.and(&block_bitmap[..covered(geometry.blocks_per_group)]).halves();
    (raw.bg_block_bitmap_csum_lo, raw.bg_block_bitmap_csum_hi) = (low.into(), high.into());
    let (low, high) = seed.and(&inode_bitmap[..covered(geometry.inodes_per_group)]).halves();
    (raw.bg_inode_bitmap_csum_lo, raw.bg_inode_bitmap_csum_hi) = (low.into(), high.into());
    let size = usize::from(geometry.descriptor_size());
    // The checksum field itself counts as zeros.
    raw.bg_checksum = seed.and(&group.to_le_bytes()).and(&raw.as_bytes()[..size]).halves().0.into();
    Group { descriptor: raw.as_bytes()[..size].to_vec(), block_bitmap, inode_bitmap }
}

/// How many of a group's inodes are in use; they are its first ones.
pub fn used_inodes(geometry: &Geometry, group: u32, last_inode: u32) -> u32 {
    last_inode.saturating_sub(geometry.inodes_per_group.saturating_mul(group)).min(geometry.inodes_per_group)
}

/// The bitmap and the number of free blocks. Whatever lies beyond the group counts as used.
fn block_bitmap(geometry: &Geometry, group: u32, free: &[Range<u64>]) -> (Vec<u8>, u32) {
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
    (bitmap, u32::try_from(count).unwrap_or(u32::MAX))
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

fn set_wide(low: &mut U32, high: &mut U32, n: u64) {
    let (l, h) = halves(n);
    (*low, *high) = (l.into(), h.into());
}

/// The sum of the lengths of ranges.
pub fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}
