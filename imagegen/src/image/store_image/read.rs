//! From the files of a store path to blocks, each byte read once.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::block_stream::{BlockStream, Slot};
use super::buffer::{Buffer, Pool, hash_zeros};
use super::holes::{Holes, Stretch};
use super::read_error::ReadError;
use super::reflink::{Next, Reflinks};
use crate::fs::ext4;
use crate::fs::file_source::open_source;
use crate::fs::file_tree::NodeId;
use crate::nix::closure::{Closure, Digest};
use crate::nix::nar::{self, Hasher, Step, Walk};
use crate::nix::store_path::StorePath;
use crate::progress::Progress;
use crate::units::{GuestOffset, index, length};

/// How many bytes of a file that goes to the NAR only are read at once.
const NAR_ONLY: u64 = 256 << 10;
/// How many zeros of a hole go into one block.
const ZEROS: u64 = 32 << 20;

/// What all threads that read have in common.
pub struct Reading<'a> {
    pub closure: &'a Closure,
    pub file_system: &'a ext4::Plan<'a>,
    /// The node of the file system's tree that is node 0 of the closure's.
    pub store: NodeId,
    pub pool: &'a Pool,
    pub progress: &'a dyn Progress,
    /// Whether what is not written to the image reads as zeros, so that holes of the source can be left out.
    pub leaves_holes: bool,
    pub reflinks: Reflinks<'a>,
    /// Set once a thread has failed.
    pub stopped: &'a AtomicBool,
}

impl Reading<'_> {
    /// Goes through a store path in the order of its NAR, block after block. Files whose contents are in the image under
    /// another name are left out unless the path `is_hashed`.
    pub fn blocks<'r>(&'r self, path: &'r StorePath, root: NodeId, is_hashed: bool) -> BlockStream<'r> {
        BlockStream::new(|slot| {
            self.read(path, root, Output { block: self.pool.take(), pool: self.pool, slot, is_hashed })
        })
    }

    async fn read(&self, path: &StorePath, root: NodeId, mut output: Output<'_>) -> Result<(), ReadError> {
        let mut walk = Walk::new(&self.closure.tree, root).at(self.closure.store.physical(path));
        while let Some(step) = output.block.append_to_nar(|framing| walk.next(framing)) {
            if let Step::Contents { file, size } = step {
                self.contents(walk.place(), file, size, &mut output).await?;
                output.block.append_to_nar(|framing| framing.extend_from_slice(nar::padding(size)));
            }
            if output.block.is_full() {
                output.hand_on().await;
            }
        }
        output.finish().await;
        Ok(())
    }

    /// Reads the contents of one file.
    async fn contents(
        &self,
        path: &Path,
        file: NodeId,
        size: u64,
        output: &mut Output<'_>,
    ) -> Result<(), ReadError> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(ReadError::Stopped);
        }
        // An empty file has nothing to read; that it is empty is what the scan found.
        if size == 0 {
            return Ok(());
        }
        let first_name = self.closure.tree.first_name(file);
        if first_name != file && !output.is_hashed {
            self.progress.advance(size);
            return Ok(());
        }
        let digest = Check::new(self.closure.linked.digest(first_name));
        if first_name == file {
            self.regular_file(path, file, size, digest, output).await
        } else {
            self.further_name(path, size, digest, output).await
        }
    }

    async fn regular_file(
        &self,
        path: &Path,
        file: NodeId,
        size: u64,
        mut check: Check<'_>,
        output: &mut Output<'_>,
    ) -> Result<(), ReadError> {
        let (changed, failed) = (ReadError::changed(path), ReadError::read(path));
        let source = Source::open(path)?;
        let mut holes = if self.leaves_holes { Holes::of(&source.file, size) } else { Holes::ignored(size) };
        let mut shared = if output.is_hashed || check.is_needed() {
            Reflinks::ignored(&source.file, path)
        } else {
            self.reflinks.of(&source.file, path, size)
        };
        let mut remaining = size;
        let mut at_end = false;
        for (start, bytes) in self.file_system.file_data(NodeId(self.store.0 + file.0)) {
            let mut done = 0;
            while done < bytes {
                let data = match holes.at(size - remaining).map_err(&failed)? {
                    Stretch::Data(data) => data.min(bytes - done),
                    Stretch::Hole(hole) => {
                        let skipped = hole.min(bytes - done);
                        self.hole(skipped, &mut check, output).await?;
                        done += skipped;
                        remaining -= skipped;
                        at_end = false;
                        continue;
                    }
                };
                let Next { settled, to_write: wanted } =
                    shared.next(size - remaining, start.advanced(done), data)?;
                if settled > 0 {
                    self.progress.advance(settled);
                    done += settled;
                    remaining -= settled;
                    at_end = false;
                }
                if wanted == 0 {
                    continue;
                }
                // One byte more than is due: a short answer then proves the file's end without another call.
                let one_more = u64::from(remaining == wanted);
                let room = output.room(start.advanced(done), wanted + one_more).await;
                let (got, asked) = source.read(room)?;
                check.update(&room[..index(got)]);
                if got > wanted {
                    return Err(changed(format!("it has more than {size} bytes now")));
                }
                if got == 0 {
                    return Err(changed(format!("it has {remaining} bytes less than {size}")));
                }
                output.block.fill(index(got));
                self.progress.advance(got);
                done += got;
                remaining -= got;
                at_end = got < asked;
            }
            output.block.align();
        }
        if remaining > 0 || !(at_end || source.read(&mut [0])?.0 == 0) {
            return Err(changed(format!("it has more than {size} bytes now")));
        }
        // A file that has become shorter looks as if it had a hole there.
        if !at_end && source.file.metadata().map_err(&failed)?.len() < size {
            return Err(changed(format!("it has less than {size} bytes now")));
        }
        check.finish(path, size)
    }

    /// Leaves the zeros of a hole out of the image; the NAR has them.
    async fn hole(
        &self,
        bytes: u64,
        check: &mut Check<'_>,
        output: &mut Output<'_>,
    ) -> Result<(), ReadError> {
        let mut left = bytes;
        while left > 0 {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(ReadError::Stopped);
            }
            let now = left.min(ZEROS);
            check.update_zeros(now);
            if output.is_hashed {
                output.block.append_zeros(now);
                output.hand_on().await;
            }
            self.progress.advance(now);
            left -= now;
        }
        Ok(())
    }

    /// Reads a file for the NAR only: its contents are in the image under another name.
    async fn further_name(
        &self,
        path: &Path,
        size: u64,
        mut check: Check<'_>,
        output: &mut Output<'_>,
    ) -> Result<(), ReadError> {
        let changed = ReadError::changed(path);
        let source = Source::open(path)?;
        let mut remaining = size;
        while remaining > 0 {
            if output.block.is_full() {
                output.hand_on().await;
            }
            let got = output.block.append_to_nar(|nar| {
                let start = nar.len();
                source.append(nar, remaining.min(NAR_ONLY))?;
                check.update(&nar[start..]);
                Ok(length(nar.len() - start))
            })?;
            if got == 0 {
                return Err(changed(format!("it has {remaining} bytes less than {size}")));
            }
            output.block.add_contents(got);
            self.progress.advance(got);
            remaining -= got;
        }
        if source.read(&mut [0])?.0 > 0 {
            return Err(changed(format!("it has more than {size} bytes now")));
        }
        check.finish(path, size)
    }
}

