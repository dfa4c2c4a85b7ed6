//! Where a file of the source has holes (lseek(2), `SEEK_DATA`). Their zeros are neither read nor written.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::host_file::{data_from, hole_from};

/// Smaller files are read whole: asking for their holes would take longer.
const SIZE_MIN: u64 = 1 << 20;
/// Holes count in whole pieces of this, the blocks of the image, so that what follows one begins in a block of its own.
const GRAIN: u64 = 4096;

/// What is known of the holes of a file. Asking for more moves the file's position.
pub struct Holes<'f> {
    /// None if the holes do not matter.
    file: Option<&'f File>,
    size: u64,
    /// The data that was found last. Between its start and where the search began is a hole.
    data: Range<u64>,
}

impl<'f> Holes<'f> {
    /// A file that is to be read to the end, from the start on.
    pub fn of(file: &'f File, size: u64) -> Self {
        let mut holes = Self { file: None, size, data: 0..size };
        if size >= SIZE_MIN {
            holes.file = Some(file);
            holes.data = 0..0;
        }
        holes
    }

    /// A file whose holes do not matter.
    pub fn ignored(size: u64) -> Self {
        Self { file: None, size, data: 0..size }
    }

    /// How many bytes of a hole, or of data, there are from the offset `at` on. Offsets must not decrease from call to call. If
    /// there is data, the file's position is `at` then.
    pub fn at(&mut self, at: u64) -> io::Result<Stretch> {
        if let Some(file) = self.file
            && at >= self.data.end
        {
            self.data = next_data(file, at, self.size)?;
            rustix::fs::seek(file, SeekFrom::Start(self.data.start.max(at)))?;
        }
        Ok(if at < self.data.start {
            Stretch::Hole(self.data.start - at)
        } else {
            Stretch::Data(self.data.end - at)
        })
    }
}

/// What a file has at an offset, and how many bytes of it.
pub enum Stretch {
    Hole(u64),
    Data(u64),
}

/// The next data at or behind an offset, widened to whole blocks; empty, at the end of the file, if there is none.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<Range<u64>> {
    // A hole up to the end.
    let Some(start) = data_from(file, at)? else { return Ok(size..size) };
    let end = match hole_from(file, start) {
        // It has become shorter meanwhile.
        Err(Errno::NXIO) => return Ok(size..size),
        found => found?.min(size),
    };
    let start = (start / GRAIN * GRAIN).clamp(at, size);
    Ok(start..end.next_multiple_of(GRAIN).clamp(start, size))
}
