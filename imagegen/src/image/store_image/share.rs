//! Large files whose blocks the image shares with the source, where the file system of both can do that.
//!
//! The image has the same bytes as if they had been written. So the file is read all the same, for what is zeros: those
//! are left out of the image.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::SeekFrom;

use super::read::ReadError;
use crate::container::{REFLINK_PIECE, Sink, is_zero};
use crate::units::{GuestOffset, index};

/// Smaller files are written, many in one call.
const SIZE_MIN: u64 = 1 << 20;
/// Shorter stretches between zeros are written, lest the image be in many pieces for little gain.
const STRETCH_MIN: u64 = 128 << 10;
/// How much is looked at before it is shared; it is read again where that is refused.
const STRETCH_MAX: u64 = 8 << 20;
/// File systems share whole blocks. Where they are larger than those of the image they refuse.
const BLOCK: u64 = 4096;

/// Whether the image can share blocks, as far as its threads have found out.
pub struct Sharing<'s> {
    sink: &'s dyn Sink,
    refused: AtomicBool,
}

impl<'s> Sharing<'s> {
    pub fn new(sink: &'s dyn Sink) -> Self {
        // Whoever compresses waits for all bytes, and has no use for blocks.
        Self { sink, refused: AtomicBool::new(sink.compresses()) }
    }

    /// A file that is to be read to the end, from the start on, and that nobody hashes.
    pub fn of<'f>(&'f self, source: &'f File, path: &'f Path, size: u64) -> SharedFile<'f> {
        let sharing = (size >= SIZE_MIN).then_some(self);
        SharedFile { sharing, source, path, piece: Vec::new() }
    }

    /// A file whose bytes are needed.
    pub fn ignored<'f>(source: &'f File, path: &'f Path) -> SharedFile<'f> {
        SharedFile { sharing: None, source, path, piece: Vec::new() }
    }
}

/// A file whose blocks the image is to share.
pub struct SharedFile<'f> {
    /// Nothing if none of them.
    sharing: Option<&'f Sharing<'f>>,
    source: &'f File,
    path: &'f Path,
    /// The piece that is looked at.
    piece: Vec<u8>,
}

/// What became of some bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Next {
    /// So many are in the image, or are zeros and left out; the file is read from behind them next.
    pub settled: u64,
    /// So many after these are to be written.
    pub to_write: u64,
}

impl SharedFile<'_> {
    /// Looks at `bytes` of the file from `place` on, which belong to the image at `offset`, and shares those at the
    /// beginning if it can. At least one is settled or to be written, if there are any.
    pub fn next(&mut self, place: u64, offset: GuestOffset, bytes: u64) -> Result<Next, ReadError> {
        let whole = (bytes / BLOCK * BLOCK).min(STRETCH_MAX);
        let (Some(sharing), true) = (self.sharing, whole >= STRETCH_MIN) else {
            return Ok(Next { settled: 0, to_write: bytes });
        };
        if sharing.refused.load(Ordering::Relaxed) {
            return Ok(Next { settled: 0, to_write: bytes });
        }
        let Some((zeros, data)) = self.look_at(place, offset, whole)? else {
            // Whoever reads it finds its end.
            return Ok(Next { settled: 0, to_write: bytes });
        };
        let mut next = Next { settled: zeros, to_write: data };
        if data >= STRETCH_MIN {
            let range = place + zeros..place + zeros + data;
            let shared = sharing.sink.reflink(offset.advanced(zeros), self.source, range);
            let shared = shared.map_err(|source| ReadError::Share { path: self.name(), source })?;
            if shared {
                next = Next { settled: zeros + data, to_write: 0 };
            } else {
                sharing.refused.store(true, Ordering::Relaxed);
            }
        }
        if next.settled > 0 {
            rustix::fs::seek(self.source, SeekFrom::Start(place + next.settled))
                .map_err(|errno| self.failed(errno.into()))?;
        }
        Ok(next)
    }

    /// How many bytes of zeros there are first, in whole pieces of the image, and then of pieces that are not zeros;
    /// nothing if the file has become shorter.
    fn look_at(
        &mut self,
        place: u64,
        offset: GuestOffset,
        bytes: u64,
    ) -> Result<Option<(u64, u64)>, ReadError> {
        self.piece.resize(index(REFLINK_PIECE), 0);
        let mut zeros = 0;
        let mut at = 0;
        while at < bytes {
            let end = (offset.0 + at + 1).next_multiple_of(REFLINK_PIECE) - offset.0;
            let piece = &mut self.piece[..index(end.min(bytes) - at)];
            match self.source.read_exact_at(piece, place + at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(self.failed(error)),
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

    fn failed(&self, source: io::Error) -> ReadError {
        ReadError::Read { path: self.name(), source }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}
