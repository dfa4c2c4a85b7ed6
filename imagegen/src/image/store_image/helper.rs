//! A second thread for one large store path.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use super::buffer::{Buffer, Hashed};
use crate::nix::nar::Hasher;

/// How many blocks may wait for the helper.
const WAITING: usize = 16;
/// While fewer wait, it has time to write one more.
const WAITING_FEW: usize = WAITING / 2;

/// Writes blocks while the next ones are read. It goes on with the path's hash too if it gets one.
pub struct Helper<'s> {
    /// Blocks, and whether they are to be written.
    blocks: SyncSender<(Arc<Buffer>, bool)>,
    /// How many of them wait.
    count: Arc<AtomicUsize>,
    hashes: bool,
    thread: ScopedJoinHandle<'s, Option<Hasher>>,
}

impl<'s> Helper<'s> {
    /// Starts it. `done` gets every block in the end, and whether it is to be written.
    pub fn start(
        scope: &'s Scope<'s, '_>,
        mut hasher: Option<Hasher>,
        done: impl Fn(Arc<Buffer>, bool) + Send + 's,
    ) -> io::Result<Self> {
        let (blocks, waiting) = mpsc::sync_channel::<(Arc<Buffer>, bool)>(WAITING);
        let with_hash = hasher.is_some();
        let count = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&count);
        let thread = Builder::new().spawn_scoped(scope, move || {
            for (block, to_write) in waiting {
                left.fetch_sub(1, Ordering::Relaxed);
                if let Some(hasher) = &mut hasher {
                    block.hash(&mut Hashed::default(), hasher);
                }
                done(block, to_write);
            }
            hasher
        })?;
        Ok(Self { blocks, count, hashes: with_hash, thread })
    }

    /// Whether it hashes the blocks that it takes.
    pub fn hashes(&self) -> bool {
        self.hashes
    }

    /// Whether it could write one more block soon.
    pub fn has_time(&self) -> bool {
        self.count.load(Ordering::Relaxed) < WAITING_FEW
    }

    /// Gives it a block, `to_write` or only to hash.
    pub fn take(&self, block: Arc<Buffer>, to_write: bool) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // The thread ends only when the channel is closed.
        _ = self.blocks.send((block, to_write));
    }

    /// Waits until all blocks are done, and gives the hash back.
    pub fn join(self) -> Option<Hasher> {
        drop(self.blocks);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
