//! From a tree to the number and place of every block.

use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::directory::{Directory, Entry, TYPE_DIRECTORY, TYPE_FILE, TYPE_SYMLINK};
use super::geometry::{Allocator, Geometry, after, groups_for, runs};
use super::group::used_inodes;
use super::inode::{BLOCK_AREA, FIRST_INODE, INODES_PER_BLOCK, ROOT_INODE};
use super::journal::{self, Journal};
use super::{BLOCK, Ext4Error, NAMES_MAX, Options, Size, extent};
use crate::tree::{Kind, NodeId, Tree};
use crate::units::index;

/// lost+found's number: the first that is not reserved.
pub const LOST_FOUND_INODE: u32 = FIRST_INODE;
/// The name of the directory for what e2fsck finds.
pub const LOST_FOUND: &[u8] = b"lost+found";
/// How much free space gets an inode, as mke2fs has it.
const BYTES_PER_INODE: u64 = 16384;
const NAME_MAX: usize = 255;
const TARGET_MAX: usize = 4095;
/// Logical block numbers have 32 bits.
const FILE_BLOCKS_MAX: u64 = 0xFFFF_FFFF;

/// Where everything is.
#[derive(Debug)]
pub struct Layout {
    pub geometry: Geometry,
    /// Every directory of the tree, in its order.
    pub directories: Vec<PlannedDirectory>,
    /// lost+found's block.
    pub lost_found: u64,
    pub journal: Option<Journal>,
    /// The first block of each node's contents; 0 where there are none.
    places: Vec<u64>,
    /// The highest inode number in use.
    last_inode: u32,
    /// The first block that nothing was put into. Usable blocks before it are in use.
    end: u64,
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
    pub fn new(tree: &Tree, options: &Options) -> Result<Self, Ext4Error> {
        check_tree(tree)?;
        let directories = plan_directories(tree, options)?;
        let planner = Planner { tree, directories, journal: options.journal };
        match options.size {
            Size::Auto { additional } => planner.with_room_for(additional.0 / BLOCK),
            Size::Fixed(size) => planner.of_size(size.0),
        }
    }

    /// The number of a node's inode: nodes follow lost+found, and all names of a file have that of the first.
    pub fn inode(tree: &Tree, node: NodeId) -> u32 {
        let node = tree.first_name(node);
        if node.0 == 0 { ROOT_INODE } else { LOST_FOUND_INODE + node.0 - tree.further_names_before(node) }
    }

    /// The highest number in use.
    pub fn last_inode(tree: &Tree) -> u32 {
        let nodes = u32::try_from(tree.len()).unwrap_or(u32::MAX);
        LOST_FOUND_INODE + nodes.saturating_sub(1) - tree.further_names_before(NodeId(nodes))
    }

    /// The bytes of a file's contents; 0 for anything else, further names of a file included.
    #[expect(clippy::unused_self, reason = "asked of the layout like everything else")]
    pub fn file_size(&self, tree: &Tree, node: NodeId) -> u64 {
        match tree.kind(node) {
            Kind::File { size, .. } if tree.first_name(node) == node => size,
            _ => 0,
        }
    }

    /// The runs of blocks of a regular file.
    pub fn content_runs(&self, tree: &Tree, node: NodeId) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs(node, self.file_size(tree, node).div_ceil(BLOCK))
    }

    /// The runs of `count` blocks that a node's contents have.
    pub fn runs(&self, node: NodeId, count: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs_at(self.place(node), count)
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
            let start = geometry.group_start(group);
            all.push(start..start + 1 + geometry.descriptor_blocks());
        }
        for (tables, group) in geometry.tables.iter().zip(0..) {
            all.push(tables.block_bitmap..tables.block_bitmap + 1);
            all.push(tables.inode_bitmap..tables.inode_bitmap + 1);
            let used = used_inodes(geometry, group, self.last_inode).div_ceil(INODES_PER_BLOCK);
            all.push(tables.inode_table..tables.inode_table + u64::from(used));
        }
        merged(all)
    }
}

/// What does not change while the size is looked for.
struct Planner<'t> {
    tree: &'t Tree,
    directories: Vec<PlannedDirectory>,
    /// Whether there is to be a journal.
    journal: bool,
}

