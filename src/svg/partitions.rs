//! The partitions of a disk, and what is in them.

use imagegen::reading::inspect::{Contents, Partition, Table};

use super::Picture;
use super::bar::Piece;
use super::colours::{HUES, METADATA};
use super::legend::Legend;

impl Picture {
    pub fn partitions(&mut self, table: &Table, size: u64) {
        let hybrid = if table.hybrid { " with hybrid MBR" } else { "" };
        self.heading(
            &format!("Disk · {}{hybrid}", table.scheme.to_uppercase()),
            &format!("{} partitions", table.partitions.len()),
        );
        let mut pieces: Vec<Piece> = Vec::new();
        if table.scheme == "gpt" {
            let block = table.block_bytes;
            // MBR, header and entries; the backup without the MBR.
            let backup = size.saturating_sub(33 * block);
            for (start, bytes) in [(0, 34 * block), (backup, 33 * block)] {
                pieces.push(Piece { start, bytes, colour: METADATA, title: "partition table".to_owned() });
            }
        }
        for (i, partition) in table.partitions.iter().enumerate() {
            pieces.push(Piece {
                start: partition.start_bytes,
                bytes: partition.bytes,
                colour: HUES[i % HUES.len()],
                title: title_of(partition),
            });
        }
        self.bar(&pieces, size, 52.0);
        self.axis(size);
        let mut legend = Legend::default();
        for (i, partition) in table.partitions.iter().enumerate() {
            legend.add(HUES[i % HUES.len()], title_of(partition), partition.bytes);
        }
        self.legend(&legend);
        for partition in &table.partitions {
            match &partition.contents {
                Contents::Ext4(file_system) => self.ext4(file_system),
                Contents::Fat(file_system) => self.fat(file_system, partition.bytes, partition.start_bytes),
                _ => {}
            }
        }
    }
}

fn title_of(partition: &Partition) -> String {
    let name = if partition.name.is_empty() { partition.type_name } else { &partition.name };
    let what = match &partition.contents {
        Contents::Ext4(_) => "ext4",
        Contents::Fat(file_system) => file_system.width,
        Contents::Other { name } => name,
        Contents::Zeros => "zeros",
        _ => "",
    };
    format!("{} · {name} · {what}", partition.number)
}
