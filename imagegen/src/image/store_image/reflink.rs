//! Large files whose blocks the image shares with the source, where the file system of both can do that (`FICLONERANGE`).
//!
//! The image has the same bytes as if they had been written. So the file is read all the same: its zeros are left out of
//! the image.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::SeekFrom;

use super::read_error::ReadError;
use crate::container::{REFLINK_PIECE, Sink, is_zero};
use crate::units::{GuestOffset, index};

/// Smaller files are written, many in one call.
const SIZE_MIN: u64 = 1 << 20;
/// Shorter runs between zeros are written: to share them would gain little, and leave the image in many pieces.
const RUN_MIN: u64 = 128 << 10;
/// How many bytes are searched for zeros before they are shared. They are read again if sharing is refused.
const RUN_MAX: u64 = 8 << 20;
/// File systems share whole blocks. They refuse where theirs are larger than the image's.
const BLOCK: u64 = 4096;

/// Whether the image can share blocks, as far as its threads know.
pub struct Reflinks<'s> {
    sink: &'s dyn Sink,
    refused: AtomicBool,
}

impl<'s> Reflinks<'s> {
    pub fn new(sink: &'s dyn Sink) -> Self {
        // A compressed image has none of the source's blocks.
        Self { sink, refused: AtomicBool::new(sink.compresses()) }
    }

    /// A file that is to be read to the end, from the start on, and that nobody hashes.
    pub fn of<'f>(&'f self, source: &'f File, path: &'f Path, size: u64) -> ReflinkedFile<'f> {
        let reflinks = (size >= SIZE_MIN).then_some(self);
        ReflinkedFile { reflinks, source, path, piece: Vec::new() }
    }

    /// A file whose bytes are needed.
    pub fn ignored<'f>(source: &'f File, path: &'f Path) -> ReflinkedFile<'f> {
        ReflinkedFile { reflinks: None, source, path, piece: Vec::new() }
    }
}

/// A file whose blocks the image is to share.
pub struct ReflinkedFile<'f> {
    /// None if its bytes are needed.
    reflinks: Option<&'f Reflinks<'f>>,
    source: &'f File,
    path: &'f Path,
    /// The piece that is searched.
    piece: Vec<u8>,
}

/// What became of some bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Next {
    /// The number of bytes that are in the image, or are zeros and left out. The file is read from behind them next.
    pub settled: u64,
    /// The number of bytes after these that are to be written.
    pub to_write: u64,
}

impl ReflinkedFile<'_> {
    /// Shares the first of `bytes` bytes from `from` on if it can; they belong to the image at `offset`. At least one byte is
    /// settled or to be written, if there are any.
    pub fn next(&mut self, from: u64, offset: GuestOffset, bytes: u64) -> Result<Next, ReadError> {
        let whole = (bytes / BLOCK * BLOCK).min(RUN_MAX);
        let (Some(reflinks), true) = (self.reflinks, whole >= RUN_MIN) else {
            return Ok(Next { settled: 0, to_write: bytes });
        };
        if reflinks.refused.load(Ordering::Relaxed) {
            return Ok(Next { settled: 0, to_write: bytes });
        }
        let Some((zeros, data)) = self.find_zeros(from, offset, whole)? else {
            // Whoever reads it finds its end.
            return Ok(Next { settled: 0, to_write: bytes });
        };
        let mut next = Next { settled: zeros, to_write: data };
        if data >= RUN_MIN {
            let range = from + zeros..from + zeros + data;
            let shared = reflinks.sink.reflink(offset.advanced(zeros), self.source, range);
            if shared.map_err(|source| ReadError::Share { path: self.path.to_owned(), source })? {
                next = Next { settled: zeros + data, to_write: 0 };
            } else {
                reflinks.refused.store(true, Ordering::Relaxed);
            }
        }
        if next.settled > 0 {
            rustix::fs::seek(self.source, SeekFrom::Start(from + next.settled))
                .map_err(|errno| ReadError::read(self.path)(errno.into()))?;
        }
        Ok(next)
    }

    /// How many bytes of zeros there are first, in whole pieces of the image, and how many of other pieces behind them; none
    /// if the file has become shorter.
    fn find_zeros(
        &mut self,
        from: u64,
        offset: GuestOffset,
        bytes: u64,
    ) -> Result<Option<(u64, u64)>, ReadError> {
        self.piece.resize(index(REFLINK_PIECE), 0);
        let mut zeros = 0;
        let mut at = 0;
        while at < bytes {
            let end = (offset.0 + at + 1).next_multiple_of(REFLINK_PIECE) - offset.0;
            let piece = &mut self.piece[..index(end.min(bytes) - at)];
            match self.source.read_exact_at(piece, from + at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(ReadError::read(self.path)(error)),
            }
            if is_zero(piece) {
                if at > zeros {
                    break;
                }
                zeros = end.min(bytes);
            }
            at = end.min(bytes);
        }
        Ok(Some((zeros, at - zeros)))
    }
}
