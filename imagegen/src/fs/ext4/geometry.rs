//! Block groups, and where their tables lie.
//!
//! All bitmaps and inode tables stand together at the front (`flex_bg` with one flexible group for the whole file
//! system), so that nothing but backup superblocks lies between the files.

use std::ops::Range;

use super::disk::{DESCRIPTOR_SIZE, DESCRIPTOR_SIZE_64BIT};
use super::inode::INODES_PER_BLOCK;
use super::{BLOCK, Ext4Error};
use crate::units::index;

/// What one bitmap block can tell of: the largest number of blocks, or inodes, of a group.
pub const BITS_PER_BLOCK: u32 = 32768;
/// The shape of a file system.
#[derive(Debug, Clone)]
pub struct Geometry {
    /// The number of blocks.
    pub blocks: u64,
    /// Blocks in every group but the last, which may be shorter.
    pub blocks_per_group: u32,
    /// The number of groups.
    pub groups: u32,
    /// Inodes in every group.
    pub inodes_per_group: u32,
    /// Blocks kept behind the descriptors, wherever these are, for those of more groups.
    pub reserved_descriptor_blocks: u32,
    /// The place of each group's tables.
    pub tables: Vec<GroupTables>,
    /// The blocks left for directories and files, ascending; the last range has no end of its own.
    pub usable: Vec<Range<u64>>,
}

/// Where the tables of one group are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupTables {
    /// The block bitmap's block.
    pub block_bitmap: u64,
    /// The inode bitmap's block.
    pub inode_bitmap: u64,
    /// The first block of the inode table.
    pub inode_table: u64,
}

