//! A part of a disk, such as a partition, as a place to write to.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::{REFLINK_PIECE, Sink};
use crate::units::{GuestOffset, GuestRange};

/// A sink whose offset zero is somewhere in another one.
pub struct Part<'s, S: ?Sized> {
    disk: &'s S,
    start: GuestOffset,
}

impl<'s, S: Sink + ?Sized> Part<'s, S> {
    /// The part of `disk` that begins at `start`.
    pub fn new(disk: &'s S, start: GuestOffset) -> Self {
        Self { disk, start }
    }
}

impl<S: Sink + ?Sized> Sink for Part<'_, S> {
    fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        self.disk.data(self.start.advanced(offset.0), bytes)
    }

    fn reflink(&self, offset: GuestOffset, source: &File, range: Range<u64>) -> io::Result<bool> {
        // Elsewhere the pieces of the part would not be those of the disk.
        if !self.start.0.is_multiple_of(REFLINK_PIECE) {
            return Ok(false);
        }
        self.disk.reflink(self.start.advanced(offset.0), source, range)
    }

    fn compresses(&self) -> bool {
        self.disk.compresses()
    }
}

/// Ranges of a part that begins at `start`, as ranges of the disk.
pub fn ranges_of_part(start: GuestOffset, ranges: Vec<GuestRange>) -> impl Iterator<Item = GuestRange> {
    ranges.into_iter().map(move |range| start.advanced(range.start.0)..start.advanced(range.end.0))
}
