//! An ext4 file system: its block groups, metadata and store paths.

use imagegen::reading::inspect::{Ext4, StorePathUse};
use imagegen::units::ByteCount;

use super::bar::{Bar, EMPTY, METADATA, Part, Place, stretch};
use super::{Picture, float};

const TABLES: &str = "#9aa5b1";

/// Files that e2fsck has found without a name.
const LOST: &str = "#3e4c59";

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

        let mut bar = Bar::new(size);
        let tables = tables_of(file_system);
        let what = "bitmaps and inode tables";
        bar.legend(TABLES, what, tables.iter().fold(0, |sum, (_, bytes)| bytes.saturating_add(sum)));
        bar.piece(TABLES, what, tables);
        bar.parts(file_system.store_paths.iter().map(part_of), "paths");
        if let Some(lost) = &file_system.lost_found {
            bar.legend(LOST, &lost.name, lost.usage.allocated_bytes);
            bar.piece(LOST, &lost.name, lost.places.clone());
        }
        bar.legend(EMPTY, "free", free);
        self.bar(&bar, 72.0);
    }

    /// A thin bar of block groups, filled from below by how full each is.
    fn groups(&mut self, file_system: &Ext4, size: u64) {
        let height = 26.0;
        let bytes = |blocks: u64| blocks.saturating_mul(file_system.block_bytes);
        self.small("block groups, each filled as far as it is in use");
        for group in &file_system.groups {
            let (x, width) = stretch((bytes(group.first_block), bytes(group.blocks)), size);
            let used = 1.0 - float(group.free_blocks.into()) / float(group.blocks.max(1));
            let width = if width > 6.0 { width - 1.5 } else { width };
            let full = height * used.clamp(0.0, 1.0);
            self.drawing.rect((x, self.y), (width, height), EMPTY, "");
            self.drawing.rect((x, self.y + height - full), (width, full), METADATA, "");
        }
        self.y += height + 12.0;
        self.small("contents");
    }
}

/// Where the bitmaps and inode tables of all groups lie; those of many groups are one stretch.
fn tables_of(file_system: &Ext4) -> Vec<Place> {
    let block = file_system.block_bytes;
    let of_group = file_system.groups.iter().flat_map(|group| {
        let [block_bitmap, inode_bitmap, inode_table] = group.tables;
        [(block_bitmap, 1), (inode_bitmap, 1), (inode_table, group.inode_table_blocks)]
    });
    let mut blocks: Vec<Place> = of_group.collect();
    blocks.sort_unstable();
    let mut tables: Vec<Place> = Vec::new();
    for (start, count) in blocks {
        let (start, bytes) = (start.saturating_mul(block), count.saturating_mul(block));
        match tables.last_mut() {
            Some(last) if last.0.saturating_add(last.1) == start => last.1 = last.1.saturating_add(bytes),
            _ => tables.push((start, bytes)),
        }
    }
    tables
}

/// A store path, under its name without the hash, which tells people nothing.
fn part_of(path: &StorePathUse) -> Part<'_> {
    let name = match path.name.split_once('-') {
        Some((hash, rest)) if hash.len() == 32 => rest,
        _ => &path.name,
    };
    Part { name, title: &path.name, bytes: path.usage.allocated_bytes, places: path.places.clone() }
}
