//! From the files of a store path to the NAR hash and the image, each byte read once.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::closure::nar::{self, Hasher, Step, Walk};
use crate::closure::{Closure, NarHash};
use crate::container::Sink;
use crate::ext4;
use crate::progress::Progress;
use crate::store_path::StorePath;
use crate::tree::NodeId;
use crate::units::{index, length};

/// How many bytes are read, hashed and written in one piece. Large enough that the calls do not count, small
/// enough to stay in a core's cache from the read to the hash.
const BLOCK: usize = 512 << 10;
/// A path with more bytes than this is hashed on a thread of its own, beside the one that reads and writes, so that
/// a closure with one huge path does not wait for one core. A thread for each small path would cost more.
const HASH_ASIDE: u64 = 8 << 20;
/// How many blocks may wait for the hashing thread.
const WAITING_BLOCKS: usize = 3;

/// Why a file could not be copied into the image.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The source is not what it was a moment ago.
    #[error("`{path}` changed while it was read: {change}; nothing may write to the store meanwhile")]
    Changed {
        /// The file.
        path: String,
        /// What happened to it.
        change: String,
    },
    /// The target.
    #[error("cannot write the contents of `{path}` to the image")]
    Write {
        /// The source file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another thread has failed; its error is the one to show.
    #[error("stopped because of another error")]
    Stopped,
}

/// What all threads that copy have in common.
pub struct Copying<'a, S> {
    closure: &'a Closure,
    file_system: &'a ext4::Plan<'a>,
    /// The node of the file system's tree that is node 0 of the closure's.
    store: NodeId,
    sink: &'a S,
    progress: &'a dyn Progress,
    stopped: AtomicBool,
}

impl<'a, S: Sink> Copying<'a, S> {
    pub fn new(
        closure: &'a Closure,
        file_system: &'a ext4::Plan<'a>,
        store: NodeId,
        sink: &'a S,
        progress: &'a dyn Progress,
    ) -> Self {
        Self { closure, file_system, store, sink, progress, stopped: AtomicBool::new(false) }
    }

    /// Makes every thread end soon with [`CopyError::Stopped`].
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Copies a store path without looking at its hash.
    pub fn copy(&self, path: &StorePath, root: NodeId) -> Result<(), CopyError> {
        self.stream(path, root, |block| block.filled = 0)
    }

    /// Copies a store path of `size` bytes and hashes its NAR on the way.
    pub fn copy_and_hash(&self, path: &StorePath, root: NodeId, size: u64) -> Result<NarHash, CopyError> {
        if size <= HASH_ASIDE {
            let mut hasher = Hasher::default();
            self.stream(path, root, |block| {
                hasher.update(block.bytes());
                block.filled = 0;
            })?;
            return Ok(hasher.finish());
        }
        std::thread::scope(|scope| {
            let (full, to_hash) = mpsc::sync_channel::<Block>(WAITING_BLOCKS);
            let (done, empty) = mpsc::channel();
            let hash_thread = scope.spawn(move || {
                let mut hasher = Hasher::default();
                for mut block in to_hash {
                    hasher.update(block.bytes());
                    block.filled = 0;
                    // Nobody takes the block back once the last one is read.
                    let _ = done.send(block);
                }
                hasher.finish()
            });
            let result = self.stream(path, root, |block| hand_over(block, &full, &empty));
            drop(full);
            let hash = hash_thread.join().map_err(|_| CopyError::Stopped)?;
            result.map(|()| hash)
        })
    }

    /// Goes through the NAR of a store path: file contents are written to the image, and `flush` gets each block
    /// of the NAR and leaves an empty one.
    fn stream(
        &self,
        path: &StorePath,
        root: NodeId,
        mut flush: impl FnMut(&mut Block),
    ) -> Result<(), CopyError> {
        let mut place = self.closure.store.physical(path);
        let mut walk = Walk::new(&self.closure.tree, root);
        let mut block = Block::new();
        let mut framing = Vec::new();
        while let Some(step) = walk.next(&mut framing) {
            block.append(&framing, &mut flush);
            framing.clear();
            match step {
                Step::Framing => {}
                Step::Enter(node) if node == root => {}
                Step::Enter(node) => place.push(self.name(node)),
                Step::Leave => {
                    // Leaving the root pops the store path itself, after its last file.
                    place.pop();
                }
                Step::Contents { file, size } if file == root => {
                    self.contents(&place, file, size, &mut block, &mut flush)?;
                }
                Step::Contents { file, size } => {
                    place.push(self.name(file));
                    self.contents(&place, file, size, &mut block, &mut flush)?;
                    place.pop();
                }
            }
        }
        flush(&mut block);
        Ok(())
    }

