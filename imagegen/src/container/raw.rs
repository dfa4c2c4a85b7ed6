//! A raw image: the guest's bytes at the guest's offsets, and holes for zeros.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::reflink::reflink;
use super::{ContainerError, is_zero};
use crate::units::{ByteCount, GuestOffset, length};

/// Zeros shorter than this are written: most file systems make no smaller holes.
const HOLE: usize = 4096;

/// A raw image that is being written.
pub struct Writer<'f> {
    file: &'f File,
}

impl<'f> Writer<'f> {
    pub fn create(file: &'f File, size: ByteCount) -> Result<Self, ContainerError> {
        file.set_len(size.0).map_err(|source| match source.kind() {
            io::ErrorKind::FileTooLarge => ContainerError::FileTooLarge { size },
            _ => ContainerError::Io { action: "set the size of", source },
        })?;
        Ok(Self { file })
    }

    pub fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        // Most data has no zero stretch at all and is written in one call.
        let mut start = 0;
        for (i, piece) in bytes.chunks(HOLE).enumerate() {
            if piece.len() == HOLE && is_zero(piece) {
                let at = i * HOLE;
                self.write(offset, bytes, start, at)?;
                start = at + HOLE;
            }
        }
        self.write(offset, bytes, start, bytes.len())
    }

    pub fn reflink(&self, offset: GuestOffset, source: &File, range: Range<u64>) -> io::Result<bool> {
        reflink(source, range.start, range.end - range.start, self.file, offset.0)
    }

    fn write(&self, offset: GuestOffset, bytes: &[u8], start: usize, end: usize) -> io::Result<()> {
        if start == end {
            return Ok(());
        }
        self.file.write_all_at(&bytes[start..end], offset.advanced(length(start)).0)
    }
}
