//! What a disk or partition holds, told by its first bytes alone.

use crate::container::reader::{ReadError, Source};
use crate::disk::gpt::reader::PartitionTable;
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