impl Geometry {
    /// Places the tables of a file system with this many groups; the number of blocks is set later, when what goes
    /// into them is known too.
    pub fn new(
        blocks_per_group: u32,
        groups: u32,
        inodes: u32,
        reserved_descriptor_blocks: u32,
    ) -> Result<Self, Ext4Error> {
        let inodes_per_group = inodes.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK);
        if inodes_per_group > BITS_PER_BLOCK || inodes_per_group.checked_mul(groups).is_none() {
            return Err(Ext4Error::TooManyFiles);
        }
        let mut geometry = Self {
            blocks: 0,
            blocks_per_group,
            groups,
            inodes_per_group,
            reserved_descriptor_blocks,
            tables: Vec::new(),
            usable: Vec::new(),
        };
        geometry.place_tables();
        Ok(geometry)
    }

    /// Blocks per group for so many blocks and inodes in all: the full number, unless the files are so small that
    /// there would be too few groups for their inodes.
    pub fn blocks_per_group_for(blocks: u64, inodes: u32) -> u32 {
        let groups = u64::from(inodes.div_ceil(BITS_PER_BLOCK)).max(1);
        let average = u32::try_from(blocks / groups / 8 * 8).unwrap_or(u32::MAX);
        // An inode table alone gives every such group a good number of blocks.
        average.clamp(BITS_PER_BLOCK / 32, BITS_PER_BLOCK)
    }

    fn place_tables(&mut self) {
        // What lies between the superblocks and their backups.
        let areas: Vec<_> = self.superblock_groups().map(|group| self.superblock_area(group)).collect();
        let ends = areas.iter().skip(1).map(|area| area.start).chain([u64::MAX]);
        let mut usable: Vec<_> = areas.iter().zip(ends).map(|(area, end)| area.end..end).collect();
        // Each table is in one run; what was too short for one is left for files.
        let mut from = 0;
        let mut take = |count| {
            while usable[from].end - usable[from].start < count {
                from += 1;
            }
            usable[from].start += count;
            usable[from].start - count
        };
        let table_blocks = self.inode_table_blocks();
        self.tables = vec![GroupTables::default(); index(self.groups.into())];
        self.tables.iter_mut().for_each(|group| group.block_bitmap = take(1));
        self.tables.iter_mut().for_each(|group| group.inode_bitmap = take(1));
        self.tables.iter_mut().for_each(|group| group.inode_table = take(table_blocks));
        usable.retain(|range| !range.is_empty());
        self.usable = usable;
    }

    /// Whether block numbers need more than 32 bits when the last group is full: the tables are placed, and their length
    /// follows from this, before it is known where the last group ends.
    pub fn is_64bit(&self) -> bool {
        needs_64bit(self.groups.into(), self.blocks_per_group)
    }

    /// The length of a group descriptor in bytes.
    pub fn descriptor_size(&self) -> u16 {
        if self.is_64bit() { DESCRIPTOR_SIZE_64BIT } else { DESCRIPTOR_SIZE }
    }

    /// The number of inodes, used or not.
    pub fn inodes(&self) -> u32 {
        self.inodes_per_group.saturating_mul(self.groups)
    }

    /// Blocks of one group's inode table.
    pub fn inode_table_blocks(&self) -> u64 {
        u64::from(self.inodes_per_group / INODES_PER_BLOCK)
    }

    /// Blocks of the table of group descriptors.
    pub fn descriptor_blocks(&self) -> u64 {
        (u64::from(self.groups) * u64::from(self.descriptor_size())).div_ceil(BLOCK)
    }

    /// The first blocks of a group that has a superblock: that, the descriptors, and what is kept for more of them.
    pub fn superblock_area(&self, group: u32) -> Range<u64> {
        let start = self.group_start(group);
        start..start + 1 + self.descriptor_blocks() + u64::from(self.reserved_descriptor_blocks)
    }

    /// The first block of a group.
    pub fn group_start(&self, group: u32) -> u64 {
        u64::from(group) * u64::from(self.blocks_per_group)
    }

    /// The blocks of a group; the last one ends with the file system.
    pub fn group_blocks(&self, group: u32) -> Range<u64> {
        let start = self.group_start(group);
        start..(start + u64::from(self.blocks_per_group)).min(self.blocks)
    }

    /// The first block behind all tables.
    pub fn tables_end(&self) -> u64 {
        let ends = self.tables.iter().map(|tables| tables.inode_table + self.inode_table_blocks());
        ends.max().unwrap_or(0)
    }

    /// The last group must have at least one block and, if it has a backup, all of the backup.
    pub fn smallest_end(&self) -> u64 {
        let last = self.groups - 1;
        if has_backup(last.into()) { self.superblock_area(last).end } else { self.group_start(last) + 1 }
    }

    /// The groups with a superblock and descriptors, the first one included.
    pub fn superblock_groups(&self) -> impl Iterator<Item = u32> + use<> {
        (0..self.groups).filter(|&group| has_backup(group.into()))
    }

    /// One flexible group for the whole file system, and mke2fs's usual 16 groups at least.
    pub fn log_groups_per_flex(&self) -> u8 {
        let flex = self.groups.next_power_of_two();
        (4..31).find(|bits| flex >> bits <= 1).unwrap_or(31)
    }
}

/// Whether block numbers need more than 32 bits once all groups are full.
pub fn needs_64bit(groups: u64, blocks_per_group: u32) -> bool {
    groups.saturating_mul(blocks_per_group.into()) > u64::from(u32::MAX)
}

/// Whether a group begins with a superblock and descriptors under `sparse_super`: 0, 1 and the powers of 3, 5 and 7.
pub fn has_backup(group: u64) -> bool {
    let is_power_of = |base: u64| {
        let mut rest = group;
        while rest > 1 && rest.is_multiple_of(base) {
            rest /= base;
        }
        rest == 1
    };
    group == 0 || [3, 5, 7].into_iter().any(is_power_of)
}

/// Hands out usable blocks, which need not be in one run.
#[derive(Debug)]
pub struct Allocator<'g> {
    usable: &'g [Range<u64>],
    /// The next block to hand out.
    at: u64,
}

impl<'g> Allocator<'g> {
    pub fn new(geometry: &'g Geometry) -> Self {
        let at = geometry.usable.first().map_or(0, |range| range.start);
        Self { usable: &geometry.usable, at }
    }

