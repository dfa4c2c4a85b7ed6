//! Threads to work on: as many as are asked for, as can have something to do, and as may be started.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use anyhow::Context;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// More threads than this are never started.
const THREADS_MAX: usize = 1024;
/// Nor more for each processor, unless these are few: threads that look for work keep others from theirs, and a thousand
/// of them took seconds over one file.
const THREADS_OF_A_PROCESSOR: usize = 4;
const FEW_THREADS: usize = 64;

/// The threads of a command.
pub struct Threads {
    /// Nothing where this thread is a pool of its own already.
    pool: Option<ThreadPool>,
}

impl Threads {
    /// So many threads, or one for each processor, but `at_most` as many as can have work. Where a limit on processes or
    /// memory lets fewer start, there are fewer; this thread is always left.
    pub fn start(jobs: Option<NonZeroUsize>, at_most: usize) -> anyhow::Result<Self> {
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        let with_work = at_most.min(FEW_THREADS.max(THREADS_OF_A_PROCESSOR * processors));
        let mut count = jobs.map_or(processors, NonZeroUsize::get).min(with_work).clamp(1, THREADS_MAX);
        while count > 0 {
            if let Ok(pool) = ThreadPoolBuilder::new().num_threads(count).build() {
                return Ok(Self { pool: Some(pool) });
            }
            count /= 2;
        }
        if rayon::current_thread_index().is_some() {
            return Ok(Self { pool: None });
        }
        let alone = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
        Ok(Self { pool: Some(alone.context("cannot start threads")?) })
    }

    /// Does the work on them.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}
