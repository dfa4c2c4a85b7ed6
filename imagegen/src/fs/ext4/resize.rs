//! Room for a file system to grow in: blocks kept for the descriptors of more groups, which an inode of its own holds
//! (`resize_inode`), as `mke2fs` (e2fsprogs 1.47) lays them out and Linux looks for them (`fs/ext4/resize.c`).
//!
//! They follow the descriptors of every group that has some. The inode has a map of blocks instead of extents, and only its
//! double-indirect block: the entry of descriptor block `n` is the kept block `n` of group 0, which in turn lists the
//! kept blocks `n` of the backups. So what looks like a file of 4 GiB holds each of them once.

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;

use super::BLOCK;
use super::disk::{BLOCK_AREA, DESCRIPTOR_SIZE, InodeFlags};
use super::geometry::{Geometry, needs_64bit};
use super::inode::Inode;
use crate::error_kind::InternalError;
use crate::fs::file_tree::S_IFREG;
use crate::units::{fit, index, length};

const MODE: u16 = S_IFREG | 0o600;
/// The growth that blocks are kept for.
const TIMES: u64 = 1024;
/// Block numbers in an indirect block, and so the most blocks that can be kept.
const POINTERS: u64 = BLOCK / 4;
/// What an inode maps itself.
const DIRECT: u64 = 12;
/// Where in the block area the double-indirect block is named.
const DOUBLE_INDIRECT: usize = 13;
/// In groups that are short for the sake of many inodes, so much of a group at most.
const SHARE_OF_GROUP: u64 = 4;

/// The blocks that mke2fs keeps for a file system of so many: for growing to 1024 times the size, as far as 32-bit block
/// numbers go. None where they do not suffice even now.
pub fn reserved_for(blocks: u64, blocks_per_group: u32) -> Result<u32, InternalError> {
    let groups = |blocks: u64| blocks.div_ceil(blocks_per_group.into());
    if needs_64bit(groups(blocks), blocks_per_group) {
        return Ok(0);
    }
    let largest = blocks.saturating_mul(TIMES).min(u64::from(u32::MAX));
    let table = |blocks| (groups(blocks) * u64::from(DESCRIPTOR_SIZE)).div_ceil(BLOCK);
    let kept = table(largest) - table(blocks);
    fit(kept.min(POINTERS).min(u64::from(blocks_per_group) / SHARE_OF_GROUP))
}

/// The inode that holds them; `double_indirect` is its own block.
pub fn inode(geometry: &Geometry, double_indirect: u64) -> Result<Inode, InternalError> {
    let mut area = [U32::ZERO; BLOCK_AREA / size_of::<U32>()];
    area[DOUBLE_INDIRECT] = block_number(double_indirect)?;
    let groups = length(geometry.superblock_groups().count());
    Ok(Inode {
        mode: MODE,
        size: (DIRECT + POINTERS + POINTERS * POINTERS) * BLOCK,
        links: 1,
        blocks: 1 + u64::from(geometry.reserved_descriptor_blocks) * groups,
        flags: InodeFlags::empty(),
        area: zerocopy::transmute!(area),
    })
}

/// The double-indirect block.
pub fn double_indirect(geometry: &Geometry) -> Result<Vec<u8>, InternalError> {
    let mut pointers = [U32::ZERO; index(POINTERS)];
    let first = geometry.descriptor_blocks();
    for number in first..first + u64::from(geometry.reserved_descriptor_blocks) {
        pointers[index(number % POINTERS)] = block_number(1 + number)?;
    }
    Ok(pointers.as_bytes().to_vec())
}

/// The kept blocks of group 0, one after the other: each lists its like in the backups.
pub fn indirect(geometry: &Geometry) -> Result<Vec<u8>, InternalError> {
    let first = 1 + geometry.descriptor_blocks();
    let mut bytes = Vec::with_capacity(index(u64::from(geometry.reserved_descriptor_blocks) * BLOCK));
    for number in first..first + u64::from(geometry.reserved_descriptor_blocks) {
        let mut pointers = [U32::ZERO; index(POINTERS)];
        for (pointer, group) in pointers.iter_mut().zip(geometry.superblock_groups().skip(1)) {
            *pointer = block_number(geometry.group_start(group) + number)?;
        }
        bytes.extend_from_slice(pointers.as_bytes());
    }
    Ok(bytes)
}

/// Blocks are kept only where all numbers have 32 bits.
fn block_number(block: u64) -> Result<U32, InternalError> {
    Ok(fit::<u32, _>(block)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Reserved GDT blocks` of mke2fs 1.47.0 with `-b 4096 -O ^64bit`.
    #[test]
    fn as_many_blocks_are_kept_as_mke2fs_keeps() {
        let gib = |n: u64| n << 18;
        for (blocks, expected) in [
            (25_600, 6),
            (153_600, 37),
            (gib(3), 191),
            (gib(100), 1017),
            (gib(10_000), 399),
            (gib(16_300), 5),
        ] {
            assert_eq!(reserved_for(blocks, 32768).unwrap(), expected, "{blocks} blocks");
        }
        assert_eq!(reserved_for((1 << 32) - 1, 32768).unwrap(), 0);
        assert_eq!(reserved_for(1 << 32, 32768).unwrap(), 0);
    }
}
