//! The two ends of a disk as a device, for the crate that writes partition tables.

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::disk::gpt::{BACKUP_SECTORS, PRIMARY_SECTORS};
use crate::units::{SECTOR, index, length};

/// A disk of which only what a GPT writes to is in memory. Between the two ends it holds nothing and takes nothing.
#[derive(Debug)]
pub(super) struct Ends {
    /// The disk's size in bytes.
    size: u64,
    position: u64,
    /// The first [`PRIMARY_SECTORS`].
    pub(super) head: Vec<u8>,
    /// The last [`BACKUP_SECTORS`].
    pub(super) tail: Vec<u8>,
}

impl Ends {
    /// Those of a disk of so many sectors, full of zeros.
    pub(super) fn new(sectors: u64) -> Self {
        let zeros = |sectors| vec![0; index(sectors * SECTOR)];
        Self {
            size: sectors * SECTOR,
            position: 0,
            head: zeros(PRIMARY_SECTORS),
            tail: zeros(BACKUP_SECTORS),
        }
    }

    /// What lies at the position, up to the end that it belongs to; the position moves on by `bytes` if they are there.
    fn next(&mut self, bytes: usize) -> io::Result<&mut [u8]> {
        let tail_start = self.size - length(self.tail.len());
        let (end, start) =
            if self.position < tail_start { (&mut self.head, 0) } else { (&mut self.tail, tail_start) };
        let at = index(self.position - start);
        let piece = end.get_mut(at..at + bytes);
        let piece = piece.ok_or_else(|| io::Error::other("neither end of the disk reaches so far"))?;
        self.position += length(bytes);
        Ok(piece)
    }
}

impl Read for Ends {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        bytes.copy_from_slice(self.next(bytes.len())?);
        Ok(bytes.len())
    }
}

impl Write for Ends {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.next(bytes.len())?.copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Ends {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let found = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.position = found.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
