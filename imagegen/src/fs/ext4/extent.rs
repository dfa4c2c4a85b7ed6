//! Extent trees: from the runs of a file's blocks to its inode's block area and, for many runs, tree blocks
//! (the kernel's documentation of ext4, "Extent Tree").

use std::ops::Range;

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes, Unaligned};

use super::checksum::Checksum;
use super::inode::BLOCK_AREA;
use super::superblock::halves;
use super::{BLOCK, Ext4Error};
use crate::units::{index, length};

/// The longest extent that is not marked unwritten.
const EXTENT_BLOCKS_MAX: u64 = 32768;
/// Entries in an inode's block area.
const IN_INODE: usize = 4;
/// Entries in a tree block, which ends with a checksum.
const IN_BLOCK: usize = 340;
/// The levels of tree blocks that are ever made: enough for 2^32 blocks in the shortest runs that occur.
const DEPTH_MAX: u16 = 3;

const MAGIC: u16 = 0xF30A;

#[derive(IntoBytes, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Header {
    eh_magic: U16,
    eh_entries: U16,
    eh_max: U16,
    /// 0 where the entries are extents.
    eh_depth: U16,
    eh_generation: U32,
}

/// An entry of a leaf.
#[derive(IntoBytes, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Extent {
    ee_block: U32,
    ee_len: U16,
    ee_start_hi: U16,
    ee_start_lo: U32,
}

/// An entry of an inner node.
#[derive(IntoBytes, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Index {
    ei_block: U32,
    ei_leaf_lo: U32,
    ei_leaf_hi: U16,
    ei_unused: U16,
}

/// A run of a file's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The first block's number within the file.
    pub logical: u64,
    /// The first block.
    pub start: u64,
    /// The number of blocks.
    pub count: u64,
}

/// Cuts runs into pieces that fit an extent each.
pub fn pieces(runs: impl Iterator<Item = Range<u64>>) -> impl Iterator<Item = Piece> {
    let mut logical = 0;
    runs.flat_map(move |run| {
        let first = logical;
        logical += run.end - run.start;
        (run.start..run.end).step_by(index(EXTENT_BLOCKS_MAX)).map(move |start| Piece {
            logical: first + (start - run.start),
            start,
            count: (run.end - start).min(EXTENT_BLOCKS_MAX),
        })
    })
}

/// The number of tree blocks for so many extents.
pub fn tree_blocks(extents: usize) -> Result<u64, Ext4Error> {
    let mut total = 0;
    let mut nodes = extents;
    let mut depth = 0;
    while nodes > IN_INODE {
        nodes = nodes.div_ceil(IN_BLOCK);
        total += nodes;
        depth += 1;
    }
    if depth > DEPTH_MAX { Err(Ext4Error::TooLarge) } else { Ok(length(total)) }
}

/// An extent tree: what goes into the inode and the blocks that go elsewhere.
#[derive(Debug)]
pub struct Tree {
    pub root: [u8; BLOCK_AREA],
    /// Place and contents.
    pub blocks: Vec<(u64, Vec<u8>)>,
}

/// Builds the tree of a file with these pieces; `places` are the blocks kept for it, as many as [`tree_blocks`] says.
pub fn tree(pieces: &[Piece], mut places: impl Iterator<Item = u64>, seed: Checksum) -> Tree {
    let mut blocks = Vec::new();
    let mut depth = 0;
    // The first logical block and the bytes of each entry.
    let mut entries: Vec<(u64, [u8; 12])> =
        pieces.iter().map(|piece| (piece.logical, leaf_entry(piece))).collect();
    while entries.len() > IN_INODE {
        let mut above = Vec::with_capacity(entries.len().div_ceil(IN_BLOCK));
        for (children, place) in entries.chunks(IN_BLOCK).zip(&mut places) {
            let mut block = node(children, IN_BLOCK, depth);
            block.resize(index(BLOCK) - size_of::<U32>(), 0);
            let checksum = seed.and(&block).get();
            block.extend_from_slice(&checksum.to_le_bytes());
            blocks.push((place, block));
            let first = children.first().map_or(0, |(logical, _)| *logical);
            above.push((first, index_entry(first, place)));
        }
        entries = above;
        depth += 1;
    }
    let mut root = [0; BLOCK_AREA];
    for (to, from) in root.iter_mut().zip(node(&entries, IN_INODE, depth)) {
        *to = from;
    }
    Tree { root, blocks }
}

fn node(entries: &[(u64, [u8; 12])], max: usize, depth: u16) -> Vec<u8> {
    let number = |n: usize| u16::try_from(n).unwrap_or_default().into();
    let header = Header {
        eh_magic: MAGIC.into(),
        eh_entries: number(entries.len()),
        eh_max: number(max),
        eh_depth: depth.into(),
        eh_generation: U32::ZERO,
    };
    let mut out = header.as_bytes().to_vec();
    for (_, entry) in entries {
        out.extend_from_slice(entry);
    }
    out
}

fn leaf_entry(piece: &Piece) -> [u8; 12] {
    let (start_lo, start_hi) = halves(piece.start);
    zerocopy::transmute!(Extent {
        ee_block: halves(piece.logical).0.into(),
        // At most `EXTENT_BLOCKS_MAX`.
        ee_len: u16::try_from(piece.count).unwrap_or_default().into(),
        ee_start_hi: low_half(start_hi),
        ee_start_lo: start_lo.into(),
    })
}

fn index_entry(logical: u64, place: u64) -> [u8; 12] {
    let (leaf_lo, leaf_hi) = halves(place);
    zerocopy::transmute!(Index {
        ei_block: halves(logical).0.into(),
        ei_leaf_lo: leaf_lo.into(),
        ei_leaf_hi: low_half(leaf_hi),
        ei_unused: U16::ZERO,
    })
}

/// Block numbers have 48 bits here.
fn low_half(n: u32) -> U16 {
    let [a, b, ..] = n.to_le_bytes();
    U16::from_bytes([a, b])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_cut_to_what_an_extent_holds() {
        let found: Vec<_> = pieces([10..40_000, 50_000..50_001].into_iter()).collect();
        assert_eq!(
            found,
            [
                Piece { logical: 0, start: 10, count: 32_768 },
                Piece { logical: 32_768, start: 32_778, count: 7_222 },
                Piece { logical: 39_990, start: 50_000, count: 1 },
            ]
        );
    }

    #[test]
    fn tree_blocks_are_counted_as_they_are_made() {
        for count in [0, 1, 4, 5, 340, 341, 1360, 1361, 340 * 340, 340 * 340 * 4 + 1] {
            let pieces: Vec<_> = (0..count).map(|i| Piece { logical: i, start: i * 2, count: 1 }).collect();
            let expected = tree_blocks(pieces.len()).unwrap();
            let tree = tree(&pieces, 1_000_000.., Checksum::START);
            assert_eq!(length(tree.blocks.len()), expected, "{count}");
        }
    }
}
