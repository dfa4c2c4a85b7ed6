//! What a root disk has outside of its root file system: partition table, boot code and EFI system partition.

use super::RootDiskError;
use super::partitions::{PartitionTable, Partitions};
use crate::boot::Installed;
use crate::boot::grub::{self, Installation};
use crate::container::Sink;
use crate::disk::mbr::{BOOT_CODE, Partition};
use crate::fixed;
use crate::fs::fat::{self, Contents, Fat, FatError};
use crate::fs::file_source::NamedFile;
use crate::job::Job;
use crate::units::{ByteCount, GuestOffset, GuestRange, length};

/// Larger EFI system partitions are not proposed: FAT16 ends at 4 GiB, FAT32 at 2 TiB.
const LARGEST: [u64; 2] = [4 << 30, 2 << 40];
/// Sizes are proposed in these steps.
const STEP: u64 = 1 << 20;

/// All of it, laid out.
#[derive(Debug)]
pub struct Boot {
    partitions: Partitions,
    grub: Option<Installation>,
    esp: Option<fat::Plan>,
}

/// Lays it out around a file system of this size; the EFI system partition is of the kind `fat`, or of mkfs.fat's choice.
pub fn plan(
    table: PartitionTable,
    file_system: ByteCount,
    installed: &Installed,
    fat: Option<Fat>,
) -> Result<Boot, RootDiskError> {
    let partitions = Partitions::new(table, file_system)?;
    let grub = match (&installed.grub, partitions.core_image()) {
        (Some((directory, core)), Some(gap)) => {
            let mbr = partitions.first_sectors(&[0; BOOT_CODE]).first_chunk().copied().unwrap_or([0; 512]);
            Some(grub::install(directory, core, &(gap.first..=gap.last), &mbr)?)
        }
        _ => None,
    };
    let esp = table.esp().map(|partition| plan_esp(table, partition, &installed.files, fat)).transpose()?;
    Ok(Boot { partitions, grub, esp })
}

fn plan_esp(
    table: PartitionTable,
    partition: Partition,
    files: &[NamedFile],
    fat: Option<Fat>,
) -> Result<fat::Plan, RootDiskError> {
    let contents = Contents::new(files.to_vec())?.labelled(fixed::ROOT_DISK_ESP_LABEL);
    let smallest = || smallest_boot_end(table, &contents, fat);
    fat::plan(partition, &contents, fat).map_err(|error| match (&error, smallest()) {
        (FatError::TooSmall { .. } | FatError::Full { .. }, Some(enough)) => {
            RootDiskError::BootSize { enough, source: error }
        }
        _ => error.into(),
    })
}

/// The first end of the EFI system partition, in whole steps, with which it holds the files.
fn smallest_boot_end(table: PartitionTable, contents: &Contents, fat: Option<Fat>) -> Option<ByteCount> {
    let with_end = |boot_end| match table {
        PartitionTable::Efi { .. } => PartitionTable::Efi { boot_end },
        PartitionTable::Hybrid { .. } => PartitionTable::Hybrid { boot_end },
        other => other,
    };
    let [of_fat16, of_fat32] = LARGEST;
    let largest = if fat == Some(Fat::Fat16) { of_fat16 } else { of_fat32 };
    // The partition begins at the eighth step.
    (9 + contents.file_bytes() / STEP..=largest / STEP)
        .map(|steps| ByteCount(steps * STEP))
        .find(|end| with_end(*end).esp().is_some_and(|partition| fat::fits(partition, contents, fat)))
}

impl Boot {
    /// The partitions.
    pub fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    /// The ranges before the root file system that [`Boot::write`] writes, sorted and disjoint.
    pub fn allocated_before(&self) -> Vec<GuestRange> {
        let range = |start: GuestOffset, bytes: u64| start..start.advanced(bytes);
        let mut ranges = vec![range(GuestOffset(0), length(self.first_sectors().len()))];
        ranges.extend(self.grub.iter().map(|grub| range(grub.core_start.offset(), length(grub.core.len()))));
        ranges.extend(self.esp.iter().flat_map(fat::Plan::allocated));
        ranges.retain(|range| !range.is_empty());
        ranges
    }

    /// The range behind the root file system that it writes.
    pub fn allocated_behind(&self) -> Option<GuestRange> {
        let (start, bytes) = self.partitions.last_sectors()?;
        Some(start.offset()..start.offset().advanced(length(bytes.len())))
    }

    /// Writes all of it; nothing, where there is no partition table.
    pub fn write(&self, sink: &dyn Sink, job: &Job<'_>) -> Result<(), RootDiskError> {
        let data = |part, offset, bytes: &[u8]| {
            sink.data(offset, bytes).map_err(|source| RootDiskError::Write { part, source })
        };
        let first_sectors = self.first_sectors();
        if first_sectors.is_empty() {
            return Ok(());
        }
        job.progress.begin("boot", self.esp.as_ref().map_or(0, |esp| esp.contents().file_bytes()));
        data("partition table", GuestOffset(0), &first_sectors)?;
        if let Some(grub) = &self.grub {
            data("core image of GRUB", grub.core_start.offset(), &grub.core)?;
        }
        if let Some(esp) = &self.esp {
            esp.write(sink, job)?;
        }
        if let Some((start, bytes)) = self.partitions.last_sectors() {
            data("backup of the partition table", start.offset(), &bytes)?;
        }
        job.progress.end();
        Ok(())
    }

    fn first_sectors(&self) -> Vec<u8> {
        let boot_code = self.grub.as_ref().and_then(|grub| grub.boot_sector.first_chunk());
        self.partitions.first_sectors(boot_code.unwrap_or(&[0; BOOT_CODE]))
    }
}
