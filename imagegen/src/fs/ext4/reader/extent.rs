//! Extent trees (the kernel's documentation of ext4, "Extent Tree"): which blocks a file has.

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U32;

use super::inode::Inode;
use super::{FileSystem, check};
use crate::container::reader::ReadError;
use crate::fs::ext4::disk::{EXTENT_BLOCKS_MAX, EXTENT_MAGIC, Extent, ExtentHeader, ExtentIndex, join};
use crate::units::index;

const DEPTH_MAX: u16 = 5;

/// An [`Extent`] or an [`ExtentIndex`].
type Entry = [u8; 12];

/// A run of a file's blocks that lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first block's number in the file.
    pub logical: u64,
    /// Where it is.
    pub physical: u64,
    /// The number of blocks.
    pub count: u64,
    /// Kept for the file, but reading as zeros.
    pub unwritten: bool,
}

/// The blocks of a file.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    /// In the file's order.
    pub runs: Vec<Run>,
    /// The blocks of the tree itself.
    pub tree: Vec<u64>,
}

impl Blocks {
    /// Reads the whole tree of an inode. Every node is visited once: logical numbers must rise from leaf to leaf.
    pub(super) fn read(file_system: &FileSystem<'_>, inode: &Inode) -> Result<Self, ReadError> {
        let mut blocks = Self::default();
        let root = Node::parse(inode, &inode.raw.i_block)?;
        if root.depth > DEPTH_MAX {
            return Err(inode.damaged(format!("has an extent tree of {} levels", root.depth)));
        }
        let mut open = vec![(root.depth, root.entries.into_iter())];
        while let Some((depth, entries)) = open.last_mut() {
            let depth = *depth;
            let Some(entry) = entries.next() else {
                open.pop();
                continue;
            };
            if depth == 0 {
                blocks.add(file_system, inode, &zerocopy::transmute!(entry))?;
                continue;
            }
            let entry: ExtentIndex = zerocopy::transmute!(entry);
            let place = join(entry.ei_leaf_lo, entry.ei_leaf_hi);
            let bytes = file_system.block(place)?;
            check_node(inode, place, &bytes)?;
            let node = Node::parse(inode, &bytes)?;
            if node.depth != depth - 1 || node.entries.is_empty() {
                return Err(inode.damaged(format!("has a malformed extent tree in block {place}")));
            }
            blocks.tree.push(place);
            open.push((node.depth, node.entries.into_iter()));
        }
        Ok(blocks)
    }

    fn add(&mut self, file_system: &FileSystem<'_>, inode: &Inode, extent: &Extent) -> Result<(), ReadError> {
        let length = extent.ee_len.get();
        let unwritten = length > EXTENT_BLOCKS_MAX;
        let count = u64::from(if unwritten { length - EXTENT_BLOCKS_MAX } else { length });
        let physical = join(extent.ee_start_lo, extent.ee_start_hi);
        let logical = u64::from(extent.ee_block.get());
        let end = self.runs.last().map_or(0, |run| run.logical + run.count);
        if count == 0 || logical < end {
            return Err(inode.damaged(format!("has extents that overlap at its block {logical}")));
        }
        if physical == 0 || physical + count > file_system.superblock.blocks_count() {
            return Err(inode.damaged(format!("has an extent at block {physical}, beyond the file system")));
        }
        self.runs.push(Run { logical, physical, count, unwritten });
        Ok(())
    }
}

struct Node {
    depth: u16,
    entries: Vec<Entry>,
}

impl Node {
    fn parse(inode: &Inode, bytes: &[u8]) -> Result<Self, ReadError> {
        let malformed = || inode.damaged("has no extent tree where one should be");
        let (header, rest) = ExtentHeader::read_from_prefix(bytes).map_err(|_| malformed())?;
        let count = usize::from(header.eh_entries.get());
        if header.eh_magic.get() != EXTENT_MAGIC || count > usize::from(header.eh_max.get()) {
            return Err(malformed());
        }
        let entries = rest.get(..count * size_of::<Entry>()).ok_or_else(malformed)?;
        let entries = <[Entry]>::ref_from_bytes(entries).map_err(|_| malformed())?.to_vec();
        Ok(Self { depth: header.eh_depth.get(), entries })
    }
}

/// Compares the checksum behind the entries of a tree block.
fn check_node(inode: &Inode, place: u64, bytes: &[u8]) -> Result<(), ReadError> {
    let Some(seed) = inode.seed else { return Ok(()) };
    let Ok((header, _)) = ExtentHeader::read_from_prefix(bytes) else { return Ok(()) };
    let covered = size_of::<ExtentHeader>() + usize::from(header.eh_max.get()) * size_of::<Entry>();
    let tail =
        bytes.get(covered..covered + size_of::<U32>()).and_then(|tail| U32::read_from_bytes(tail).ok());
    let Some(tail) = tail else {
        return Err(inode.damaged(format!("has a malformed extent tree in block {place}")));
    };
    let what = format_args!("the extent block {place} of inode {}", inode.number);
    check(what, seed.and(&bytes[..covered]).get(), tail.get())
}

impl FileSystem<'_> {
    /// The contents of a block of the file system.
    pub(super) fn block(&self, number: u64) -> Result<Vec<u8>, ReadError> {
        let offset = self.block_offset(number)?;
        self.source.bytes(offset, index(u64::from(self.superblock.block_size())))
    }
}
