//! The boot disk: partition table, a place for BIOS boot code, and the EFI system partition.

use std::io;

use crate::boot::grub::{self, CoreImage, GrubDirectory, GrubError, Installation};
use crate::container::Sink;
use crate::content::NamedContent;
use crate::efi_vars::{DevicePath, HardDrive, LoadOption, LoadOptionError};
use crate::esp::{self, Contents, EspError};
use crate::fixed;
use crate::gpt::{self, BOOT_CODE, GptError, Partition, Table};
use crate::progress::Progress;
use crate::units::{ByteCount, GuestOffset, GuestRange, SECTOR, length};

/// What the module's `diskImage` has.
pub const DEFAULT_SIZE: ByteCount = ByteCount(60 << 20);
/// Sizes are proposed in these steps.
const STEP: u64 = 1 << 20;
/// No FAT16 file system is larger, so that no disk need be tried beyond.
const LARGEST: u64 = 4 << 30;

/// The number of the EFI system partition.
const ESP_NUMBER: u32 = 2;

/// What the boot loaders put on the disk.
#[derive(Debug, Clone, Default)]
pub struct Loaders {
    /// The files of the EFI system partition.
    pub files: Vec<NamedContent>,
    /// What a BIOS starts, if it is to start anything.
    pub grub: Option<GrubLoader>,
}

/// GRUB outside of file systems.
#[derive(Debug, Clone)]
pub struct GrubLoader {
    /// The package, which has the boot sector.
    pub directory: GrubDirectory,
    /// What the boot sector loads from the BIOS boot partition.
    pub core: CoreImage,
}

/// A disk of which everything is known but the contents of the files.
#[derive(Debug, Clone)]
pub struct Plan {
    table: Table,
    grub: Option<Installation>,
    esp: esp::Plan,
}

/// Why a boot disk cannot be planned or written.
#[derive(Debug, thiserror::Error)]
pub enum BootDiskError {
    /// The partition table.
    #[error(transparent)]
    Table(#[from] GptError),
    /// The EFI system partition.
    #[error(transparent)]
    Esp(#[from] EspError),
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

/// Plans a disk of `size`, rounded up to a whole sector. If that is too small, the error says what would do.
pub fn plan(size: ByteCount, loaders: Loaders) -> Result<Plan, BootDiskError> {
    let Loaders { files, grub } = loaders;
    let contents = Contents::new(files)?;
    let (table, esp) = partitions(size, &contents).map_err(|error| match smallest_size(size, &contents) {
        Some(enough) if error.is_lack_of_room() => {
            BootDiskError::TooSmall { size, enough, source: Box::new(error) }
        }
        _ => error,
    })?;
    let grub = grub.map(|grub| install(table, &grub)).transpose()?;
    Ok(Plan { table, grub, esp })
}

fn partitions(size: ByteCount, contents: &Contents) -> Result<(Table, esp::Plan), BootDiskError> {
    let table = gpt::plan(size.0.div_ceil(SECTOR))?;
    let esp = esp::plan(table.esp(), contents)?;
    Ok((table, esp))
}

/// The smallest disk larger than `size` for the contents, in whole steps, if there is one.
fn smallest_size(size: ByteCount, contents: &Contents) -> Option<ByteCount> {
    let steps = size.0 / STEP + 1..=LARGEST / STEP;
    steps
        .map(|steps| ByteCount(steps * STEP))
        .find(|size| gpt::plan(size.0 / SECTOR).is_ok_and(|table| esp::fits(table.esp(), contents)))
}

/// The sectors that start GRUB, for a disk with this table.
fn install(table: Table, loader: &GrubLoader) -> Result<Installation, GrubError> {
    let Partition { first, last } = table.bios_boot();
    grub::install(&loader.directory, &loader.core, &(first..=last), &table.mbr(&[0; BOOT_CODE]))
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
            Self::Table(GptError::TooSmall { .. }) | Self::Esp(EspError::TooSmall(_) | EspError::Full { .. })
        )
    }
}

impl Plan {
    /// The size of the disk.
    pub fn size(&self) -> ByteCount {
        ByteCount(self.table.sectors() * SECTOR)
    }

    /// The partition table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The files and directories of the EFI system partition.
    pub fn contents(&self) -> &Contents {
        self.esp.contents()
    }

    /// The ranges that [`Plan::write`] writes, sorted and disjoint.
    pub fn allocated(&self) -> Vec<GuestRange> {
        let core_image = self.grub.as_ref().map_or(0, |grub| length(grub.core.len()));
        let mut ranges = vec![GuestOffset(0)..self.table.bios_boot().first.offset().advanced(core_image)];
        ranges.extend(self.esp.allocated());
        ranges.push(self.table.backup_start().offset()..GuestOffset(self.size().0));
        ranges
    }

    /// Writes the disk, in the order of its offsets.
    pub fn write(&self, sink: &dyn Sink, progress: &dyn Progress) -> Result<(), BootDiskError> {
        let data = |part, offset, bytes: &[u8]| {
            sink.data(offset, bytes).map_err(|source| BootDiskError::Write { part, source })
        };
        progress.begin("write", self.contents().file_bytes());
        let boot_code = self.grub.as_ref().and_then(|grub| grub.boot_sector.first_chunk());
        data("partition table", GuestOffset(0), &self.table.primary(boot_code.unwrap_or(&[0; BOOT_CODE])))?;
        if let Some(grub) = &self.grub {
            data("BIOS boot partition", grub.core_start.offset(), &grub.core)?;
        }
        self.esp.write(sink, progress)?;
        data("backup of the partition table", self.table.backup_start().offset(), &self.table.backup())?;
        progress.end();
        Ok(())
    }
}
