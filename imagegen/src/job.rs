//! How work is done: on how many threads, with or without verification, and who is told of its progress.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use rayon::ThreadPoolBuilder;

use crate::progress::{Progress, Silent};

/// No operation starts more threads than this.
const THREADS_MAX: usize = 1024;
/// Nor more for each processor, unless these are few: threads that look for work keep others from theirs, and a thousand
/// of them took seconds over one file.
const THREADS_OF_A_PROCESSOR: usize = 4;
const FEW_THREADS: usize = 64;

/// How an operation does its work. The bytes of an image do not depend on it.
///
/// ```
/// use imagegen::job::Job;
///
/// let job = Job::default().threads(std::num::NonZeroUsize::new(2)).verify(false);
/// ```
#[derive(Clone, Copy)]
pub struct Job<'p> {
    threads: Option<NonZeroUsize>,
    pub(crate) verify: bool,
    pub(crate) progress: &'p dyn Progress,
}

impl Default for Job<'_> {
    /// A thread for each processor, with verification; nobody is told of the progress.
    fn default() -> Self {
        Self { threads: None, verify: true, progress: &Silent }
    }
}

impl<'p> Job<'p> {
    /// The number of threads; none stands for one for each processor. There are fewer where there is less to do, and where
    /// a limit on processes or memory lets fewer start.
    #[must_use]
    pub const fn threads(mut self, threads: Option<NonZeroUsize>) -> Self {
        self.threads = threads;
        self
    }

    /// Whether store paths are compared with the sizes and hashes of their registration.
    #[must_use]
    pub const fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Who is told of the progress.
    #[must_use]
    pub const fn progress<'q>(self, progress: &'q dyn Progress) -> Job<'q>
    where
        'p: 'q,
    {
        Job { progress, ..self }
    }

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
