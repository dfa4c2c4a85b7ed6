//! Writing the contents of the files, which lie one behind the other.

use std::collections::BTreeMap;
use std::path::Path;

use super::FatError;
use crate::container::Sink;
use crate::fs::file_source::FileSource;
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
pub fn write(files: &[Placed<'_>], sink: &dyn Sink, job: &Job<'_>) -> Result<(), FatError> {
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
        let places = match large_source(content) {
            None => {
                writer.push(content, range, job)?;
                continue;
            }
            Some(_) if sink.compresses() => vec![range.clone()],
            // Those of the first copy are those of the others, too.
            Some(source) => copies.remove(&source).unwrap_or_default(),
        };
        if !places.is_empty() {
            writer.copy(content, &places, job)?;
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
    fn push(&mut self, content: &FileSource, range: &GuestRange, job: &Job<'_>) -> Result<(), FatError> {
        let end = self.start.advanced(length(self.filled));
        let room = length(self.buffer.len() - self.filled);
        if range.start != end || content.size() >= room {
            self.flush()?;
            self.start = range.start;
        }
        let zeros = (range.end.0 - range.start.0).saturating_sub(content.size());
        let mut reader = content.open()?;
        for at in (0..content.size()).step_by(self.buffer.len()) {
            let count = index((content.size() - at).min(PIECE));
            self.make_room(count)?;
            reader.fill(&mut self.buffer[self.filled..][..count])?;
            self.filled += count;
        }
        reader.end()?;
        self.make_room(index(zeros))?;
        self.buffer[self.filled..][..index(zeros)].fill(0);
        self.filled += index(zeros);
        job.progress.advance(content.size());
        Ok(())
    }

    /// Writes a file to all of `places`, a piece at a time.
    fn copy(&mut self, content: &FileSource, places: &[GuestRange], job: &Job<'_>) -> Result<(), FatError> {
        self.flush()?;
        let mut reader = content.open()?;
        let size = content.size();
        for at in (0..size).step_by(self.buffer.len()) {
            let read = PIECE.min(size - at);
            let (piece, behind) = self.buffer.split_at_mut(index(read));
            reader.fill(piece)?;
            // A piece that is not full is the last one, and zeros end with a cluster, so that they fit behind it.
            behind.fill(0);
            for place in places {
                let offset = place.start.advanced(at);
                let len = PIECE.min(place.end.0.saturating_sub(offset.0));
                write_piece(self.sink, offset, &self.buffer[..index(len)])?;
                job.progress.advance(read);
            }
        }
        Ok(reader.end()?)
    }

    /// Empties the buffer if it has no room for so many bytes.
    fn make_room(&mut self, bytes: usize) -> Result<(), FatError> {
        if bytes > self.buffer.len() - self.filled { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), FatError> {
        if self.filled > 0 {
            write_piece(self.sink, self.start, &self.buffer[..self.filled])?;
            self.start = self.start.advanced(length(self.filled));
            self.filled = 0;
        }
        Ok(())
    }
}

fn write_piece(sink: &dyn Sink, offset: GuestOffset, bytes: &[u8]) -> Result<(), FatError> {
    sink.data(offset, bytes).map_err(|source| FatError::Write { source })
}
