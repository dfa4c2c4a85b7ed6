//! A second thread for one store path.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::{Scope, ScopedJoinHandle};

use super::block::{Block, Hashed};
use crate::closure::nar::Hasher;

/// How many blocks may wait for the second thread.
const WAITING: usize = 16;
/// If fewer wait, it has time to write one more.
const WAITING_LITTLE: usize = WAITING / 2;

/// A thread that writes while the next blocks are read, and goes on with a hash if it gets one. The bytes of a block
/// are in the cache of the core that read them, and the hash suffers most if they have to be fetched from there.
pub struct Aside<'s> {
    /// Blocks, and whether they are to be written too.
    blocks: SyncSender<(Arc<Block>, bool)>,
    /// How many of them wait.
    count: Arc<AtomicUsize>,
    hashes: bool,
    thread: ScopedJoinHandle<'s, Option<Hasher>>,
}

impl<'s> Aside<'s> {
    /// Starts it. `done` gets every block in the end, and whether it is to be written.
    pub fn start(
        scope: &'s Scope<'s, '_>,
        mut hasher: Option<Hasher>,
        done: impl Fn(Arc<Block>, bool) + Send + 's,
    ) -> Self {
        let (blocks, waiting) = mpsc::sync_channel::<(Arc<Block>, bool)>(WAITING);
        let is_for_hash = hasher.is_some();
        let count = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&count);
        let thread = scope.spawn(move || {
            for (block, to_write) in waiting {
                left.fetch_sub(1, Ordering::Relaxed);
                if let Some(hasher) = &mut hasher {
                    block.hash(&mut Hashed::default(), hasher);
                }
                done(block, to_write);
            }
            hasher
        });
        Self { blocks, count, hashes: is_for_hash, thread }
    }

    /// Whether it hashes the blocks that it takes.
    pub fn hashes(&self) -> bool {
        self.hashes
    }

    /// Whether it could write one more.
    pub fn has_time(&self) -> bool {
        self.count.load(Ordering::Relaxed) < WAITING_LITTLE
    }

    /// Gives it a block, `to_write` or to hash only.
    pub fn take(&self, block: Arc<Block>, to_write: bool) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // The thread ends only when the channel is closed.
        _ = self.blocks.send((block, to_write));
    }

    /// Waits until it is done with all blocks, and gives the hash back.
    pub fn join(self) -> Option<Hasher> {
        drop(self.blocks);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
