//! Writing the contents of the files, which lie one behind the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::EspError;
use crate::container::Sink;
use crate::fs::file_source::{FileSource, open_source};
use crate::job::Job;
use crate::units::{GuestOffset, GuestRange, index, length};

/// How much is read and written at a time: whole clusters of qcow2 and of FAT, and little enough to stay in the
/// processor's cache until it is written.
const PIECE: u64 = 256 << 10;

/// A file, and the range of the disk that is written for it: its contents, then zeros.
pub type Placed<'c> = (&'c FileSource, GuestRange);

/// Writes `files`, sorted by their places. Small neighbours go out together, for a system call costs more than they
/// do. A large file of which the file system has several copies is read once, and all of them are written from
/// one buffer; only where clusters are compressed, which wait for one another in memory, all is written in order.
pub fn write(files: &[Placed<'_>], sink: &dyn Sink, job: &Job<'_>) -> Result<(), EspError> {
    let mut copies: BTreeMap<(&Path, u64), Vec<GuestRange>> = BTreeMap::new();
    if !sink.compresses() {
        for (content, range) in files {
            if let Some(source) = large_source(content) {
                copies.entry(source).or_default().push(range.clone());
            }
        }
    }
    let mut writer = Writer { sink, buffer: vec![0; index(PIECE)], filled: 0, start: GuestOffset(0) };
    for (content, range) in files {
        match large_source(content) {
            Some((path, size)) if sink.compresses() => {
                writer.copy(path, size, std::slice::from_ref(range), job)?;
            }
            Some((path, size)) => {
                // Those of the first copy are those of the others, too.
                let places = copies.remove(&(path, size)).unwrap_or_default();
                if !places.is_empty() {
                    writer.copy(path, size, &places, job)?;
                }
            }
            None => writer.push(content, range, job)?,
        }
    }
    writer.flush()
}

/// The file and the size of contents that are not gathered in the buffer.
fn large_source(content: &FileSource) -> Option<(&Path, u64)> {
    match content {
        FileSource::File { physical, size } if *size >= PIECE => Some((physical, *size)),
        _ => None,
    }
}

struct Writer<'s> {
    sink: &'s dyn Sink,
    buffer: Vec<u8>,
    /// The bytes of the buffer that are still to be written, from its beginning on.
    filled: usize,
    /// Where they go.
    start: GuestOffset,
}

impl Writer<'_> {
    /// Adds contents to what is in the buffer, which first makes room for them if it must.
    fn push(&mut self, content: &FileSource, range: &GuestRange, job: &Job<'_>) -> Result<(), EspError> {
        let end = self.start.advanced(length(self.filled));
        let room = length(self.buffer.len() - self.filled);
        if range.start != end || content.size() >= room {
            self.flush()?;
            self.start = range.start;
        }
        let zeros = (range.end.0 - range.start.0).saturating_sub(content.size());
        match content {
            FileSource::Bytes(bytes) => {
                for piece in bytes.chunks(self.buffer.len()) {
                    self.make_room(piece.len())?;
                    self.buffer[self.filled..][..piece.len()].copy_from_slice(piece);
                    self.filled += piece.len();
                }
            }
            FileSource::File { physical, size } => {
                let mut source = Source::open(physical, *size)?;
                let space = &mut self.buffer[self.filled..][..index(*size)];
                source.read(space)?;
                source.end()?;
                self.filled += index(*size);
            }
        }
        self.make_room(index(zeros))?;
        self.buffer[self.filled..][..index(zeros)].fill(0);
        self.filled += index(zeros);
        job.progress.advance(content.size());
        Ok(())
    }

    /// Writes a file to all of `places`, a piece at a time.
    fn copy(&mut self, path: &Path, size: u64, places: &[GuestRange], job: &Job<'_>) -> Result<(), EspError> {
        self.flush()?;
        let mut source = Source::open(path, size)?;
        let mut at = 0;
        while at < size {
            let read = PIECE.min(size - at);
            let (piece, behind) = self.buffer.split_at_mut(index(read));
            source.read(piece)?;
            // A piece that is not full is the last one, and zeros end with a cluster, so that they fit behind it.
            behind.fill(0);
            for place in places {
                let offset = place.start.advanced(at);
                let len = PIECE.min(place.end.0.saturating_sub(offset.0));
                write_piece(self.sink, offset, &self.buffer[..index(len)])?;
                job.progress.advance(read);
            }
            at += read;
        }
        source.end()
    }

    /// Empties the buffer if it has no room for so many bytes.
    fn make_room(&mut self, bytes: usize) -> Result<(), EspError> {
        if bytes > self.buffer.len() - self.filled { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), EspError> {
        if self.filled > 0 {
            write_piece(self.sink, self.start, &self.buffer[..self.filled])?;
            self.start = self.start.advanced(length(self.filled));
            self.filled = 0;
        }
        Ok(())
    }
}

fn write_piece(sink: &dyn Sink, offset: GuestOffset, bytes: &[u8]) -> Result<(), EspError> {
    sink.data(offset, bytes).map_err(|source| EspError::Write { source })
}

/// A file of this machine that must still have the size that it was planned with.
struct Source<'p> {
    file: File,
    path: &'p Path,
    size: u64,
}

impl<'p> Source<'p> {
    fn open(path: &'p Path, size: u64) -> Result<Self, EspError> {
        let read = |source| EspError::Read { path: path.display().to_string(), source };
        Ok(Self { file: open_source(path).map_err(read)?, path, size })
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), EspError> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.changed(),
            _ => self.failed(error),
        })
    }

    /// Checks that nothing follows.
    fn end(mut self) -> Result<(), EspError> {
        match self.file.read_exact(&mut [0]) {
            Ok(()) => Err(self.changed()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, source: io::Error) -> EspError {
        EspError::Read { path: self.path.display().to_string(), source }
    }

    fn changed(&self) -> EspError {
        EspError::Changed { path: self.path.display().to_string(), size: self.size }
    }
}
