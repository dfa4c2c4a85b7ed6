//! How many threads an operation starts, and the pool that they are in.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use rayon::ThreadPoolBuilder;

use super::Job;

/// No operation starts more threads than this.
const THREADS_MAX: usize = 1024;
/// Nor more for each processor, unless these are few: threads that look for work keep others from theirs, and a thousand
/// of them took seconds over one file.
const THREADS_OF_A_PROCESSOR: usize = 4;
const FEW_THREADS: usize = 64;

impl Job<'_> {
    /// How many threads to start for work that at most `useful` of them can share.
    pub(crate) fn thread_count(&self, useful: usize) -> usize {
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        let most = useful.min(FEW_THREADS.max(THREADS_OF_A_PROCESSOR * processors));
        self.threads.map_or(processors, NonZeroUsize::get).min(most).clamp(1, THREADS_MAX)
    }

    /// Does work with rayon's parallel iterators, scopes and broadcasts, on a pool of its own.
    pub(crate) fn on_threads<R: Send>(&self, useful: usize, work: impl FnOnce() -> R + Send) -> R {
        let mut count = self.thread_count(useful);
        while count > 0 {
            if let Ok(pool) = ThreadPoolBuilder::new().num_threads(count).build() {
                return pool.install(work);
            }
            count /= 2;
        }
        // No thread can be started. Fails only if this thread is in a pool already, which then does the work.
        if let Ok(pool) = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
            // A thread cannot leave its pool, and a pool that has ended takes no work: this one stays for the next time.
            std::mem::forget(pool);
        }
        work()
    }
}
