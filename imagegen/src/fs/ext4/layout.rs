//! From a tree to the number and place of every block.

use std::ops::Range;

use super::directory::Directory;
use super::directory_block::Entry;
use super::disk::{FIRST_INODE, LOST_FOUND, ROOT_INODE, TYPE_DIRECTORY, TYPE_FILE, TYPE_SYMLINK};
use super::geometry::{Geometry, after, runs};
use super::group::used_inodes;
use super::inode::INODES_PER_BLOCK;
use super::journal::Journal;
use crate::fs::file_tree::{Kind, NodeId, Tree};
use crate::units::{index, joined};

/// lost+found's number: the first that is not reserved.
pub const LOST_FOUND_INODE: u32 = FIRST_INODE;
/// Where everything is.
#[derive(Debug)]
pub struct Layout {
    pub geometry: Geometry,
    /// Every directory of the tree, in its order.
    pub directories: Vec<PlannedDirectory>,
    /// lost+found's block.
    pub lost_found: u64,
    /// The block that leads to those kept for the descriptors of more groups.
    pub double_indirect: Option<u64>,
    pub journal: Option<Journal>,
    /// The first block of each node's contents; 0 where there are none.
    pub places: Vec<u64>,
    /// The highest inode number in use.
    pub last_inode: u32,
    /// The first block that nothing was put into. Usable blocks before it are in use.
    pub end: u64,
}

/// What a directory's inode says besides its place.
#[derive(Debug, Clone, Copy)]
pub struct PlannedDirectory {
    pub node: NodeId,
    /// The parent's inode number.
    pub parent: u32,
    /// How many of its entries are directories.
    pub subdirectories: u32,
    pub blocks: u32,
}

impl Layout {
    /// The number of a node's inode: nodes follow lost+found, and all names of a file have that of the first.
    pub fn inode(tree: &Tree, node: NodeId) -> u32 {
        let node = tree.first_name(node);
        if node.0 == 0 { ROOT_INODE } else { LOST_FOUND_INODE + node.0 - tree.further_names_before(node) }
    }

    /// The highest number in use.
    pub fn last_inode(tree: &Tree) -> u32 {
        let nodes = tree.count();
        LOST_FOUND_INODE + nodes.saturating_sub(1) - tree.further_names_before(NodeId(nodes))
    }

    /// The runs of `count` blocks of contents that begin with this one.
    pub fn runs_at(&self, first: u64, count: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        runs(&self.geometry.usable, first, count)
    }

    /// The blocks of the extent tree behind `count` blocks of contents that begin with this one.
    pub fn tree_places(&self, first: u64, count: u64, tree_blocks: u64) -> impl Iterator<Item = u64> + '_ {
        let usable = &self.geometry.usable;
        runs(usable, after(usable, first, count), tree_blocks).flatten()
    }

    /// The first block of a node's contents.
    pub fn place(&self, node: NodeId) -> u64 {
        self.places[index(node.0.into())]
    }

    /// What the plan knows of a directory.
    pub fn directory(&self, node: NodeId) -> Option<&PlannedDirectory> {
        let found = self.directories.binary_search_by_key(&node, |directory| directory.node).ok()?;
        self.directories.get(found)
    }

    /// Blocks that nothing is in, ascending.
    pub fn free_blocks(&self) -> Vec<Range<u64>> {
        let bounds = self.end..self.geometry.blocks;
        clipped(&self.geometry.usable, &bounds)
    }

    /// Blocks that something is written to, ascending and merged.
    pub fn allocated_blocks(&self) -> Vec<Range<u64>> {
        let geometry = &self.geometry;
        let mut all = clipped(&geometry.usable, &(0..self.end));
        if let Some(Journal { start, blocks }) = self.journal {
            // Nothing but the first block of a new journal is ever written.
            let log = after(&geometry.usable, start, 1)..after(&geometry.usable, start, blocks);
            all = [clipped(&all, &(0..log.start)), clipped(&all, &(log.end..u64::MAX))].concat();
        }
        for group in geometry.superblock_groups() {
            let Range { start, end } = geometry.superblock_area(group);
            // What backups keep for descriptors stays empty.
            all.push(if group == 0 { start..end } else { start..start + 1 + geometry.descriptor_blocks() });
        }
        for (tables, group) in geometry.tables.iter().zip(0..) {
            all.push(tables.block_bitmap..tables.block_bitmap + 1);
            all.push(tables.inode_bitmap..tables.inode_bitmap + 1);
            let used = used_inodes(geometry, group, self.last_inode).div_ceil(INODES_PER_BLOCK);
            all.push(tables.inode_table..tables.inode_table + u64::from(used));
        }
        joined(all)
    }
}

/// The bytes of a file's contents; 0 for anything else, further names of a file included.
pub fn file_size(tree: &Tree, node: NodeId) -> u64 {
    match tree.kind(node) {
        Kind::File { size, .. } if tree.first_name(node) == node => size,
        _ => 0,
    }
}

/// The entries of a directory, as they are written.
pub fn directory_of<'t>(tree: &'t Tree, directory: &PlannedDirectory) -> Directory<'t> {
    let mut entries = Vec::new();
    if directory.node.0 == 0 {
        entries.push(Entry { name: LOST_FOUND, inode: LOST_FOUND_INODE, file_type: TYPE_DIRECTORY });
    }
    entries.extend(tree.children(directory.node).map(|child| Entry {
        name: tree.name(child),
        inode: Layout::inode(tree, child),
        file_type: match tree.kind(child) {
            Kind::Directory => TYPE_DIRECTORY,
            Kind::File { .. } => TYPE_FILE,
            Kind::Symlink { .. } => TYPE_SYMLINK,
        },
    }));
    Directory { inode: Layout::inode(tree, directory.node), parent: directory.parent, entries }
}

/// The parts of ascending ranges that lie within bounds.
fn clipped(ranges: &[Range<u64>], bounds: &Range<u64>) -> Vec<Range<u64>> {
    let parts = ranges.iter().map(|range| range.start.max(bounds.start)..range.end.min(bounds.end));
    parts.filter(|part| part.start < part.end).collect()
}