impl Planner<'_> {
    /// The smallest file system with so many free blocks.
    fn with_room_for(self, extra: u64) -> Result<Layout, Ext4Error> {
        let inodes = self.inodes(extra * BLOCK / BYTES_PER_INODE)?;
        // A first guess: every block of contents and tables, each rounded up.
        let contents: u64 = self.tree.nodes().map(|node| self.blocks_of(node)).sum();
        let guess = contents.saturating_add(extra).saturating_add(u64::from(inodes / INODES_PER_BLOCK));
        let mut journal = self.journal_for(guess);
        let guess = guess.saturating_add(journal);
        let blocks_per_group = Geometry::blocks_per_group_for(guess, inodes);
        let mut groups = groups_for(guess, blocks_per_group)?;
        // More groups need more tables, which may need one more group; both may need a larger journal.
        loop {
            let (geometry, places, end) = self.place_all(blocks_per_group, groups, inodes, journal)?;
            // Backup superblocks do not count as free space.
            let room_end = runs(&geometry.usable, end, extra).last().map_or(end, |run| run.end);
            let blocks = geometry.tables_end().max(room_end);
            let needed = groups_for(blocks, blocks_per_group)?;
            let larger_journal = self.journal_for(blocks);
            if needed <= groups && larger_journal <= journal {
                return Ok(self.into_layout(geometry, places, end, blocks));
            }
            (groups, journal) = (groups.max(needed), journal.max(larger_journal));
        }
    }

    /// A file system of so many bytes.
    fn of_size(self, asked: u64) -> Result<Layout, Ext4Error> {
        let blocks = asked / BLOCK;
        let Self { tree, directories, journal } = self;
        let smallest = Planner { tree, directories: directories.clone(), journal }.with_room_for(0)?;
        let needed = smallest.geometry.blocks;
        let too_small = || Ext4Error::TooSmall {
            asked,
            needed: needed * BLOCK,
            missing: (needed * BLOCK).saturating_sub(asked),
        };
        let extra = blocks.checked_sub(needed).ok_or_else(too_small)?;
        let planner = Planner { tree, directories, journal };
        // Tables and a larger journal for the free space come out of it; where that is too little for them, they
        // are left out.
        let (journal, smallest_journal) = (planner.journal_for(blocks), planner.journal_for(needed));
        for (spare, journal) in
            [(extra * BLOCK / BYTES_PER_INODE, journal), (0, journal), (0, smallest_journal)]
        {
            let inodes = planner.inodes(spare)?;
            let blocks_per_group = Geometry::blocks_per_group_for(blocks, inodes);
            let groups = groups_for(blocks, blocks_per_group)?;
            let (geometry, places, end) = planner.place_all(blocks_per_group, groups, inodes, journal)?;
            if geometry.tables_end().max(end) <= blocks {
                return Ok(planner.into_layout(geometry, places, end, blocks));
            }
        }
        // The size ends inside the tables of one more group; the blocks beyond the smallest size are left unused.
        Ok(smallest)
    }

    fn into_layout(self, mut geometry: Geometry, places: Places, end: u64, blocks: u64) -> Layout {
        geometry.blocks = blocks.max(geometry.smallest_end());
        Layout {
            geometry,
            directories: self.directories,
            lost_found: places.lost_found,
            journal: places.journal,
            places: places.nodes,
            last_inode: Layout::last_inode(self.tree),
            end,
        }
    }

    /// The blocks of the journal for a file system of so many.
    fn journal_for(&self, blocks: u64) -> u64 {
        if self.journal { journal::blocks_for(blocks) } else { 0 }
    }

    fn inodes(&self, spare: u64) -> Result<u32, Ext4Error> {
        let spare = u32::try_from(spare).map_err(|_| Ext4Error::TooManyFiles)?;
        Layout::last_inode(self.tree).checked_add(spare).ok_or(Ext4Error::TooManyFiles)
    }

    /// Gives everything its place in a file system with so many groups, and says where the free blocks begin.
    fn place_all(
        &self,
        blocks_per_group: u32,
        groups: u32,
        inodes: u32,
        journal: u64,
    ) -> Result<(Geometry, Places, u64), Ext4Error> {
        let geometry = Geometry::new(blocks_per_group, groups, inodes)?;
        let mut allocator = Allocator::new(&geometry);
        let lost_found = allocator.take(1);
        let mut nodes = vec![0; self.tree.len()];
        let mut take = |blocks: u64| -> Result<u64, Ext4Error> {
            let first = allocator.take(blocks);
            let extents = extent::pieces(runs(&geometry.usable, first, blocks)).count();
            allocator.take(extent::tree_blocks(extents)?);
            Ok(first)
        };
        let journal = match journal {
            0 => None,
            blocks => Some(Journal { start: take(blocks)?, blocks }),
        };
        let mut place = |node: NodeId, blocks: u64| -> Result<(), Ext4Error> {
            if blocks > 0 {
                nodes[index(node.0.into())] = take(blocks)?;
            }
            Ok(())
        };
        for directory in &self.directories {
            place(directory.node, directory.blocks.into())?;
        }
        for symlinks in [true, false] {
            for node in self.tree.nodes() {
                match self.tree.kind(node) {
                    Kind::Symlink { .. } if symlinks => place(node, self.blocks_of(node))?,
                    Kind::File { .. } if !symlinks => place(node, self.blocks_of(node))?,
                    _ => {}
                }
            }
        }
        let end = allocator.end();
        Ok((geometry, Places { lost_found, journal, nodes }, end))
    }

    /// The blocks of a node's contents; directories are counted by their plan.
    fn blocks_of(&self, node: NodeId) -> u64 {
        match self.tree.kind(node) {
            Kind::Directory => 1,
            Kind::File { .. } if self.tree.first_name(node) != node => 0,
            Kind::File { size, .. } => size.div_ceil(BLOCK),
            Kind::Symlink { target } => u64::from(target.len() >= BLOCK_AREA),
        }
    }
}

