//! A part of a disk, such as a partition.

use super::{ReadError, Source};
use crate::units::{GuestOffset, length};

/// A part of a disk that is read as if it were a disk of its own.
#[derive(Clone, Copy)]
pub struct Window<'s> {
    source: &'s dyn Source,
    start: u64,
    size: u64,
}

impl<'s> Window<'s> {
    /// The `size` bytes from `start` on; they must lie within the disk.
    pub fn new(source: &'s dyn Source, start: u64, size: u64) -> Result<Self, ReadError> {
        source.check(start, size)?;
        Ok(Self { source, start, size })
    }
}

impl Source for Window<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        self.check(offset, length(buffer.len()))?;
        self.source.read_at(buffer, self.start + offset)
    }

    fn guest_offset(&self, offset: u64) -> Option<GuestOffset> {
        self.source.guest_offset(self.start.saturating_add(offset))
    }

    fn data_from(&self, offset: u64) -> Result<u64, ReadError> {
        let found = self.source.data_from(self.start.saturating_add(offset))?;
        Ok(found.saturating_sub(self.start).clamp(offset, self.size.max(offset)))
    }
}
