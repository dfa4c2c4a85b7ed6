//! Files of this machine: opened without waiting, and asked where they have data and where holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

/// How many symbolic links a path may lead through, by Linux (`path_resolution(7)`).
pub(crate) const LINKS_MAX: usize = 40;

/// Opens a file for reading. Neither opening nor reading a pipe waits for its other end.
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

/// The first byte from `offset` on that lies in no hole; nothing if a hole or nothing follows. All is data where the system
/// does not tell, as on block devices.
///
/// # Errors
/// What the system says.
pub fn data_from(file: &File, offset: u64) -> Result<Option<u64>, Errno> {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
        Err(errno) => Err(errno),
    }
}

/// Where the data at `offset` ends: at the next hole, or at the file's end; `u64::MAX` where the system does not tell.
///
/// # Errors
/// `ENXIO` if the file ends before, and what else the system says.
pub fn hole_from(file: &File, offset: u64) -> Result<u64, Errno> {
    match rustix::fs::seek(file, SeekFrom::Hole(offset)) {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(u64::MAX),
        found => found,
    }
}
