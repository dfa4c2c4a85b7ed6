//! The partitions of a disk, and what is in them.

use imagegen::reading::inspect::{Contents, Partition, Table};

use super::Picture;
use super::bar::{Bar, HUES, METADATA};

impl Picture {
    pub fn partitions(&mut self, table: &Table, size: u64) {
        let hybrid = if table.hybrid { " with hybrid MBR" } else { "" };
        self.heading(
            &format!("Disk · {}{hybrid}", table.scheme.to_uppercase()),
            &format!("{} partitions", table.partitions.len()),
        );
        let mut bar = Bar::new(size);
        if table.scheme == "gpt" {
            let block = table.block_bytes;
            // MBR, header and entries; the backup without the MBR.
            let backup = size.saturating_sub(33 * block);
            bar.piece(METADATA, "partition table", [(0, 34 * block), (backup, 33 * block)]);
        }
        for (partition, hue) in table.partitions.iter().zip(HUES.into_iter().cycle()) {
            let title = title_of(partition);
            bar.piece(hue, &title, [(partition.entry.start_bytes, partition.entry.bytes)]);
            bar.legend(hue, title, partition.entry.bytes);
        }
        self.bar(&bar, 52.0);

        for partition in &table.partitions {
            match &partition.contents {
                Contents::Ext4(file_system) => self.ext4(file_system),
                Contents::Fat(file_system) => {
                    self.fat(file_system, partition.entry.bytes, partition.entry.start_bytes);
                }
                _ => {}
            }
        }
    }
}

fn title_of(partition: &Partition) -> String {
    let name =
        if partition.entry.name.is_empty() { partition.entry.type_name } else { &partition.entry.name };
    let what = match &partition.contents {
        Contents::Ext4(_) => "ext4",
        Contents::Fat(file_system) => file_system.width,
        Contents::Other { name } => name,
        Contents::Zeros => "zeros",
        _ => "",
    };
    format!("{} · {name} · {what}", partition.entry.number)
}
