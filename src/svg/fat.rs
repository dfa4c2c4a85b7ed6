//! A FAT file system: its tables and its files.

use imagegen::reading::inspect::Fat;
use imagegen::units::ByteCount;

use super::Picture;
use super::bar::{Bar, EMPTY, METADATA, Part};

impl Picture {
    pub fn fat(&mut self, file_system: &Fat, size: u64, start: u64) {
        let label = file_system.label.as_deref().unwrap_or("no label");
        let free = u64::from(file_system.free_clusters) * file_system.cluster_bytes;
        self.heading(
            &format!("{} · {label}", file_system.width),
            &format!("{} free of {}", ByteCount(free), ByteCount(size)),
        );
        let mut bar = Bar::new(size);
        let tables = "boot sector, allocation tables, root directory";
        bar.legend(METADATA, tables, file_system.data_start);
        bar.piece(METADATA, tables, [(0, file_system.data_start)]);

        let mut files: Vec<_> =
            file_system.files.iter().filter(|file| !file.directory && file.bytes > 0).collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
        let parts = files.into_iter().map(|file| {
            let place = file.guest_offset.map(|offset| (offset.saturating_sub(start), file.bytes));
            let places = place.into_iter().collect();
            Part { name: &file.path, title: &file.path, bytes: file.bytes, places }
        });
        bar.parts(parts, "files");
        bar.legend(EMPTY, "free", free);
        self.bar(&bar, 52.0);
    }
}
