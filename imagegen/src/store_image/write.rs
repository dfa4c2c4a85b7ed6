//! The threads that read, hash and write at once.
//!
//! Several threads read store paths, the largest first. A large path has a second thread for its hash, so that one
//! huge path uses several cores too. A single thread writes: a file system lets only one at a time write to a file
//! anyway, and the others would wait for it instead of hashing. Where the image is compressed, it is the other way
//! round: compressing costs far more than reading, so one thread reads in the order of the image, and all others
//! compress what it has read.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use super::block::{Block, Pool};
use super::read::{ReadError, Reading};
use super::{Plan, StoreImageError, Verified};
use crate::closure::NarHash;
use crate::closure::nar::Hasher;
use crate::container::Sink;
use crate::progress::Progress;

/// A path with more bytes than this is hashed on a thread of its own. A thread for each small path would cost more.
const HASH_ASIDE: u64 = 8 << 20;
/// How many blocks of a path may wait for its hash.
const WAITING_TO_HASH: usize = 16;
/// How many blocks may wait to be written.
const WAITING_TO_WRITE: usize = 32;

/// Writes the image with as many threads as the current rayon pool has.
pub fn write<S: Sink>(
    plan: &Plan<'_>,
    sink: &S,
    verify: bool,
    progress: &dyn Progress,
) -> Result<Verified, StoreImageError> {
    let jobs = rayon::current_num_threads().max(1);
    let (readers, writers) = if sink.compresses() { (1, jobs) } else { (jobs, 1) };
    let mut order: Vec<usize> = (0..plan.sizes.len()).collect();
    if !sink.compresses() {
        // The largest first, so that all threads have work to the end.
        order.sort_by_key(|&i| std::cmp::Reverse(plan.sizes[i]));
    }
    let pool = Pool::default();
    let stopped = AtomicBool::new(false);
    let work = Work {
        plan,
        verify,
        hash_aside: if jobs > 1 { HASH_ASIDE } else { u64::MAX },
        reading: Reading {
            closure: plan.closure,
            file_system: &plan.file_system,
            store: plan.store,
            pool: &pool,
            progress,
            // Whoever compresses waits for all planned bytes of a cluster.
            leaves_holes: !sink.compresses(),
            stopped: &stopped,
        },
        order,
        next: AtomicUsize::new(0),
        outcome: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let (to_write, waiting) = mpsc::sync_channel(WAITING_TO_WRITE);
        let waiting = Arc::new(Mutex::new(waiting));
        for first in (0..writers).map(|writer| writer == 0) {
            let (work, waiting) = (&work, Arc::clone(&waiting));
            scope.spawn(move || work.write_blocks(sink, first, &waiting));
        }
        for _ in 0..readers {
            let (work, to_write) = (&work, to_write.clone());
            scope.spawn(move || work.read_paths(&to_write));
        }
    });
    work.outcome.into_inner().unwrap_or_else(PoisonError::into_inner).into_result()
}

/// What the threads share.
struct Work<'a> {
    plan: &'a Plan<'a>,
    verify: bool,
    /// The number of bytes above which a path's hash gets a thread.
    hash_aside: u64,
    reading: Reading<'a>,
    /// The numbers of the paths in the order in which they are read.
    order: Vec<usize>,
    /// The first of them that nobody reads yet.
    next: AtomicUsize,
    outcome: Mutex<Outcome>,
}

