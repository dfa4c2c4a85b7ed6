//! A second thread for one store path.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use super::buffer::{Block, Hashed};
use crate::nix::nar::Hasher;

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
    /// Starts it. `done` gets every block in the end, and whether it is to be written. If no thread can be started, the
    /// hasher is given back.
    pub fn start(
        scope: &'s Scope<'s, '_>,
        hasher: Option<Hasher>,
        done: impl Fn(Arc<Block>, bool) + Send + 's,
    ) -> Result<Self, Option<Hasher>> {
        let (blocks, waiting) = mpsc::sync_channel::<(Arc<Block>, bool)>(WAITING);
        let is_for_hash = hasher.is_some();
        let count = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&count);
        // A thread that does not start takes all that was given to it along.
        let given = Arc::new(Mutex::new(hasher));
        let take =
            |given: &Mutex<Option<Hasher>>| given.lock().unwrap_or_else(PoisonError::into_inner).take();
        let theirs = Arc::clone(&given);
        let run = move || {
            let mut hasher = take(&theirs);
            for (block, to_write) in waiting {
                left.fetch_sub(1, Ordering::Relaxed);
                if let Some(hasher) = &mut hasher {
                    block.hash(&mut Hashed::default(), hasher);
                }
                done(block, to_write);
            }
            hasher
        };
        match Builder::new().spawn_scoped(scope, run) {
            Ok(thread) => Ok(Self { blocks, count, hashes: is_for_hash, thread }),
            Err(_) => Err(take(&given)),
        }
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