    fn name(&self, node: NodeId) -> &OsStr {
        OsStr::from_bytes(self.closure.tree.name(node))
    }

    /// Copies the contents of one file.
    fn contents(
        &self,
        path: &Path,
        file: NodeId,
        size: u64,
        block: &mut Block,
        flush: &mut impl FnMut(&mut Block),
    ) -> Result<(), CopyError> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(CopyError::Stopped);
        }
        let read_error = |source| CopyError::Read { path: path.display().to_string(), source };
        let changed = |change| CopyError::Changed { path: path.display().to_string(), change };

        // A symbolic link in the place of the file is refused (ELOOP), a fifo does not block.
        let no_follow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(no_follow.bits()).unwrap_or_default();
        let mut source = File::options().read(true).custom_flags(flags).open(path).map_err(read_error)?;
        let mut pieces = self.file_system.file_data(NodeId(self.store.0 + file.0));
        let mut piece = None;
        let mut remaining = size;
        loop {
            // One byte more than is due: a short answer then proves the file's end without another call.
            let room = block.room(remaining.saturating_add(1), flush);
            let asked = length(room.len());
            let read = match source.read(room) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(error)),
            };
            let got = length(read);
            if got > remaining {
                return Err(changed(format!("it has more than {size} bytes now")));
            }
            let mut fresh = &room[..read];
            while !fresh.is_empty() {
                let Some((offset, left)) = piece.filter(|&(_, left)| left > 0).or_else(|| pieces.next())
                else {
                    // The plan covers the whole size.
                    return Err(changed("it is longer than planned".into()));
                };
                let (now, rest) = fresh.split_at(index(left.min(length(fresh.len()))));
                self.sink
                    .data(offset, now)
                    .map_err(|source| CopyError::Write { path: path.display().to_string(), source })?;
                piece = Some((offset.advanced(length(now.len())), left - length(now.len())));
                fresh = rest;
            }
            block.filled += read;
            remaining -= got;
            self.progress.advance(got);
            if got < asked && remaining == 0 {
                break;
            }
            if got == 0 {
                return Err(changed(format!("it has {remaining} bytes less than {size}")));
            }
        }
        block.append(nar::padding(size), flush);
        Ok(())
    }
}

/// Sends a full block to the hashing thread and puts an empty one in its place.
fn hand_over(block: &mut Block, full: &SyncSender<Block>, empty: &Receiver<Block>) {
    let fresh = empty.try_recv().unwrap_or_else(|_| Block::new());
    // The thread ends only when the channel is closed.
    let _ = full.send(std::mem::replace(block, fresh));
}

/// A piece of a NAR.
struct Block {
    buffer: Box<[u8]>,
    filled: usize,
}

impl Block {
    fn new() -> Self {
        Self { buffer: vec![0; BLOCK].into_boxed_slice(), filled: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Appends framing, which may be longer than what is left of the block.
    fn append(&mut self, mut bytes: &[u8], flush: &mut impl FnMut(&mut Self)) {
        while !bytes.is_empty() {
            let room = self.room(length(bytes.len()), flush);
            let (now, rest) = bytes.split_at(room.len().min(bytes.len()));
            room.copy_from_slice(now);
            self.filled += now.len();
            bytes = rest;
        }
    }

    /// At least one and at most `wanted` bytes to fill; a full block is flushed first.
    fn room(&mut self, wanted: u64, flush: &mut impl FnMut(&mut Self)) -> &mut [u8] {
        if self.filled == self.buffer.len() {
            flush(self);
        }
        let left = self.buffer.len() - self.filled;
        let wanted = usize::try_from(wanted).map_or(left, |wanted| wanted.min(left));
        &mut self.buffer[self.filled..][..wanted]
    }
}
