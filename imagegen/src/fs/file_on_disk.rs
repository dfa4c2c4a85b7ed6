//! A file of a file system that is read: which of its bytes lie where on the disk.

use crate::container::reader::{ReadError, Source};
use crate::units::{GuestOffset, index, length};

/// A file that can be read at any offset.
pub struct FileOnDisk<'s> {
    disk: &'s dyn Source,
    size: u64,
    /// In the file's order. What lies in none of them reads as zeros.
    pieces: Vec<Piece>,
}

/// Bytes of a file that lie side by side on the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// The first one's offset in the file.
    pub start: u64,
    /// Where it is on the disk.
    pub place: u64,
    /// Their number.
    pub length: u64,
}

impl<'s> FileOnDisk<'s> {
    pub(super) fn new(disk: &'s dyn Source, size: u64, pieces: Vec<Piece>) -> Self {
        Self { disk, size, pieces }
    }

    /// All of it; it must be known to be small.
    pub fn read(&self) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; index(self.size)];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Where a byte is, unless it is in a hole, and for how many bytes from it on that goes on.
    fn locate(&self, offset: u64) -> (Option<u64>, u64) {
        let next = self.pieces.partition_point(|piece| piece.start + piece.length <= offset);
        match self.pieces.get(next) {
            Some(piece) if piece.start <= offset => {
                let within = offset - piece.start;
                (Some(piece.place + within), piece.length - within)
            }
            Some(piece) => (None, piece.start - offset),
            None => (None, u64::MAX - offset),
        }
    }
}

impl Source for FileOnDisk<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> Result<(), ReadError> {
        while !buffer.is_empty() {
            let (place, count) = self.locate(offset);
            let (piece, rest) = buffer.split_at_mut(index(count.min(length(buffer.len()))));
            match place {
                Some(place) => self.disk.read_at(piece, place)?,
                None => piece.fill(0),
            }
            offset += length(piece.len());
            buffer = rest;
        }
        Ok(())
    }

    fn data_from(&self, mut offset: u64) -> Result<u64, ReadError> {
        while offset < self.size {
            let (place, count) = self.locate(offset);
            if let Some(place) = place {
                let zeros = self.disk.data_from(place)? - place;
                if zeros < count {
                    return Ok((offset + zeros).min(self.size));
                }
            }
            offset = offset.saturating_add(count);
        }
        Ok(self.size)
    }

    fn guest_offset(&self, offset: u64) -> Option<GuestOffset> {
        self.disk.guest_offset(self.locate(offset).0?)
    }
}
