//! What a disk or partition holds, told by its first bytes alone, and where the ext4 file system in an image is.

use crate::container::reader::{ReadError, Source, Window};
use crate::disk::gpt::reader::PartitionTable;
use crate::error_kind::{ErrorKind, Failure};
use crate::firmware::efi_vars::{IMAGE_MAX, VariableStore};
use crate::fs::ext4::reader::MAGIC as EXT4_MAGIC;
use crate::fs::fat::reader::is_fat;
use crate::units::index;

/// What a disk or partition holds.
#[derive(Debug)]
pub enum Contents {
    /// Partitions.
    Partitions(Box<PartitionTable>),
    /// An ext4 file system, or one of its ancestors.
    Ext4,
    /// A FAT file system.
    Fat,
    /// A firmware volume with variables.
    EfiVariables,
    /// Something that this program knows by name only.
    Named(&'static str),
    /// Zeros, in the bytes that were looked at.
    Zeros,
    /// Something else.
    Unknown,
}

/// Signatures lie in the first bytes of this number.
const LOOKED_AT: usize = 96 << 10;

/// Signatures of what is only named: offset, bytes and name.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"hsqs", "squashfs file system"),
    (0, b"XFSB", "XFS file system"),
    (0, b"LUKS\xba\xbe", "LUKS encrypted volume"),
    (0, b"QFI\xfb", "qcow2 image"),
    (0, b"KDMV", "VMDK image"),
    (0, b"vhdxfile", "VHDX image"),
    (0, b"conectix", "VHD image"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS file system"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS file system"),
    (4086, b"SWAPSPACE2", "Linux swap"),
    (32769, b"CD001", "ISO 9660 file system"),
    (65600, b"_BHRfS_M", "Btrfs file system"),
    (512, b"LABELONE", "LVM physical volume"),
];

impl Contents {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Partitions(_) => "partition table",
            Self::Ext4 => "ext4",
            Self::Fat => "FAT",
            Self::EfiVariables => "EFI variables",
            Self::Named(name) => name,
            Self::Zeros => "zeros",
            Self::Unknown => "unknown",
        }
    }

    /// Looks at a disk or partition.
    pub fn detect(source: &dyn Source) -> Result<Self, ReadError> {
        let count = usize::try_from(source.size()).map_or(LOOKED_AT, |size| size.min(LOOKED_AT));
        let start = source.bytes(0, count)?;
        let at = |offset: usize, signature: &[u8]| {
            start.get(offset..).is_some_and(|bytes| bytes.starts_with(signature))
        };
        if at(40, b"_FVH") {
            return Ok(Self::EfiVariables);
        }
        if at(1024 + 56, &EXT4_MAGIC.to_le_bytes()) {
            return Ok(Self::Ext4);
        }
        if is_fat(start.get(..512).unwrap_or_default()) {
            return Ok(Self::Fat);
        }
        if let Some((.., name)) = SIGNATURES.iter().find(|(offset, signature, _)| at(*offset, signature)) {
            return Ok(Self::Named(name));
        }
        if let Some(table) = PartitionTable::read(source)? {
            return Ok(Self::Partitions(Box::new(table)));
        }
        Ok(if start.iter().all(|&byte| byte == 0) { Self::Zeros } else { Self::Unknown })
    }
}

/// Why the ext4 file system of an image cannot be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The image cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A partition was asked for, and the image is the file system.
    #[error("there is no partition table")]
    NoTable,
    /// Nobody said which partition.
    #[error("several partitions are ext4")]
    Several,
    /// There is none.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl FindError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::NoTable | Self::Several => ErrorKind::InvalidInput,
            Self::Failure(failure) => failure.kind(),
        }
    }
}

/// The ext4 file system in an image: the image itself or, where there is a partition table, the partition of this number; or
/// the only one that is ext4.
pub fn find_ext4(image: &dyn Source, number: Option<u32>) -> Result<Window<'_>, FindError> {
    let table = match Contents::detect(image)? {
        Contents::Ext4 if number.is_some() => return Err(FindError::NoTable),
        Contents::Ext4 => return Ok(Window::new(image, 0, image.size())?),
        Contents::Partitions(table) => table,
        Contents::Named(name) => {
            let advice = if name.starts_with("LUKS") {
                "; open it with `cryptsetup open --readonly`, and name the device that appears"
            } else {
                ""
            };
            return Err(Failure::unsupported(format!(
                "it holds a {name}, which is not read; {NEITHER}{advice}"
            ))
            .into());
        }
        _ => return Err(Failure::invalid(NEITHER).into()),
    };
    let mut found = None;
    for partition in &table.partitions {
        if number.is_some_and(|number| number != partition.number) {
            continue;
        }
        let window = Window::new(image, partition.start_bytes, partition.bytes)?;
        if matches!(Contents::detect(&window)?, Contents::Ext4) && found.replace(window).is_some() {
            return Err(FindError::Several);
        }
    }
    let missing = || match number {
        Some(number) => format!("there is no partition {number} with an ext4 file system"),
        None => "no partition holds an ext4 file system".to_owned(),
    };
    found.ok_or_else(|| Failure::invalid(missing()).into())
}

const NEITHER: &str = "there is neither an ext4 file system nor a partition table";

/// A whole flash image.
pub(super) fn flash_image(source: &dyn Source) -> Result<Vec<u8>, ReadError> {
    if source.size() > IMAGE_MAX {
        return Err(ReadError::damaged("a flash image is never so large"));
    }
    source.bytes(0, index(source.size()))
}

/// The variable store in a flash image.
pub(super) fn variable_store(image: &[u8]) -> Result<VariableStore<'_>, ReadError> {
    VariableStore::parse(image).map_err(|error| ReadError::damaged(error.to_string()))
}