/// Compares the contents of a file with several names with what they were when the names were found to be equal.
struct Check<'d>(Option<(Hasher, &'d Digest)>);

impl<'d> Check<'d> {
    fn new(digest: Option<&'d Digest>) -> Self {
        Self(digest.map(|digest| (Hasher::default(), digest)))
    }

    /// Whether there is anything to compare with.
    fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some((hasher, _)) = &mut self.0 {
            hasher.update(bytes);
        }
    }

    fn update_zeros(&mut self, count: u64) {
        if let Some((hasher, _)) = &mut self.0 {
            hash_zeros(count, hasher);
        }
    }

    fn finish(self, path: &Path, size: u64) -> Result<(), ReadError> {
        let Some((mut hasher, expected)) = self.0 else { return Ok(()) };
        hasher.update(nar::padding(size));
        if hasher.finish().0 == *expected {
            return Ok(());
        }
        Err(ReadError::changed(path)("it had the contents of other files a moment ago".to_owned()))
    }
}

/// The block that is being filled, and what happens to it then.
struct Output<'o> {
    block: Buffer,
    pool: &'o Pool,
    slot: Slot,
    /// Whether somebody hashes the NAR.
    is_hashed: bool,
}

impl Output<'_> {
    /// Room for bytes at an offset of the image, in this block or a fresh one.
    async fn room(&mut self, offset: GuestOffset, wanted: u64) -> &mut [u8] {
        if !self.block.continues_at(offset) {
            self.hand_on().await;
        }
        self.block.room(offset, wanted)
    }

    async fn hand_on(&mut self) {
        if !self.block.is_empty() {
            let fresh = self.pool.take();
            self.slot.hand_on(std::mem::replace(&mut self.block, fresh)).await;
        }
    }

    /// Hands on the last block.
    async fn finish(self) {
        if self.block.is_empty() {
            self.pool.put_back(Arc::new(self.block));
        } else {
            self.slot.hand_on(self.block).await;
        }
    }
}

/// A file that is being read.
struct Source<'p> {
    path: &'p Path,
    file: File,
}

impl<'p> Source<'p> {
    fn open(path: &'p Path) -> Result<Self, ReadError> {
        Ok(Self { path, file: open_source(path).map_err(ReadError::read(path))? })
    }

    /// Appends as many bytes as are wanted, or fewer at the file's end.
    fn append(&self, bytes: &mut Vec<u8>, wanted: u64) -> Result<(), ReadError> {
        let read = (&self.file).take(wanted).read_to_end(bytes);
        read.map(drop).map_err(ReadError::read(self.path))
    }

    /// How many bytes were read into the room, and how many it would have held.
    fn read(&self, room: &mut [u8]) -> Result<(u64, u64), ReadError> {
        loop {
            match (&self.file).read(room) {
                Ok(read) => return Ok((length(read), length(room.len()))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::read(self.path)(error)),
            }
        }
    }
}