    /// The first of `count` blocks; [`runs`] tells the others.
    pub fn take(&mut self, count: u64) -> u64 {
        let first = self.at;
        self.at = after(self.usable, first, count);
        first
    }

    /// The first block that has not been handed out.
    pub fn end(&self) -> u64 {
        self.at
    }
}

/// The first usable block behind `count` usable blocks from `first` on.
pub fn after(usable: &[Range<u64>], first: u64, count: u64) -> u64 {
    let last = runs(usable, first, count).last().map_or(first, |run| run.end);
    // At the end of a range, the next one begins.
    match usable.iter().find(|range| last < range.end) {
        Some(range) => last.max(range.start),
        None => last,
    }
}

/// The runs of `count` usable blocks from `first` on.
pub fn runs(usable: &[Range<u64>], first: u64, count: u64) -> impl Iterator<Item = Range<u64>> + '_ {
    let mut from = usable.partition_point(|range| range.end <= first);
    let (mut at, mut left) = (first, count);
    std::iter::from_fn(move || {
        let range = usable.get(from).filter(|_| left > 0)?;
        let start = at.max(range.start);
        let end = range.end.min(start.saturating_add(left));
        from += 1;
        at = end;
        left -= end - start;
        Some(start..end)
    })
}

/// How many groups so many blocks make.
pub fn groups_for(blocks: u64, blocks_per_group: u32) -> Result<u32, Ext4Error> {
    u32::try_from(blocks.div_ceil(blocks_per_group.into()).max(1)).map_err(|_| Ext4Error::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_where_sparse_super_has_them() {
        let groups: Vec<u64> = (0..130).filter(|&group| has_backup(group)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn nothing_overlaps() {
        for (blocks_per_group, groups, inodes, reserved) in [
            (32768, 1, 16, 0),
            (32768, 1, 16, 37),
            (32768, 30, 700_000, 1024),
            (1024, 40, 1_000_000, 0),
            (1024, 40, 1_000_000, 256),
            (2048, 9, 200_000, 512),
            (32768, 9, 294_912, 0),
            // 16 TiB.
            (32768, 131_072, 2_100_000, 0),
        ] {
            let mut geometry = Geometry::new(blocks_per_group, groups, inodes, reserved).unwrap();
            // Where the last group ends changes no table.
            for missing in [0, 1] {
                geometry.blocks = geometry.group_start(groups) - missing;
                every_block_is_in_one_range(&geometry);
            }
        }
    }

    fn every_block_is_in_one_range(geometry: &Geometry) {
        let mut ranges: Vec<Range<u64>> = geometry.usable.clone();
        for group in geometry.superblock_groups() {
            ranges.push(geometry.superblock_area(group));
        }
        for tables in &geometry.tables {
            ranges.push(tables.block_bitmap..tables.block_bitmap + 1);
            ranges.push(tables.inode_bitmap..tables.inode_bitmap + 1);
            ranges.push(tables.inode_table..tables.inode_table + geometry.inode_table_blocks());
        }
        ranges.sort_by_key(|range| range.start);
        let mut end = 0;
        for range in ranges {
            assert_eq!(range.start, end);
            end = range.end;
        }
        assert_eq!(end, u64::MAX);
    }

    #[test]
    fn runs_step_over_what_is_not_usable() {
        let usable = [3..5, 10..12, 20..u64::MAX];
        let collect =
            |first, count| runs(&usable, first, count).map(|run| (run.start, run.end)).collect::<Vec<_>>();
        assert_eq!(collect(4, 4), [(4, 5), (10, 12), (20, 21)]);
        assert_eq!(collect(20, 2), [(20, 22)]);
        assert_eq!(collect(10, 0), []);
        assert_eq!(after(&usable, 4, 1), 10);
        assert_eq!(after(&usable, 3, 1), 4);
        assert_eq!(after(&usable, 4, 4), 21);
    }
}
