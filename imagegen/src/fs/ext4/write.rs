//! Everything but file contents, rendered as it is written: nothing of the size of the file system is kept.

use std::io;

use super::checksum::Checksum;
use super::disk::{BLOCK_AREA, InodeFlags, JOURNAL_INODE, RESIZE_INODE, ROOT_INODE};
use super::extent::{self, Piece};
use super::group::{Usage, group, total, used_inodes};
use super::inode::{INODES_PER_BLOCK, Inode};
use super::journal::{self, Journal};
use super::layout::{LOST_FOUND_INODE, Layout, directory_of};
use super::superblock::{Free, superblock};
use super::{BLOCK, Ext4Error, Options, directory, resize};
use crate::container::{RUN, Sink};
use crate::fs::file_tree::{Kind, NodeId, S_IFDIR, S_IFREG, Tree};
use crate::units::{GuestOffset, index, length};

const MODE_JOURNAL: u16 = S_IFREG | 0o600;
const MODE_LOST_FOUND: u16 = S_IFDIR | 0o700;

pub fn write_metadata(
    tree: &Tree,
    options: &Options,
    layout: &Layout,
    sink: &(impl Sink + ?Sized),
) -> io::Result<()> {
    let seed = Checksum::of_file_system(options.uuid);
    let mut out = Runs { sink, start: 0, bytes: Vec::with_capacity(RUN) };
    let writer = Writer { tree, options, layout, seed };
    writer.groups(&mut out)?;
    writer.inode_tables(&mut out)?;
    writer.directories(&mut out)?;
    writer.links_and_extents(&mut out)?;
    out.flush()
}

struct Writer<'a> {
    tree: &'a Tree,
    options: &'a Options,
    layout: &'a Layout,
    seed: Checksum,
}

