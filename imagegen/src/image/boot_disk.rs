//! The boot disk: partition table, a place for BIOS boot code, and the EFI system partition.
//!
//! The table is byte for byte what sgdisk makes of the command line in nixpkgs' `qemu-vm.nix`.

use super::boot_parts::{BootParts, BootPartsError};
use super::smallest_disk::smallest;
use crate::boot::Loaders;
use crate::boot::grub::BootDirectory;
use crate::container::Sink;
use crate::disk::gpt::{self, Entry};
use crate::disk::layout::{Content, End, Layout, LayoutError, Part, Scheme};
use crate::error_kind::ErrorKind;
use crate::firmware::efi_vars::{DevicePath, HardDrive, LoadOption, LoadOptionError};
use crate::fixed;
use crate::fs::fat::{Contents, Fat};
use crate::job::Job;
use crate::units::{ByteCount, GuestRange, Lba, SECTOR};

/// What the module's `diskImage` has.
pub const DEFAULT_SIZE: ByteCount = ByteCount(60 << 20);
/// The number of the EFI system partition.
const ESP_NUMBER: u32 = 2;
/// The EFI system partition begins at this sector; those before it are left to the BIOS boot partition.
const ESP_START: u64 = 2048;

/// Where GRUB's files are.
pub const BOOT_DIRECTORY: BootDirectory =
    BootDirectory::Esp { partition: ESP_NUMBER, volume_id: fixed::ESP_VOLUME_ID };

/// A disk of which everything is known but the contents of the files.
#[derive(Debug, Clone)]
#[must_use]
pub struct Plan {
    parts: BootParts,
    contents: Contents,
    missing_initrds: Vec<String>,
}

/// Why a boot disk cannot be planned or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum BootDiskError {
    /// What is on the disk does not fit, or cannot be written.
    #[error(transparent)]
    Parts(#[from] BootPartsError),
    /// What does not fit would on a larger disk.
    #[error("a disk of {size} is too small")]
    TooSmall {
        size: ByteCount,
        /// The smallest number of whole MiB above it with which it would work.
        enough: ByteCount,
        source: BootPartsError,
    },
}

impl BootDiskError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parts(error) => error.kind(),
            Self::TooSmall { .. } => ErrorKind::InvalidInput,
        }
    }
}

/// The partitions of a disk of `size`, rounded up to a whole sector: one for GRUB's core image, and the EFI system
/// partition from 1 MiB to the end.
pub fn layout(size: ByteCount) -> Result<Layout, LayoutError> {
    let core = Entry {
        number: 1,
        kind: gpt::BIOS_BOOT_TYPE,
        guid: fixed::BIOS_BOOT_PARTITION_GUID,
        name: "BIOSBootPartition",
        attributes: gpt::NO_BLOCK_IO_PROTOCOL,
    };
    let esp = Entry {
        number: ESP_NUMBER,
        kind: gpt::ESP_TYPE,
        guid: fixed::ESP_GUID,
        name: "EFISystem",
        attributes: gpt::LEGACY_BIOS_BOOTABLE,
    };
    let part = |content, entry, end| Part { content, entry: Some(entry), alignment: 1, end };
    let parts = [
        part(Content::GrubCore, core, End::Before(Lba(ESP_START))),
        part(Content::Fat, esp, End::WithDisk(size.0.div_ceil(SECTOR))),
    ];
    Layout::new(Scheme::HybridGpt(fixed::BOOT_DISK_GUID), &parts)
}

/// Plans a disk of `size`, rounded up to a whole sector, with an EFI system partition of the kind `fat`, or of mkfs.fat's
/// choice. If the size is too small, the error says what would do.
pub fn plan(size: ByteCount, loaders: &Loaders, fat: Option<Fat>) -> Result<Plan, BootDiskError> {
    let mut installed = loaders.install(BOOT_DIRECTORY).map_err(BootPartsError::from)?;
    let contents = Contents::new(std::mem::take(&mut installed.files)).map_err(BootPartsError::from)?;
    let parts = layout(size)
        .map_err(BootPartsError::from)
        .and_then(|layout| BootParts::plan(layout, &installed, &contents, fat))
        .map_err(|source| match smallest((size.0 >> 20) + 1, &contents, fat, layout) {
            Some(enough) if source.is_lack_of_room() => BootDiskError::TooSmall { size, enough, source },
            _ => source.into(),
        })?;
    Ok(Plan { parts, contents, missing_initrds: installed.missing_initrds })
}

/// The entry that `bootctl install` makes on a machine that was booted from such a disk: for the program at `path` of
/// its EFI system partition.
pub fn boot_entry(layout: &Layout, path: &str) -> Result<Option<LoadOption>, LoadOptionError> {
    let Some(esp) = layout.part(Content::Fat) else { return Ok(None) };
    let drive = HardDrive::gpt(ESP_NUMBER, esp.first, esp.sectors(), fixed::ESP_GUID);
    LoadOption::active("Linux Boot Manager", DevicePath::file_on(drive, &format!("/{path}"))?).map(Some)
}

impl Plan {
    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        self.parts.layout()
    }

    /// The size of the disk.
    pub fn size(&self) -> ByteCount {
        self.layout().size()
    }

    /// The initial RAM disks that systems name on the EFI system partition and that nobody puts there.
    pub fn missing_initrds(&self) -> &[String] {
        &self.missing_initrds
    }

    /// The files and directories of the EFI system partition.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The ranges that [`Plan::write`] writes, sorted and disjoint.
    pub fn allocated(&self) -> Vec<GuestRange> {
        self.parts.allocated([])
    }

    /// Writes the disk.
    pub fn write(&self, sink: &dyn Sink, job: &Job<'_>) -> Result<(), BootDiskError> {
        Ok(self.parts.write("write", sink, job)?)
    }
}
