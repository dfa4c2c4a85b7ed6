//! Files of this machine: opened without waiting, and asked where they have data and where holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

/// Opens a file for reading. Of a pipe, nobody waits for the other end, and reading does not wait either.
///
/// # Errors
/// What the system says (open(2)).
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    open_with(path, OFlags::empty())
}

/// The same with more flags.
pub(crate) fn open_with(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = (flags | OFlags::NONBLOCK).bits().try_into().map_err(io::Error::other)?;
    File::options().read(true).custom_flags(flags).open(path)
}

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