impl Writer<'_> {
    /// Superblocks, descriptors and bitmaps.
    fn groups(&self, out: &mut Runs<'_, impl Sink + ?Sized>) -> io::Result<()> {
        let geometry = &self.layout.geometry;
        let last_inode = Layout::last_inode(self.tree);
        let free = self.layout.free_blocks();
        let directories = self.directories_by_group();
        let mut descriptors = Vec::with_capacity(index(geometry.descriptor_blocks() * BLOCK));
        let mut bitmaps = Vec::new();
        for (number, directories) in (0..geometry.groups).zip(directories) {
            let usage = Usage { free: &free, last_inode, directories };
            let rendered = group(geometry, number, &usage, self.seed)?;
            descriptors.extend(rendered.descriptor);
            bitmaps.push((rendered.block_bitmap, rendered.inode_bitmap));
        }
        descriptors.resize(index(geometry.descriptor_blocks() * BLOCK), 0);

        let journal = self.journal_backup()?;
        let counts = Free { blocks: total(&free), inodes: geometry.inodes() - last_inode };
        for number in geometry.superblock_groups() {
            let start = geometry.group_start(number);
            out.block(start, &superblock(geometry, self.options, counts, journal.as_ref(), number)?)?;
            out.block(start + 1, &descriptors)?;
            if number == 0 {
                out.block(start + 1 + geometry.descriptor_blocks(), &resize::indirect(geometry)?)?;
            }
        }
        for (tables, (block_bitmap, _)) in geometry.tables.iter().zip(&bitmaps) {
            out.block(tables.block_bitmap, block_bitmap)?;
        }
        for (tables, (_, inode_bitmap)) in geometry.tables.iter().zip(&bitmaps) {
            out.block(tables.inode_bitmap, inode_bitmap)?;
        }
        Ok(())
    }

    fn journal_backup(&self) -> io::Result<Option<journal::Backup>> {
        let Some(journal) = self.layout.journal else { return Ok(None) };
        let tree = self.extent_tree(JOURNAL_INODE, journal.start, journal.blocks)?;
        Ok(Some(journal::Backup { area: tree.root, size: journal.blocks * BLOCK }))
    }

    /// How many directories have their inodes in each group.
    fn directories_by_group(&self) -> Vec<u32> {
        let geometry = &self.layout.geometry;
        let mut counts = vec![0; index(geometry.groups.into())];
        let inodes = self.layout.directories.iter().map(|directory| Layout::inode(self.tree, directory.node));
        for inode in inodes.chain([LOST_FOUND_INODE]) {
            counts[index(((inode - 1) / geometry.inodes_per_group).into())] += 1;
        }
        counts
    }

    fn inode_tables(&self, out: &mut Runs<'_, impl Sink + ?Sized>) -> io::Result<()> {
        let geometry = &self.layout.geometry;
        let last = Layout::last_inode(self.tree);
        // Inodes follow one another in the order of their nodes; a file's further names have none of their own.
        let mut nodes = self.tree.nodes().skip(1).filter(|&node| self.tree.first_name(node) == node);
        let mut block = Vec::with_capacity(index(BLOCK));
        for (tables, group) in geometry.tables.iter().zip(0..) {
            let used = used_inodes(geometry, group, last);
            for i in 0..used.div_ceil(INODES_PER_BLOCK) {
                let first = group * geometry.inodes_per_group + i * INODES_PER_BLOCK + 1;
                block.clear();
                for number in (first..first + INODES_PER_BLOCK).take_while(|&number| number <= last) {
                    block.extend_from_slice(&self.inode(number, &mut nodes)?);
                }
                block.resize(index(BLOCK), 0);
                out.block(tables.inode_table + u64::from(i), &block)?;
            }
        }
        Ok(())
    }

    /// An inode of the table; `nodes` gives the nodes below the root that have one.
    fn inode(&self, number: u32, nodes: &mut impl Iterator<Item = NodeId>) -> io::Result<[u8; 256]> {
        let inode = match (number, self.layout.journal, self.layout.double_indirect) {
            (ROOT_INODE, ..) => self.node_inode(number, NodeId(0))?,
            (LOST_FOUND_INODE, ..) => {
                let contents = Contents { size: BLOCK, blocks: 1, links: 2 };
                self.with_extents(number, MODE_LOST_FOUND, self.layout.lost_found, &contents)?
            }
            (JOURNAL_INODE, Some(Journal { start, blocks }), _) => {
                let contents = Contents { size: blocks * BLOCK, blocks, links: 1 };
                self.with_extents(number, MODE_JOURNAL, start, &contents)?
            }
            (RESIZE_INODE, _, Some(place)) => resize::inode(&self.layout.geometry, place)?,
            // Reserved for features that are not used.
            _ if number < LOST_FOUND_INODE => return Ok([0; 256]),
            _ => match nodes.next() {
                Some(node) => self.node_inode(number, node)?,
                None => return Err(io::Error::other("more inodes were planned than there are files")),
            },
        };
        Ok(inode.encode(number, self.options.time, self.seed)?)
    }

    fn node_inode(&self, number: u32, node: NodeId) -> io::Result<Inode> {
        let (mode, kind) = (self.tree.mode(node), self.tree.kind(node));
        let contents = self.contents(node);
        match kind {
            Kind::Symlink { target } if target.len() < BLOCK_AREA => {
                let mut area = [0; BLOCK_AREA];
                area[..target.len()].copy_from_slice(target);
                let Contents { size, links, .. } = contents;
                Ok(Inode { mode, size, links, blocks: 0, flags: InodeFlags::empty(), area })
            }
            _ => {
                let mut inode = self.with_extents(number, mode, self.layout.place(node), &contents)?;
                // More than one block always has an index.
                inode.flags.set(InodeFlags::INDEX, kind == Kind::Directory && contents.blocks > 1);
                Ok(inode)
            }
        }
    }

    /// An inode whose contents begin with this block.
    fn with_extents(&self, number: u32, mode: u16, first: u64, contents: &Contents) -> io::Result<Inode> {
        let &Contents { size, blocks, links } = contents;
        let tree = self.extent_tree(number, first, blocks)?;
        let blocks = blocks + length(tree.blocks.len());
        Ok(Inode { mode, size, links, blocks, flags: InodeFlags::EXTENTS, area: tree.root })
    }

    fn contents(&self, node: NodeId) -> Contents {
        match self.tree.kind(node) {
            Kind::Directory => {
                let (blocks, subdirectories) =
                    self.layout.directory(node).map_or((0, 0), |found| (found.blocks, found.subdirectories));
                let blocks = u64::from(blocks);
                Contents { size: blocks * BLOCK, blocks, links: 2 + subdirectories }
            }
            Kind::File { size, .. } => {
                Contents { size, blocks: size.div_ceil(BLOCK), links: self.tree.name_count(node) }
            }
            Kind::Symlink { target } => Contents { size: length(target.len()), blocks: 1, links: 1 },
        }
    }

    /// The extent tree of an inode with so many blocks of contents from the first one on.
    fn extent_tree(&self, inode: u32, first: u64, blocks: u64) -> io::Result<extent::Tree> {
        let pieces: Vec<Piece> = extent::pieces(self.layout.runs_at(first, blocks)).collect();
        let tree_blocks = extent::tree_blocks(pieces.len()).map_err(unplanned)?;
        let places = self.layout.tree_places(first, blocks, tree_blocks);
        Ok(extent::tree(&pieces, places, self.seed.of_inode(inode))?)
    }

    /// Writes the tree's own blocks.
    fn extent_blocks(
        &self,
        out: &mut Runs<'_, impl Sink + ?Sized>,
        inode: u32,
        first: u64,
        blocks: u64,
    ) -> io::Result<()> {
        let tree = self.extent_tree(inode, first, blocks)?;
        tree.blocks.iter().try_for_each(|(place, block)| out.block(*place, block))
    }

    fn directories(&self, out: &mut Runs<'_, impl Sink + ?Sized>) -> io::Result<()> {
        let lost_found =
            directory::Directory { inode: LOST_FOUND_INODE, parent: ROOT_INODE, entries: Vec::new() };
        let bytes = lost_found.encode(self.options.hash_seed, self.seed).map_err(unplanned)?;
        out.block(self.layout.lost_found, &bytes)?;
        if let Some(place) = self.layout.double_indirect {
            out.block(place, &resize::double_indirect(&self.layout.geometry)?)?;
        }
        if let Some(journal) = self.layout.journal {
            out.block(journal.start, &journal::superblock(journal, self.options.uuid)?)?;
            self.extent_blocks(out, JOURNAL_INODE, journal.start, journal.blocks)?;
        }
        for planned in &self.layout.directories {
            let directory = directory_of(self.tree, planned);
            let bytes = directory.encode(self.options.hash_seed, self.seed).map_err(unplanned)?;
            let mut rest = bytes.as_slice();
            for run in self.layout.runs_at(self.layout.place(planned.node), planned.blocks.into()) {
                let (now, later) = rest.split_at(index((run.end - run.start) * BLOCK));
                out.block(run.start, now)?;
                rest = later;
            }
        }
        Ok(())
    }

    /// Long link targets, and the tree blocks of whatever lies in many pieces.
    fn links_and_extents(&self, out: &mut Runs<'_, impl Sink + ?Sized>) -> io::Result<()> {
        for node in self.tree.nodes().filter(|&node| self.tree.first_name(node) == node) {
            let contents = self.contents(node);
            if let Kind::Symlink { target } = self.tree.kind(node) {
                if target.len() >= BLOCK_AREA {
                    let mut block = target.to_vec();
                    block.resize(index(BLOCK), 0);
                    out.block(self.layout.place(node), &block)?;
                }
                continue;
            }
            // Most contents lie in one piece and need no look at the runs.
            if contents.blocks > 1 {
                let inode = Layout::inode(self.tree, node);
                self.extent_blocks(out, inode, self.layout.place(node), contents.blocks)?;
            }
        }
        Ok(())
    }
}

/// What an inode says of its contents.
struct Contents {
    size: u64,
    blocks: u64,
    links: u32,
}

/// The plan has made the same calls before, with the same outcome.
fn unplanned(error: Ext4Error) -> io::Error {
    io::Error::other(error)
}

/// Gathers neighbouring blocks, so that they are written in large runs.
struct Runs<'s, S: ?Sized> {
    sink: &'s S,
    /// The offset of the first byte that has not been written.
    start: u64,
    bytes: Vec<u8>,
}

impl<S: Sink + ?Sized> Runs<'_, S> {
    fn block(&mut self, block: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = block * BLOCK;
        if offset != self.start + length(self.bytes.len()) || self.bytes.len() + bytes.len() > RUN {
            self.flush()?;
            self.start = offset;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.data(GuestOffset(self.start), &self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
