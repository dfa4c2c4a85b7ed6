//! Where a file of the source has holes, whose zeros need not be read nor written (lseek(2), `SEEK_DATA`).

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::host_file::{data_from, hole_from};

/// Smaller files are read whole: to ask for their holes would take longer.
const SIZE_MIN: u64 = 1 << 20;
/// Holes count in whole pieces of this, the blocks of the image, so that what follows one begins in a block of its own.
const GRAIN: u64 = 4096;

/// What is known of the holes of a file. To ask for more moves the place at which the file is read.
pub struct Holes<'f> {
    /// Nothing if the file is taken to have none.
    file: Option<&'f File>,
    size: u64,
    /// The data that was found last; what was looked at before it is a hole.
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

    /// How many bytes of a hole there are from this place on, or of data; calls go from the start of the file to its end.
    /// The file is read from this place next if there is data.
    pub fn at(&mut self, place: u64) -> io::Result<Stretch> {
        if let Some(file) = self.file
            && place >= self.data.end
        {
            self.data = next_data(file, place, self.size)?;
            rustix::fs::seek(file, SeekFrom::Start(self.data.start.max(place)))?;
        }
        Ok(if place < self.data.start {
            Stretch::Hole(self.data.start - place)
        } else {
            Stretch::Data(self.data.end - place)
        })
    }
}

/// What there is in a file from a place on, and for how many bytes.
pub enum Stretch {
    Hole(u64),
    Data(u64),
}

/// The next data at or behind a place, with its edges moved outwards to whole blocks; empty at the end if there is none.
fn next_data(file: &File, place: u64, size: u64) -> io::Result<Range<u64>> {
    // A hole up to the end.
    let Some(start) = data_from(file, place)? else { return Ok(size..size) };
    let end = match hole_from(file, start) {
        // It has become shorter meanwhile.
        Err(Errno::NXIO) => return Ok(size..size),
        found => found?.min(size),
    };
    let start = (start / GRAIN * GRAIN).clamp(place, size);
    Ok(start..end.next_multiple_of(GRAIN).clamp(start, size))
}
