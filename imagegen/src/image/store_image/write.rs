//! The threads that read, hash and write at once.
//!
//! Each thread takes store path after store path, the largest first; it reads a block, hashes it and writes it while
//! the bytes are in its cache (`lanes`). Where the image is compressed, it is different: compressing costs far more than
//! reading, so one thread reads in the order of the image, and all others compress what it has read.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use super::buffer::{self, Block, Pool};
use super::lanes::{self, Spare, Worker};
use super::read::{ReadError, Reading};
use super::share::Sharing;
use super::write_queue::{BlockWriter, Turns};
use super::{Plan, StoreImageError, Verified};
use crate::container::Sink;
use crate::job::Job;
use crate::nix::nar::Hasher;
use crate::units::{index, length};

/// How many blocks may wait to be compressed.
const WAITING_TO_COMPRESS: usize = 32;

/// Writes the image.
pub fn write<S: Sink>(plan: &Plan<'_>, sink: &S, job: &Job<'_>) -> Result<Verified, StoreImageError> {
    let compresses = sink.compresses();
    let mut order: Vec<usize> = (0..plan.sizes.len()).collect();
    if !compresses {
        // The largest first, so that all threads have work to the end.
        order.sort_by_key(|&i| std::cmp::Reverse(plan.sizes[i].aligned));
    }
    let pool = Pool::default();
    let stopped = AtomicBool::new(false);
    let work = Work {
        plan,
        verify: job.verify,
        reading: Reading {
            closure: plan.closure,
            file_system: &plan.file_system,
            store: plan.store,
            pool: &pool,
            progress: job.progress,
            // Whoever compresses waits for all planned bytes of a cluster.
            leaves_holes: !compresses,
            sharing: Sharing::new(sink),
            stopped: &stopped,
        },
        order,
        next: AtomicUsize::new(0),
        readers: if compresses { 1 } else { job.thread_count(readers_with_work(plan)) },
        has_pairs: !compresses && Hasher::two_are_faster(),
        left: AtomicU64::new(plan.sizes.iter().map(|size| size.aligned).sum()),
        outcome: Mutex::default(),
    };
    let writer = BlockWriter::new(sink, &pool, &stopped);
    if compresses {
        work.read_and_compress(sink, &writer, job.thread_count(blocks_of(plan)));
    } else {
        work.read_and_write(sink, &Turns::new(&writer));
    }
    if let Some(error) = writer.into_failure() {
        work.fail(StoreImageError::Contents(error));
    }
    work.outcome.into_inner().unwrap_or_else(PoisonError::into_inner).into_result()
}

/// How many threads can have a path, or help with one.
fn readers_with_work(plan: &Plan<'_>) -> usize {
    let large = plan.sizes.iter().filter(|size| size.aligned > lanes::ASIDE_MIN).count();
    (plan.sizes.len() + large).max(1)
}

/// How many blocks there are to compress, if no path has more of them than it needs.
fn blocks_of(plan: &Plan<'_>) -> usize {
    let blocks = plan.sizes.iter().map(|size| size.aligned.div_ceil(length(buffer::SIZE)));
    index(blocks.sum::<u64>()).max(1)
}

/// What the threads share.
pub struct Work<'a> {
    pub plan: &'a Plan<'a>,
    pub verify: bool,
    pub reading: Reading<'a>,
    /// The numbers of the paths in the order in which they are read.
    pub order: Vec<usize>,
    /// The first of them that nobody reads yet.
    pub next: AtomicUsize,
    /// How many threads read.
    pub readers: usize,
    /// Whether a thread may read two paths at once.
    pub has_pairs: bool,
    /// How many bytes of all paths are not read yet, with the zeros behind each file.
    pub left: AtomicU64,
    outcome: Mutex<Outcome>,
}

impl Work<'_> {
    fn read_and_write<S: Sink>(&self, sink: &S, turns: &Turns<'_, S>) {
        let spare = Spare::new(self.readers);
        std::thread::scope(|scope| {
            let worker = || Worker::new(self, &spare, scope, |block| turns.hand_on(block));
            let first = worker();
            let mut missing = self.readers - 1;
            while missing > 0 {
                let next = worker();
                if Builder::new().spawn_scoped(scope, move || next.run()).is_err() {
                    break;
                }
                missing -= 1;
            }
            // Fewer threads do the same, as long as nobody waits for the others.
            (0..missing).for_each(|_| spare.leave());
            self.write_metadata(sink);
            first.run();
        });
    }

    fn read_and_compress<S: Sink>(&self, sink: &S, writer: &BlockWriter<'_, S>, jobs: usize) {
        let spare = Spare::new(self.readers);
        std::thread::scope(|scope| {
            // Either side of the channel is closed once the threads that have it are gone.
            let (to_compress, waiting) = mpsc::sync_channel(WAITING_TO_COMPRESS);
            let waiting = Arc::new(Mutex::new(waiting));
            let hand_on = move |block| _ = to_compress.send(block);
            let reader = Worker::new(self, &spare, scope, hand_on);
            if Builder::new().spawn_scoped(scope, move || reader.run()).is_err() {
                // The only thread reads and compresses in turn.
                let reader = Worker::new(self, &spare, scope, |block| writer.write(block));
                self.write_metadata(sink);
                return reader.run();
            }
            for _ in 1..jobs {
                let waiting = Arc::clone(&waiting);
                if Builder::new().spawn_scoped(scope, move || compress(writer, &waiting)).is_err() {
                    break;
                }
            }
            self.write_metadata(sink);
            compress(writer, &waiting);
        });
    }

    fn write_metadata(&self, sink: &impl Sink) {
        if let Err(error) = self.plan.file_system.write_metadata(sink) {
            self.fail(StoreImageError::Metadata(error));
        }
    }

    /// Takes note of what became of a path.
    pub fn finish(&self, i: usize, result: Result<Checked, StoreImageError>) {
        if result.is_err() {
            self.reading.stopped.store(true, Ordering::Relaxed);
        }
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).add(i, result);
    }

    /// A failure that concerns all paths.
    fn fail(&self, error: StoreImageError) {
        self.finish(usize::MAX, Err(error));
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

/// Whether a path that was read was compared with its hash.
#[derive(Debug, Clone, Copy)]
pub enum Checked {
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