struct Places {
    lost_found: u64,
    journal: Option<Journal>,
    nodes: Vec<u64>,
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

fn plan_directories(tree: &Tree, options: &Options) -> Result<Vec<PlannedDirectory>, Ext4Error> {
    let mut directories: Vec<PlannedDirectory> = Vec::new();
    // The open directories: where each ends, and its place in the list.
    let mut open: Vec<(u32, usize)> = Vec::new();
    for node in tree.nodes().filter(|&node| tree.kind(node) == Kind::Directory) {
        while open.last().is_some_and(|&(end, _)| end <= node.0) {
            open.pop();
        }
        let parent = match open.last() {
            Some(&(_, parent)) => {
                directories[parent].subdirectories += 1;
                Layout::inode(tree, directories[parent].node)
            }
            None => ROOT_INODE,
        };
        open.push((tree.subtree(node).end, directories.len()));
        // lost+found is the root's own.
        let subdirectories = u32::from(node.0 == 0);
        directories.push(PlannedDirectory { node, parent, subdirectories, blocks: 0 });
    }
    for directory in &mut directories {
        directory.blocks = directory_of(tree, directory).block_count(options.hash_seed)?;
    }
    Ok(directories)
}

fn check_tree(tree: &Tree) -> Result<(), Ext4Error> {
    let root = NodeId(0);
    if tree.is_empty() || tree.kind(root) != Kind::Directory {
        return Err(Ext4Error::Root);
    }
    if tree.children(root).any(|child| tree.name(child) == LOST_FOUND) {
        return Err(Ext4Error::LostAndFound);
    }
    if tree.name_count_max() > NAMES_MAX {
        return Err(Ext4Error::TooManyNames(tree.name_count_max()));
    }
    for node in tree.nodes().skip(1) {
        let name = tree.name(node);
        if name.is_empty() || name.len() > NAME_MAX || name.contains(&b'/') || name.contains(&0) {
            return Err(Ext4Error::Name { path: path_of(tree, node), length: name.len() });
        }
        match tree.kind(node) {
            Kind::Symlink { target } if target.is_empty() || target.len() > TARGET_MAX => {
                return Err(Ext4Error::Target { path: path_of(tree, node), length: target.len() });
            }
            Kind::File { size, .. } if size.div_ceil(BLOCK) > FILE_BLOCKS_MAX => {
                return Err(Ext4Error::FileTooLarge { path: path_of(tree, node), size });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The path of a node below the root, for messages.
fn path_of(tree: &Tree, node: NodeId) -> String {
    let mut path = PathBuf::new();
    let mut at = NodeId(0);
    while let Some(child) = tree.children(at).find(|&child| tree.subtree(child).contains(&node.0)) {
        path.push(std::ffi::OsStr::from_bytes(tree.name(child)));
        at = child;
    }
    path.display().to_string()
}

/// The parts of ascending ranges that lie within bounds.
fn clipped(ranges: &[Range<u64>], bounds: &Range<u64>) -> Vec<Range<u64>> {
    let parts = ranges.iter().map(|range| range.start.max(bounds.start)..range.end.min(bounds.end));
    parts.filter(|part| part.start < part.end).collect()
}

/// Ranges in order, neighbours joined.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}