impl Work<'_> {
    /// Reads path after path, until all are read or somebody has failed.
    fn read_paths(&self, to_write: &SyncSender<Arc<Block>>) {
        while let Some(&i) = self.order.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let result = self.read_path(i, to_write);
            if result.is_err() {
                self.reading.stopped.store(true, Ordering::Relaxed);
            }
            self.outcome.lock().unwrap_or_else(PoisonError::into_inner).add(i, result);
        }
    }

    fn read_path(&self, i: usize, to_write: &SyncSender<Arc<Block>>) -> Result<Checked, StoreImageError> {
        let registered = &self.plan.closure.registration.paths()[i];
        let root = self.plan.closure.roots[i];
        let Some(nar) = registered.nar.filter(|_| self.verify) else {
            self.reading
                .read(&registered.path, root, false, &mut |block| self.hand_on(Arc::new(block), to_write))?;
            return Ok(Checked::No);
        };
        let found = if self.plan.sizes[i] > self.hash_aside {
            self.hash_aside(i, to_write)?
        } else {
            let mut hasher = Hasher::default();
            self.reading.read(&registered.path, root, true, &mut |block| {
                block.hash(&mut hasher);
                self.hand_on(Arc::new(block), to_write);
            })?;
            hasher.finish()
        };
        if found != nar.hash {
            return Err(StoreImageError::Hash {
                path: registered.path.to_string(),
                found: found.to_string(),
                expected: nar.hash.to_string(),
            });
        }
        Ok(Checked::Yes)
    }

    /// Reads a path while another thread hashes what was read.
    fn hash_aside(&self, i: usize, to_write: &SyncSender<Arc<Block>>) -> Result<NarHash, ReadError> {
        let path = &self.plan.closure.registration.paths()[i].path;
        std::thread::scope(|scope| {
            let (to_hash, waiting) = mpsc::sync_channel::<Arc<Block>>(WAITING_TO_HASH);
            let hash_thread = scope.spawn(move || {
                let mut hasher = Hasher::default();
                for block in waiting {
                    block.hash(&mut hasher);
                    self.reading.pool.put_back(block);
                }
                hasher.finish()
            });
            let result = self.reading.read(path, self.plan.closure.roots[i], true, &mut |block| {
                let block = Arc::new(block);
                // The thread ends only when the channel is closed.
                let _ = to_hash.send(Arc::clone(&block));
                self.hand_on(block, to_write);
            });
            drop(to_hash);
            let hash = hash_thread.join().map_err(|_| ReadError::Stopped)?;
            result.map(|()| hash)
        })
    }

    fn hand_on(&self, block: Arc<Block>, to_write: &SyncSender<Arc<Block>>) {
        if block.image().1.is_empty() {
            self.reading.pool.put_back(block);
        } else {
            // The threads that write end only when the channel is closed.
            let _ = to_write.send(block);
        }
    }

    /// Writes what comes, after the metadata if this is the `first` such thread. Once somebody has failed, what comes
    /// is dropped, so that nobody waits.
    fn write_blocks(&self, sink: &impl Sink, first: bool, waiting: &Mutex<Receiver<Arc<Block>>>) {
        if first && let Err(error) = self.plan.file_system.write_metadata(sink) {
            self.fail(StoreImageError::Metadata(error));
        }
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(block) = next else { return };
            if !self.reading.stopped.load(Ordering::Relaxed) {
                let (offset, bytes) = block.image();
                if let Err(error) = sink.data(offset, bytes) {
                    self.fail(StoreImageError::Contents(error));
                }
            }
            self.reading.pool.put_back(block);
        }
    }

    /// A failure that concerns all paths.
    fn fail(&self, error: StoreImageError) {
        self.reading.stopped.store(true, Ordering::Relaxed);
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).add(usize::MAX, Err(error));
    }
}

/// Whether a path that was read was compared with its hash.
#[derive(Debug, Clone, Copy)]
enum Checked {
    Yes,
    No,
}

/// What all threads found together.
#[derive(Default)]
struct Outcome {
    verified: Verified,
    /// Of several failures, that of the first path: which one came first in time is chance.
    failure: Option<(usize, StoreImageError)>,
}

impl Outcome {
    fn add(&mut self, i: usize, result: Result<Checked, StoreImageError>) {
        match result {
            Ok(Checked::Yes) => self.verified.verified += 1,
            Ok(Checked::No) => self.verified.unverified += 1,
            Err(StoreImageError::Read(ReadError::Stopped)) => {}
            Err(error) => {
                if self.failure.as_ref().is_none_or(|(first, _)| i < *first) {
                    self.failure = Some((i, error));
                }
            }
        }
    }

    fn into_result(self) -> Result<Verified, StoreImageError> {
        self.failure.map_or(Ok(self.verified), |(_, error)| Err(error))
    }
}
