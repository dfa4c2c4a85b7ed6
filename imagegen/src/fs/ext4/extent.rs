//! Extent trees: from the runs of a file's blocks to its inode's block area and, for many runs, tree blocks
//! (the kernel's documentation of ext4, "Extent Tree").

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;

use super::checksum::Checksum;
use super::disk::{BLOCK_AREA, EXTENT_BLOCKS_MAX, EXTENT_MAGIC, Extent, ExtentHeader, ExtentIndex};
use super::{BLOCK, Ext4Error};
use crate::error_kind::InternalError;
use crate::units::{fit, index, length};

/// Entries in an inode's block area.
const IN_INODE: usize = 4;
/// Entries in a tree block, which ends with a checksum.
const IN_BLOCK: usize = 340;
/// The levels of tree blocks that are ever made: enough for 2^32 blocks in the shortest runs that occur.
const DEPTH_MAX: u16 = 3;

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
        (run.start..run.end).step_by(EXTENT_BLOCKS_MAX.into()).map(move |start| Piece {
            logical: first + (start - run.start),
            start,
            count: (run.end - start).min(EXTENT_BLOCKS_MAX.into()),
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
pub fn tree(
    pieces: &[Piece],
    mut places: impl Iterator<Item = u64>,
    seed: Checksum,
) -> Result<Tree, InternalError> {
    let mut blocks = Vec::new();
    let mut depth = 0;
    // The first logical block and the bytes of each entry.
    let leaf_entry = |piece: &Piece| {
        let extent = Extent::new(piece.logical, piece.start, piece.count)?;
        Ok((piece.logical, zerocopy::transmute!(extent)))
    };
    let mut entries = pieces.iter().map(leaf_entry).collect::<Result<Vec<_>, InternalError>>()?;
    while entries.len() > IN_INODE {
        let mut above = Vec::with_capacity(entries.len().div_ceil(IN_BLOCK));
        for children in entries.chunks(IN_BLOCK) {
            let place = places.next().ok_or_else(|| InternalError::new("an extent tree has no place"))?;
            let mut block = node(children, IN_BLOCK, depth)?;
            block.resize(index(BLOCK) - size_of::<U32>(), 0);
            let checksum = seed.and(&block).get();
            block.extend_from_slice(&checksum.to_le_bytes());
            blocks.push((place, block));
            let first = children[0].0;
            above.push((first, zerocopy::transmute!(ExtentIndex::new(first, place)?)));
        }
        entries = above;
        depth += 1;
    }
    let mut root = [0; BLOCK_AREA];
    let node = node(&entries, IN_INODE, depth)?;
    root[..node.len()].copy_from_slice(&node);
    Ok(Tree { root, blocks })
}

fn node(entries: &[(u64, [u8; 12])], max: usize, depth: u16) -> Result<Vec<u8>, InternalError> {
    let header = ExtentHeader {
        eh_magic: EXTENT_MAGIC.into(),
        eh_entries: fit::<u16, _>(entries.len())?.into(),
        eh_max: fit::<u16, _>(max)?.into(),
        eh_depth: depth.into(),
        eh_generation: U32::ZERO,
    };
    let mut out = header.as_bytes().to_vec();
    out.extend(entries.iter().flat_map(|(_, entry)| entry));
    Ok(out)
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
            let tree = tree(&pieces, 1_000_000.., Checksum::START).unwrap();
            assert_eq!(length(tree.blocks.len()), expected, "{count}");
        }
    }
}
