//! What a flash image holds, by its front.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use zerocopy::FromBytes;

use super::volume::{FVH_SIGNATURE, FirmwareVolumeHeader, SYSTEM_NV_DATA_FV};
use crate::guid::Guid;

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flash {
    /// Variables.
    Variables,
    /// A firmware's code.
    Code,
    /// Variables, and behind them the code of the firmware that they belong to.
    Both,
    /// Nothing that begins with a firmware volume.
    Unknown,
}

impl Flash {
    /// Looks at the front of an image, and at what follows a volume of variables there.
    pub fn of(image: &File) -> io::Result<Self> {
        let Some(volume) = header_at(image, 0)? else { return Ok(Self::Unknown) };
        if Guid::from_mixed_endian(volume.file_system_guid) != SYSTEM_NV_DATA_FV {
            return Ok(Self::Code);
        }
        let behind = header_at(image, volume.fv_length.get())?;
        Ok(if behind.is_some() { Self::Both } else { Self::Variables })
    }
}

/// The header of a firmware volume, if one is there.
fn header_at(image: &File, offset: u64) -> io::Result<Option<FirmwareVolumeHeader>> {
    let mut bytes = [0; size_of::<FirmwareVolumeHeader>()];
    // Offsets beyond those of files are nowhere either.
    if offset > i64::MAX.cast_unsigned() {
        return Ok(None);
    }
    match image.read_exact_at(&mut bytes, offset) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let header = FirmwareVolumeHeader::read_from_bytes(&bytes).ok();
    Ok(header.filter(|header| header.signature == FVH_SIGNATURE))
}
