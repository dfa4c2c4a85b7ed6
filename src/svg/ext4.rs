//! An ext4 file system: its block groups, metadata and store paths.

use imagegen::reading::inspect::{Ext4, StorePathUse};
use imagegen::units::ByteCount;

use super::bar::{Piece, place};
use super::colours::{EMPTY, HUES, LOST, METADATA, OTHER, TABLES};
use super::legend::Legend;
use super::{Picture, float};

impl Picture {
    pub fn ext4(&mut self, file_system: &Ext4) {
        let block = file_system.block_bytes;
        let size = file_system.blocks.saturating_mul(block);
        let free = file_system.free_blocks.saturating_mul(block);
        self.heading(
            &format!("ext4 · {}", if file_system.label.is_empty() { "no label" } else { &file_system.label }),
            &format!("{} files · {} free of {}", file_system.usage.files, ByteCount(free), ByteCount(size)),
        );
        self.groups(file_system, size);
        let mut pieces = tables_of(file_system);
        let tables = pieces.iter().fold(0_u64, |sum, piece| sum.saturating_add(piece.bytes));
        let mut legend = Legend::default();
        legend.add(TABLES, "bitmaps and inode tables", tables);
        for (i, path) in file_system.store_paths.iter().enumerate() {
            let own = HUES.get(i).copied();
            if let Some(colour) = own.filter(|_| path.usage.allocated_bytes > 0) {
                legend.add(colour, without_hash(&path.name), path.usage.allocated_bytes);
            }
            pieces.extend(pieces_of(path, own.unwrap_or(OTHER)));
        }
        if let Some(others @ [_, ..]) = file_system.store_paths.get(HUES.len()..) {
            let bytes = others.iter().map(|path| path.usage.allocated_bytes).sum();
            legend.add(OTHER, format!("{} smaller paths", others.len()), bytes);
        }
        if let Some(lost) = &file_system.lost_found {
            legend.add(LOST, &lost.name, lost.usage.allocated_bytes);
            pieces.extend(pieces_of(lost, LOST));
        }
        legend.add(EMPTY, "free", free);
        self.bar(&pieces, size, 72.0);
        self.axis(size);
        self.legend(&legend);
    }

    /// A thin bar of block groups, filled from below by how full each is.
    fn groups(&mut self, file_system: &Ext4, size: u64) {
        let height = 26.0;
        self.small("block groups, each filled as far as it is in use");
        for group in &file_system.groups {
            let (x, width) = place(
                group.first_block.saturating_mul(file_system.block_bytes),
                group.blocks.saturating_mul(file_system.block_bytes),
                size,
            );
            let used = 1.0 - float(group.free_blocks.into()) / float(group.blocks.max(1));
            let gap = if width > 6.0 { 1.5 } else { 0.0 };
            let full = height * used.clamp(0.0, 1.0);
            self.rect(x, self.y, width - gap, height, EMPTY, "");
            self.rect(x, self.y + height - full, width - gap, full, METADATA, "");
        }
        self.y += height + 12.0;
        self.small("contents");
    }
}

/// Where the blocks of a path lie.
fn pieces_of(path: &StorePathUse, colour: &'static str) -> impl Iterator<Item = Piece> {
    path.places.iter().map(move |&(start, bytes)| Piece { start, bytes, colour, title: path.name.clone() })
}

/// Where the bitmaps and inode tables of all groups lie; those of many groups are one piece.
fn tables_of(file_system: &Ext4) -> Vec<Piece> {
    let block = file_system.block_bytes;
    let mut blocks: Vec<(u64, u64)> = Vec::new();
    for group in &file_system.groups {
        let [block_bitmap, inode_bitmap, inode_table] = group.tables;
        blocks.extend([(block_bitmap, 1), (inode_bitmap, 1), (inode_table, group.inode_table_blocks)]);
    }
    blocks.sort_unstable();
    let mut pieces: Vec<Piece> = Vec::new();
    for (start, count) in blocks {
        let (start, bytes) = (start.saturating_mul(block), count.saturating_mul(block));
        match pieces.last_mut() {
            Some(last) if last.start.saturating_add(last.bytes) == start => {
                last.bytes = last.bytes.saturating_add(bytes);
            }
            _ => pieces.push(Piece {
                start,
                bytes,
                colour: TABLES,
                title: "bitmaps and inode tables".to_owned(),
            }),
        }
    }
    pieces
}

/// A store path's name; its hash tells people nothing.
fn without_hash(name: &str) -> &str {
    match name.split_once('-') {
        Some((hash, rest)) if hash.len() == 32 => rest,
        _ => name,
    }
}
