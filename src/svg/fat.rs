//! A FAT file system: its tables and its files.

use imagegen::reading::inspect::Fat;
use imagegen::units::ByteCount;

use super::Picture;
use super::bar::Piece;
use super::colours::{EMPTY, HUES, METADATA, OTHER};
use super::legend::Legend;

impl Picture {
    pub fn fat(&mut self, file_system: &Fat, size: u64, start: u64) {
        let label = file_system.label.as_deref().unwrap_or("no label");
        let free = u64::from(file_system.free_clusters) * file_system.cluster_bytes;
        self.heading(
            &format!("{} · {label}", file_system.width),
            &format!("{} free of {}", ByteCount(free), ByteCount(size)),
        );
        let tables = "boot sector, allocation tables, root directory";
        let mut legend = Legend::default();
        legend.add(METADATA, tables, file_system.data_start);
        let mut pieces = vec![Piece {
            start: 0,
            bytes: file_system.data_start,
            colour: METADATA,
            title: tables.to_owned(),
        }];
        let mut files: Vec<_> =
            file_system.files.iter().filter(|file| !file.directory && file.bytes > 0).collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
        for (i, file) in files.iter().enumerate() {
            let own = HUES.get(i).copied();
            if let Some(colour) = own {
                legend.add(colour, &file.path, file.bytes);
            }
            if let Some(offset) = file.guest_offset {
                pieces.push(Piece {
                    start: offset.saturating_sub(start),
                    bytes: file.bytes,
                    colour: own.unwrap_or(OTHER),
                    title: file.path.clone(),
                });
            }
        }
        if let Some(others @ [_, ..]) = files.get(HUES.len()..) {
            let bytes = others.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
            legend.add(OTHER, format!("{} smaller files", others.len()), bytes);
        }
        legend.add(EMPTY, "free", free);
        self.bar(&pieces, size, 52.0);
        self.axis(size);
        self.legend(&legend);
    }
}
