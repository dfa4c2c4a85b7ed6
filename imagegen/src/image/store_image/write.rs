//! The threads that write a store image.
//!
//! Each takes store path after store path, the largest first ([`Worker`]). It is different where the image is compressed:
//! compressing costs far more than reading, so one thread reads in the order of the image, and all others compress what it
//! has read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::{self, Receiver};
use std::thread::Builder;

use parking_lot::Mutex;

use super::buffer::{self, Buffer, Pool};
use super::idle_threads::IdleThreads;
use super::read::Reading;
use super::reflink::Reflinks;
use super::work::Work;
use super::worker::{HELPED_MIN, Worker};
use super::write_queue::{BlockWriter, WriteQueue};
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
            reflinks: Reflinks::new(sink),
            stopped: &stopped,
        },
        order,
        next: AtomicUsize::new(0),
        readers: if compresses { 1 } else { job.thread_count(readers_with_work(plan)) },
        has_pairs: !compresses && Hasher::pairs_are_faster(),
        left: AtomicU64::new(plan.sizes.iter().map(|size| size.aligned).sum()),
        outcome: Mutex::default(),
    };
    let writer = BlockWriter::new(sink, &pool, &stopped);
    if compresses {
        work.read_and_compress(sink, &writer, job.thread_count(blocks_of(plan)));
    } else {
        work.read_and_write(sink, &WriteQueue::new(&writer));
    }
    if let Some(error) = writer.into_failure() {
        work.fail(StoreImageError::Contents(error));
    }
    work.outcome.into_inner().into_result()
}

/// How many threads can have a path, or help with one.
fn readers_with_work(plan: &Plan<'_>) -> usize {
    let large = plan.sizes.iter().filter(|size| size.aligned > HELPED_MIN).count();
    (plan.sizes.len() + large).max(1)
}

/// How many blocks there are to compress, if no path has more of them than it needs.
fn blocks_of(plan: &Plan<'_>) -> usize {
    let blocks = plan.sizes.iter().map(|size| size.aligned.div_ceil(length(buffer::SIZE)));
    index(blocks.sum::<u64>()).max(1)
}

impl Work<'_> {
    fn read_and_write<S: Sink>(&self, sink: &S, queue: &WriteQueue<'_, S>) {
        let idle = IdleThreads::new(self.readers);
        std::thread::scope(|scope| {
            let worker = || Worker::new(self, &idle, scope, |block| queue.hand_on(block));
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
            (0..missing).for_each(|_| idle.leave());
            self.write_metadata(sink);
            first.run();
        });
    }

    fn read_and_compress<S: Sink>(&self, sink: &S, writer: &BlockWriter<'_, S>, jobs: usize) {
        let idle = IdleThreads::new(self.readers);
        std::thread::scope(|scope| {
            // Either side of the channel is closed once the threads that have it are gone.
            let (to_compress, waiting) = mpsc::sync_channel(WAITING_TO_COMPRESS);
            let waiting = Arc::new(Mutex::new(waiting));
            let hand_on = move |block| _ = to_compress.send(block);
            let reader = Worker::new(self, &idle, scope, hand_on);
            if Builder::new().spawn_scoped(scope, move || reader.run()).is_err() {
                // The only thread reads and compresses in turn.
                let reader = Worker::new(self, &idle, scope, |block| writer.write(block));
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
}

/// Compresses what comes.
fn compress(writer: &BlockWriter<'_, impl Sink>, waiting: &Mutex<Receiver<Arc<Buffer>>>) {
    loop {
        let next = waiting.lock().recv();
        let Ok(block) = next else { return };
        writer.write(block);
    }
}
