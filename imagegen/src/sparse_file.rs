//! Where a file has data and where holes, as far as its file system tells (lseek(2), `SEEK_DATA` and `SEEK_HOLE`).
//!
//! Both calls move the place at which the file is read.

use std::fs::File;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// The first byte at or behind a place that lies in no hole; nothing if only a hole is left, or nothing at all. Where
/// nobody tells, as on block devices, all is data.
///
/// # Errors
/// What the system says.
pub fn data_from(file: &File, place: u64) -> Result<Option<u64>, Errno> {
    match rustix::fs::seek(file, SeekFrom::Data(place)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(place)),
        Err(errno) => Err(errno),
    }
}

/// Where the data at a place ends: at the next hole, or at the file's end. Where nobody tells, `u64::MAX`.
///
/// # Errors
/// `ENXIO` if the file ends before, and what else the system says.
pub fn hole_from(file: &File, place: u64) -> Result<u64, Errno> {
    match rustix::fs::seek(file, SeekFrom::Hole(place)) {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(u64::MAX),
        found => found,
    }
}
