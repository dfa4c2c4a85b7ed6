//! The threads that read, hash and write at once.
//!
//! Each thread takes store path after store path, the largest first; it reads a block, hashes it and writes it while
//! the bytes are in its cache. Once no path is left for a thread, it writes what another one reads, so that one huge path
//! uses several cores too. Where the image is compressed, it is different: compressing costs far more than
//! reading, so one thread reads in the order of the image, and all others compress what it has read.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use super::block::{Block, Pool};
use super::read::{ReadError, Reading};
use super::share::Sharing;
use super::turns::{BlockWriter, Turns};
use super::{Plan, StoreImageError, Verified};
use crate::closure::nar::Hasher;
use crate::container::Sink;
use crate::progress::Progress;
use crate::units::length;

/// A path with more bytes than this may have a second thread. One for each small path would cost more.
const ASIDE_MIN: u64 = 8 << 20;
/// How many blocks of a path may wait for its second thread.
const WAITING_ASIDE: usize = 16;
/// If fewer wait, the second thread has time to write one more.
const WAITING_LITTLE: usize = WAITING_ASIDE / 2;
/// Files with fewer bytes than this take longer to read than to hash, so the second thread of their path hashes too.
const SMALL_FILE: u64 = 16 << 10;
/// How many blocks may wait to be compressed.
const WAITING_TO_COMPRESS: usize = 32;

/// Writes the image with as many threads as the current rayon pool has.
pub fn write<S: Sink>(
    plan: &Plan<'_>,
    sink: &S,
    verify: bool,
    progress: &dyn Progress,
) -> Result<Verified, StoreImageError> {
    let jobs = rayon::current_num_threads().max(1);
    let compresses = sink.compresses();
    let mut order: Vec<usize> = (0..plan.sizes.len()).collect();
    if !compresses {
        // The largest first, so that all threads have work to the end.
        order.sort_by_key(|&i| std::cmp::Reverse(plan.sizes[i]));
    }
    let pool = Pool::default();
    let stopped = AtomicBool::new(false);
    let work = Work {
        plan,
        verify,
        reading: Reading {
            closure: plan.closure,
            file_system: &plan.file_system,
            store: plan.store,
            pool: &pool,
            progress,
            // Whoever compresses waits for all planned bytes of a cluster.
            leaves_holes: !compresses,
            sharing: Sharing::new(sink),
            stopped: &stopped,
        },
        order,
        next: AtomicUsize::new(0),
        idle: AtomicUsize::new(0),
        outcome: Mutex::default(),
    };
    let writer = BlockWriter::new(sink, &pool, &stopped);
    if compresses {
        work.read_and_compress(sink, &writer, jobs);
    } else {
        work.read_and_write(sink, &Turns::new(&writer), jobs);
    }
    if let Some(error) = writer.into_failure() {
        work.fail(StoreImageError::Contents(error));
    }
    work.outcome.into_inner().unwrap_or_else(PoisonError::into_inner).into_result()
}

/// What the threads share.
struct Work<'a> {
    plan: &'a Plan<'a>,
    verify: bool,
    reading: Reading<'a>,
    /// The numbers of the paths in the order in which they are read.
    order: Vec<usize>,
    /// The first of them that nobody reads yet.
    next: AtomicUsize,
    /// How many threads could help others.
    idle: AtomicUsize,
    outcome: Mutex<Outcome>,
}

