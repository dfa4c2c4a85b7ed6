//! The boot disk: partition table, a place for BIOS boot code, and the EFI system partition.

mod partitions;

use std::io;

use crate::boot::Loaders;
use crate::boot::grub::{self, BootDirectory, GrubError, Installation};
use crate::container::Sink;
use crate::disk::gpt::Table;
use crate::disk::mbr::{BOOT_CODE, Partition};
use crate::firmware::efi_vars::{DevicePath, HardDrive, LoadOption, LoadOptionError};
use crate::fixed;
use crate::fs::fat::{self, Contents, Fat, FatError};
use crate::job::Job;
use crate::units::{ByteCount, GuestOffset, GuestRange, SECTOR, length};

pub use partitions::{ESP_NUMBER, Partitions, PartitionsError};

/// What the module's `diskImage` has.
pub const DEFAULT_SIZE: ByteCount = ByteCount(60 << 20);
/// Where GRUB's files are.
pub const BOOT_DIRECTORY: BootDirectory =
    BootDirectory::Esp { partition: ESP_NUMBER, volume_id: fixed::ESP_VOLUME_ID };
/// Sizes are proposed in these steps.
const STEP: u64 = 1 << 20;
/// No larger disk is proposed: FAT16 ends at 4 GiB, FAT32 at 2 TiB.
const LARGEST: [u64; 2] = [4 << 30, 2 << 40];

/// A disk of which everything is known but the contents of the files.
#[derive(Debug, Clone)]
pub struct Plan {
    partitions: Partitions,
    table: Table,
    grub: Option<Installation>,
    esp: fat::Plan,
    missing_initrds: Vec<String>,
}

/// Why a boot disk cannot be planned or written.
#[derive(Debug, thiserror::Error)]
pub enum BootDiskError {
    /// The partition table.
    #[error(transparent)]
    Partitions(#[from] PartitionsError),
    /// The EFI system partition.
    #[error(transparent)]
    Esp(#[from] FatError),
    /// What does not fit would on a larger disk.
    #[error("a disk of {size} is too small; --size {}M is the smallest that will do", .enough.0 / STEP)]
    TooSmall {
        /// The disk's size.
        size: ByteCount,
        /// The smallest number of whole MiB above it with which it would work.
        enough: ByteCount,
        /// What does not fit.
        source: Box<BootDiskError>,
    },
    /// GRUB does not fit, or has not the files that it should have.
    #[error(transparent)]
    Grub(#[from] GrubError),
    /// The image cannot be written.
    #[error("cannot write the {part} of the boot disk")]
    Write {
        /// The part of the disk.
        part: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Plans a disk of `size`, rounded up to a whole sector, with an EFI system partition of the kind `fat`, or of mkfs.fat's
/// choice. If the size is too small, the error says what would do.
pub fn plan(size: ByteCount, loaders: &Loaders, fat: Option<Fat>) -> Result<Plan, BootDiskError> {
    let installed = loaders.install(BOOT_DIRECTORY)?;
    let contents = Contents::new(installed.files)?;
    let (partitions, esp) =
        esp_of(size, &contents, fat).map_err(|error| match smallest_size(size, &contents, fat) {
            Some(enough) if error.is_lack_of_room() => {
                BootDiskError::TooSmall { size, enough, source: Box::new(error) }
            }
            _ => error,
        })?;
    let table = partitions.table();
    let mbr = table.mbr(&[0; BOOT_CODE]);
    let gap = partitions.bios_boot();
    let install = |(directory, core)| grub::install(&directory, &core, &(gap.first..=gap.last), &mbr);
    let grub = installed.grub.map(install).transpose()?;
    Ok(Plan { partitions, table, grub, esp, missing_initrds: installed.missing_initrds })
}

fn esp_of(
    size: ByteCount,
    contents: &Contents,
    fat: Option<Fat>,
) -> Result<(Partitions, fat::Plan), BootDiskError> {
    let partitions = Partitions::new(size.0.div_ceil(SECTOR))?;
    let esp = fat::plan(partitions.esp(), contents, fat)?;
    Ok((partitions, esp))
}

/// The smallest disk larger than `size` for the contents, in whole steps, if there is one.
fn smallest_size(size: ByteCount, contents: &Contents, fat: Option<Fat>) -> Option<ByteCount> {
    let [of_fat16, of_fat32] = LARGEST;
    let largest = if fat == Some(Fat::Fat16) { of_fat16 } else { of_fat32 };
    let steps = (size.0 / STEP + 1).max(contents.file_bytes() / STEP)..=largest / STEP;
    steps
        .map(|steps| ByteCount(steps * STEP))
        .find(|size| Partitions::new(size.0 / SECTOR).is_ok_and(|disk| fat::fits(disk.esp(), contents, fat)))
}

/// The entry that `bootctl install` makes on a machine that was booted from such a disk: the program at `path` of
/// the EFI system partition `esp`.
pub fn boot_entry(esp: Partition, path: &str) -> Result<LoadOption, LoadOptionError> {
    let drive = HardDrive::gpt(ESP_NUMBER, esp.first, esp.sectors(), fixed::ESP_GUID);
    LoadOption::active("Linux Boot Manager", DevicePath::file_on(drive, &format!("/{path}"))?)
}

impl BootDiskError {
    /// Whether a larger disk may help.
    fn is_lack_of_room(&self) -> bool {
        matches!(
            self,
            Self::Partitions(PartitionsError::TooSmall { .. })
                | Self::Esp(FatError::TooSmall { .. } | FatError::Full { .. })
        )
    }
}

impl Plan {
    /// The size of the disk.
    pub fn size(&self) -> ByteCount {
        ByteCount(self.table.sectors * SECTOR)
    }

    /// Where the partitions lie.
    pub fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// The initial RAM disks that systems name on the EFI system partition and that nobody puts there.
    pub fn missing_initrds(&self) -> &[String] {
        &self.missing_initrds
    }

    /// The files and directories of the EFI system partition.
    pub fn contents(&self) -> &Contents {
        self.esp.contents()
    }

    /// The ranges that [`Plan::write`] writes, sorted and disjoint.
    pub fn allocated(&self) -> Vec<GuestRange> {
        let core_image = self.grub.as_ref().map_or(0, |grub| length(grub.core.len()));
        let mut ranges =
            vec![GuestOffset(0)..self.partitions.bios_boot().first.offset().advanced(core_image)];
        ranges.extend(self.esp.allocated());
        ranges.push(self.table.backup_start().offset()..GuestOffset(self.size().0));
        ranges
    }

    /// Writes the disk, in the order of its offsets but for files that are on it several times.
    pub fn write(&self, sink: &dyn Sink, job: &Job<'_>) -> Result<(), BootDiskError> {
        let data = |part, offset, bytes: &[u8]| {
            sink.data(offset, bytes).map_err(|source| BootDiskError::Write { part, source })
        };
        job.progress.begin("write", self.contents().file_bytes());
        let boot_code = self.grub.as_ref().and_then(|grub| grub.boot_sector.first_chunk());
        data("partition table", GuestOffset(0), &self.table.primary(boot_code.unwrap_or(&[0; BOOT_CODE])))?;
        if let Some(grub) = &self.grub {
            data("BIOS boot partition", grub.core_start.offset(), &grub.core)?;
        }
        self.esp.write(sink, job)?;
        data("backup of the partition table", self.table.backup_start().offset(), &self.table.backup())?;
        job.progress.end();
        Ok(())
    }
}
