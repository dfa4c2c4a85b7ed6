//! Looking for the size of a file system: tables, journal and what is kept for growth depend on it, and it on them.

use super::disk::{BLOCK_AREA, LOST_FOUND, ROOT_INODE};
use super::extent;
use super::geometry::{Allocator, BITS_PER_BLOCK, Geometry, groups_for, runs};
use super::growth::{BYTES_PER_INODE, Growth};
use super::inode::INODES_PER_BLOCK;
use super::journal::{self, Journal};
use super::layout::{Layout, PlannedDirectory, directory_of, file_size};
use super::{BLOCK, Ext4Error, NAMES_MAX, Options, Size, resize};
use crate::error_kind::InternalError;
use crate::fs::file_tree::{Kind, NodeId, Tree};
use crate::units::index;

const TARGET_MAX: usize = 4095;
/// Logical block numbers have 32 bits.
const FILE_BLOCKS_MAX: u64 = 0xFFFF_FFFF;

/// Gives everything in a tree its place.
pub fn layout(tree: &Tree, options: &Options) -> Result<Layout, Ext4Error> {
    check_tree(tree)?;
    let directories = plan_directories(tree, options)?;
    Planner { tree, directories, journal: options.journal, growth: options.growth }.layout(options.size)
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
        match tree.kind(node) {
            Kind::Symlink { target } if target.is_empty() || target.len() > TARGET_MAX => {
                return Err(Ext4Error::Target { path: tree.path(node), length: target.len() });
            }
            Kind::File { size, .. } if size.div_ceil(BLOCK) > FILE_BLOCKS_MAX => {
                return Err(Ext4Error::FileTooLarge { path: tree.path(node), size });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What does not change while the size is looked for.
#[derive(Debug, Clone)]
struct Planner<'t> {
    tree: &'t Tree,
    directories: Vec<PlannedDirectory>,
    /// Whether there is to be a journal.
    journal: bool,
    /// Whether it is to grow.
    growth: Option<Growth>,
}

/// What free space gets besides the files: as much as it asks for, or the least that does.
#[derive(Debug, Clone, Copy)]
struct Extras {
    /// For how many bytes there is an inode.
    bytes_per_inode: u64,
    /// Inodes.
    inodes: u32,
    /// Blocks of the journal.
    journal: u64,
    /// Blocks kept for the descriptors of more groups.
    reserved: u32,
}

impl Planner<'_> {
    /// Looks for the layout of a file system of this size.
    fn layout(self, size: Size) -> Result<Layout, Ext4Error> {
        match size {
            Size::Auto { additional } => self.with_room_for(additional.0 / BLOCK),
            Size::Fixed(size) => self.of_size(size.0),
        }
    }

    /// The smallest file system with so many free blocks.
    fn with_room_for(self, extra: u64) -> Result<Layout, Ext4Error> {
        // A first guess: every block of contents, each rounded up, and of tables.
        let contents: u64 = self.tree.nodes().map(|node| self.blocks_of(node)).sum();
        let guess = contents.saturating_add(extra);
        let bytes_per_inode = self.bytes_per_inode(guess);
        let inodes = self.inodes(extra, bytes_per_inode)?;
        let guess = guess.saturating_add(u64::from(inodes / INODES_PER_BLOCK));
        let journal = self.journal_for(guess);
        let guess = guess.saturating_add(journal);
        let blocks_per_group = self.blocks_per_group_for(guess, inodes, bytes_per_inode);
        let mut extras = Extras {
            bytes_per_inode,
            inodes,
            journal,
            reserved: self.reserved_for(guess, blocks_per_group)?,
        };
        let mut groups = groups_for(guess, blocks_per_group)?;
        // More groups need more tables, which may need one more group; both may need a larger journal, and more blocks kept.
        loop {
            let layout = self.place_all(blocks_per_group, groups, extras)?;
            let (geometry, end) = (&layout.geometry, layout.end);
            // Backup superblocks do not count as free space.
            let room_end = runs(&geometry.usable, end, extra).last().map_or(end, |run| run.end);
            let blocks = geometry.tables_end().max(room_end);
            let needed = groups_for(blocks, blocks_per_group)?;
            let blocks = blocks.max(geometry.smallest_end());
            let (journal, reserved) =
                (self.journal_for(blocks), self.reserved_for(blocks, blocks_per_group)?);
            if needed <= groups && journal <= extras.journal && reserved <= extras.reserved {
                return Ok(self.finished(layout, blocks));
            }
            groups = groups.max(needed);
            extras.journal = extras.journal.max(journal);
            extras.reserved = extras.reserved.max(reserved);
        }
    }

    /// A file system of so many bytes.
    fn of_size(self, asked: u64) -> Result<Layout, Ext4Error> {
        let blocks = asked / BLOCK;
        let smallest = self.clone().with_room_for(0)?;
        let needed = smallest.geometry.blocks;
        let too_small = || Ext4Error::TooSmall {
            asked,
            needed: needed * BLOCK,
            missing: (needed * BLOCK).saturating_sub(asked),
        };
        let extra = blocks.checked_sub(needed).ok_or_else(too_small)?;
        // Tables, a larger journal and blocks kept for growth come out of the free space; where that is too little for
        // them, they are left out.
        let bytes_per_inode = self.bytes_per_inode(blocks);
        let inodes = self.inodes(extra, bytes_per_inode)?;
        let blocks_per_group = self.blocks_per_group_for(blocks, inodes, bytes_per_inode);
        let reserved = self.reserved_for(blocks, blocks_per_group)?;
        let most = Extras { bytes_per_inode, inodes, journal: self.journal_for(blocks), reserved };
        let fewer_inodes = Extras { inodes: self.inodes(0, bytes_per_inode)?, ..most };
        let least = Extras {
            journal: self.journal_for(needed),
            reserved: smallest.geometry.reserved_descriptor_blocks,
            ..fewer_inodes
        };
        for mut extras in [most, fewer_inodes, least] {
            let blocks_per_group = self.blocks_per_group_for(blocks, extras.inodes, bytes_per_inode);
            let groups = groups_for(blocks, blocks_per_group)?;
            let mut found = self.place_all(blocks_per_group, groups, extras)?;
            let mut blocks = blocks;
            if found.geometry.smallest_end() > blocks && groups > 1 {
                // The last group cannot hold even its own superblock: there is none, as with mke2fs.
                blocks = found.geometry.group_start(groups - 1);
                extras.reserved = extras.reserved.min(self.reserved_for(blocks, blocks_per_group)?);
                found = self.place_all(blocks_per_group, groups - 1, extras)?;
            }
            if found.geometry.tables_end().max(found.end) <= blocks {
                return Ok(self.finished(found, blocks));
            }
        }
        // The size ends inside the tables of one more group; the blocks beyond the smallest size are left unused.
        Ok(smallest)
    }

    /// The layout with its number of blocks.
    fn finished(self, mut layout: Layout, blocks: u64) -> Layout {
        layout.geometry.blocks = blocks.max(layout.geometry.smallest_end());
        Layout { directories: self.directories, ..layout }
    }

    /// The blocks of the journal for a file system of so many.
    fn journal_for(&self, blocks: u64) -> u64 {
        if self.journal { journal::blocks_for(blocks) } else { 0 }
    }

    /// The blocks kept for growth in a file system of so many.
    fn reserved_for(&self, blocks: u64, blocks_per_group: u32) -> Result<u32, InternalError> {
        self.growth.map_or(Ok(0), |_| resize::reserved_for(blocks, blocks_per_group))
    }

    /// For how many bytes there is to be an inode in a file system of so many blocks.
    fn bytes_per_inode(&self, blocks: u64) -> u64 {
        self.growth.map_or(BYTES_PER_INODE, |growth| growth.bytes_per_inode_for(blocks))
    }

    /// Blocks per group for so many blocks and inodes in all, where a full group has an inode for so many bytes.
    fn blocks_per_group_for(&self, blocks: u64, inodes: u32, bytes_per_inode: u64) -> u32 {
        let blocks_per_group = Geometry::blocks_per_group_for(blocks, inodes);
        if self.growth.is_none() {
            return blocks_per_group;
        }
        // Groups that are full one day are of the usual size, if those that there are have room for the inodes. A group has
        // no more of them than a bitmap has bits.
        let largest = u32::try_from(bytes_per_inode * 8).unwrap_or(u32::MAX).min(BITS_PER_BLOCK);
        let enough = blocks.div_ceil(largest.into()).saturating_mul(BITS_PER_BLOCK.into()) >= inodes.into();
        if enough { largest } else { blocks_per_group.min(largest) }
    }

    /// The inodes of so many groups that are full, or become so when the file system grows: their number is kept then.
    fn inodes_of_groups(&self, groups: u32, blocks_per_group: u32, extras: Extras) -> Result<u32, Ext4Error> {
        if self.growth.is_none() {
            return Ok(0);
        }
        let of_one = u64::from(blocks_per_group) * BLOCK / extras.bytes_per_inode;
        let of_all = u32::try_from(of_one * u64::from(groups));
        of_all.map_err(|_| Ext4Error::TooManyInodes(extras.bytes_per_inode))
    }

    /// Inodes for the files and so many free blocks.
    fn inodes(&self, extra: u64, bytes_per_inode: u64) -> Result<u32, Ext4Error> {
        let files = Layout::last_inode(self.tree);
        let spare = u32::try_from(extra.saturating_mul(BLOCK) / bytes_per_inode).ok();
        spare.and_then(|spare| files.checked_add(spare)).ok_or(match self.growth {
            Some(_) if extra > 0 => Ext4Error::TooManyInodes(bytes_per_inode),
            None if extra > 0 => Ext4Error::TooMuchSpace(bytes_per_inode),
            _ => Ext4Error::TooManyFiles,
        })
    }

    /// Gives everything its place in a file system with so many groups.
    fn place_all(&self, blocks_per_group: u32, groups: u32, extras: Extras) -> Result<Layout, Ext4Error> {
        let inodes = self.inodes_of_groups(groups, blocks_per_group, extras)?.max(extras.inodes);
        let geometry = Geometry::new(blocks_per_group, groups, inodes, extras.reserved)?;
        let mut allocator = Allocator::new(&geometry);
        let lost_found = allocator.take(1);
        let double_indirect = (extras.reserved > 0).then(|| allocator.take(1));
        let mut places = vec![0; self.tree.len()];
        let mut take = |blocks: u64| -> Result<u64, Ext4Error> {
            let first = allocator.take(blocks);
            let extents = extent::pieces(runs(&geometry.usable, first, blocks)).count();
            allocator.take(extent::tree_blocks(extents)?);
            Ok(first)
        };
        let journal = match extras.journal {
            0 => None,
            blocks => Some(Journal { start: take(blocks)?, blocks }),
        };
        let directories = self.directories.iter().map(|directory| (directory.node, directory.blocks.into()));
        let of_kind = |is_wanted: fn(Kind<'_>) -> bool| {
            let nodes = self.tree.nodes().filter(move |&node| is_wanted(self.tree.kind(node)));
            nodes.map(|node| (node, self.blocks_of(node)))
        };
        let links = of_kind(|kind| matches!(kind, Kind::Symlink { .. }));
        let files = of_kind(|kind| matches!(kind, Kind::File { .. }));
        for (node, blocks) in directories.chain(links).chain(files).filter(|&(_, blocks)| blocks > 0) {
            places[index(node.0.into())] = take(blocks)?;
        }
        let end = allocator.end();
        let (directories, last_inode) = (Vec::new(), Layout::last_inode(self.tree));
        Ok(Layout { geometry, directories, lost_found, double_indirect, journal, places, last_inode, end })
    }

    /// The blocks of a node's contents; directories are counted by their plan.
    fn blocks_of(&self, node: NodeId) -> u64 {
        match self.tree.kind(node) {
            Kind::Directory => 1,
            Kind::File { .. } => file_size(self.tree, node).div_ceil(BLOCK),
            Kind::Symlink { target } => u64::from(target.len() >= BLOCK_AREA),
        }
    }
}