impl Work<'_> {
    fn read_and_write<S: Sink>(&self, sink: &S, turns: &Turns<'_, S>, jobs: usize) {
        std::thread::scope(|scope| {
            let hand_on = |block| turns.hand_on(block);
            scope.spawn(move || {
                self.write_metadata(sink);
                self.read_paths(scope, &hand_on);
            });
            for _ in 1..jobs {
                scope.spawn(move || self.read_paths(scope, &hand_on));
            }
        });
    }

    fn read_and_compress<S: Sink>(&self, sink: &S, writer: &BlockWriter<'_, S>, jobs: usize) {
        let (to_compress, waiting) = mpsc::sync_channel(WAITING_TO_COMPRESS);
        let waiting = Mutex::new(waiting);
        std::thread::scope(|scope| {
            // All threads that compress end when the reading one has dropped its end of the channel.
            scope.spawn(move || {
                self.read_paths(scope, &move |block| _ = to_compress.send(block));
            });
            scope.spawn(|| {
                self.write_metadata(sink);
                compress(writer, &waiting);
            });
            for _ in 1..jobs {
                scope.spawn(|| compress(writer, &waiting));
            }
        });
    }

    fn write_metadata(&self, sink: &impl Sink) {
        if let Err(error) = self.plan.file_system.write_metadata(sink) {
            self.fail(StoreImageError::Metadata(error));
        }
    }

    /// Reads path after path, until all are read or somebody has failed.
    fn read_paths<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        hand_on: &(impl Fn(Arc<Block>) + Clone + Send + 's),
    ) {
        while let Some(&i) = self.order.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let result = self.read_path(i, scope, hand_on);
            if result.is_err() {
                self.reading.stopped.store(true, Ordering::Relaxed);
            }
            self.outcome.lock().unwrap_or_else(PoisonError::into_inner).add(i, result);
        }
        self.idle.fetch_add(1, Ordering::Relaxed);
    }

    fn read_path<'s>(
        &'s self,
        i: usize,
        scope: &'s Scope<'s, '_>,
        hand_on: &(impl Fn(Arc<Block>) + Clone + Send + 's),
    ) -> Result<Checked, StoreImageError> {
        let registered = &self.plan.closure.registration.paths()[i];
        let root = self.plan.closure.roots[i];
        let expected = registered.nar.filter(|_| self.verify).map(|nar| nar.hash);
        let is_hashed = expected.is_some();
        let may_have_help = self.plan.sizes[i] > ASIDE_MIN;
        let mut hasher = is_hashed.then(Hasher::default);
        let mut aside = None;
        self.reading.read(&registered.path, root, is_hashed, &mut |block| {
            if aside.is_none() && may_have_help && self.take_idle() {
                let hasher = if self.has_small_files(i) { hasher.take() } else { None };
                aside = Some(self.aside(scope, hasher, hand_on));
            }
            if let Some(hasher) = &mut hasher {
                block.hash(hasher);
            }
            let block = Arc::new(block);
            if let Some(aside) = &aside {
                if aside.has_time() {
                    return aside.take(block, true);
                }
                if aside.hashes {
                    aside.take(Arc::clone(&block), false);
                }
            }
            self.hand_on(block, hand_on);
        })?;
        if let Some(aside) = aside {
            hasher = aside.join()?.or(hasher);
            self.idle.fetch_add(1, Ordering::Relaxed);
        }
        let (Some(hasher), Some(expected)) = (hasher, expected) else { return Ok(Checked::No) };
        let found = hasher.finish();
        if found != expected {
            return Err(StoreImageError::Hash {
                path: registered.path.to_string(),
                found: found.to_string(),
                expected: expected.to_string(),
            });
        }
        Ok(Checked::Yes)
    }

    fn has_small_files(&self, i: usize) -> bool {
        let nodes = self.plan.closure.tree.subtree(self.plan.closure.roots[i]).len();
        self.plan.sizes[i] < SMALL_FILE * length(nodes)
    }

    /// A thread that writes while the next blocks are read, and goes on with a hash if it gets one. The bytes of a block
    /// are in the cache of the core that read them, and the hash suffers most if they have to be fetched from there.
    fn aside<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        mut hasher: Option<Hasher>,
        hand_on: &(impl Fn(Arc<Block>) + Clone + Send + 's),
    ) -> Aside<'s> {
        let (blocks, waiting) = mpsc::sync_channel::<(Arc<Block>, bool)>(WAITING_ASIDE);
        let hand_on = hand_on.clone();
        let is_for_hash = hasher.is_some();
        let count = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&count);
        let thread = scope.spawn(move || {
            for (block, to_write) in waiting {
                left.fetch_sub(1, Ordering::Relaxed);
                if let Some(hasher) = &mut hasher {
                    block.hash(hasher);
                }
                if to_write {
                    self.hand_on(block, &hand_on);
                } else {
                    self.reading.pool.put_back(block);
                }
            }
            hasher
        });
        Aside { blocks, count, hashes: is_for_hash, thread }
    }

    fn take_idle(&self) -> bool {
        let one_less = |idle: usize| idle.checked_sub(1);
        self.idle.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    fn hand_on(&self, block: Arc<Block>, hand_on: &impl Fn(Arc<Block>)) {
        if block.image().1.is_empty() {
            self.reading.pool.put_back(block);
        } else {
            hand_on(block);
        }
    }

    /// A failure that concerns all paths.
    fn fail(&self, error: StoreImageError) {
        self.reading.stopped.store(true, Ordering::Relaxed);
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).add(usize::MAX, Err(error));
    }
}

/// Compresses what comes.
fn compress(writer: &BlockWriter<'_, impl Sink>, waiting: &Mutex<Receiver<Arc<Block>>>) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(block) = next else { return };
        writer.write(block);
    }
}

/// The second thread of a path.
struct Aside<'s> {
    /// Blocks, and whether they are to be written too.
    blocks: SyncSender<(Arc<Block>, bool)>,
    /// How many of them wait.
    count: Arc<AtomicUsize>,
    hashes: bool,
    thread: ScopedJoinHandle<'s, Option<Hasher>>,
}

impl Aside<'_> {
    fn has_time(&self) -> bool {
        self.count.load(Ordering::Relaxed) < WAITING_LITTLE
    }

    fn take(&self, block: Arc<Block>, to_write: bool) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // The thread ends only when the channel is closed.
        _ = self.blocks.send((block, to_write));
    }

    fn join(self) -> Result<Option<Hasher>, ReadError> {
        drop(self.blocks);
        self.thread.join().map_err(|_| ReadError::Stopped)
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
