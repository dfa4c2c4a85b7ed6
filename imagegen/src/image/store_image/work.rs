//! What the threads that write a store image have in common.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::read::Reading;
use super::read_error::ReadError;
use super::{Plan, StoreImageError, Verified};

/// The store paths that are to be read, and what became of those that were.
pub struct Work<'a> {
    pub plan: &'a Plan<'a>,
    pub verify: bool,
    pub reading: Reading<'a>,
    /// The numbers of the paths in the order in which they are read.
    pub order: Vec<usize>,
    /// The position in `order` of the first one that nobody reads yet.
    pub next: AtomicUsize,
    /// How many threads read.
    pub readers: usize,
    /// Whether a thread may read two paths at once.
    pub has_pairs: bool,
    /// How many bytes of all paths are still to be read, with the zeros behind each file.
    pub left: AtomicU64,
    pub outcome: Mutex<Outcome>,
}

impl<'a> Work<'a> {
    /// The number of the next path that nobody reads.
    pub fn next_path(&self) -> Option<usize> {
        self.order.get(self.next.fetch_add(1, Ordering::Relaxed)).copied()
    }

    /// Whether all paths are read, or being read.
    pub fn is_queue_empty(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.order.len()
    }

    /// Takes note of what became of a path: whether its hash was compared, or why it failed.
    pub fn finish(&self, i: usize, result: Result<bool, StoreImageError>) {
        if result.is_err() {
            self.stopped().store(true, Ordering::Relaxed);
        }
        self.outcome.lock().add(i, result);
    }

    /// A failure that concerns all paths.
    pub fn fail(&self, error: StoreImageError) {
        self.finish(usize::MAX, Err(error));
    }

    fn stopped(&self) -> &'a AtomicBool {
        self.reading.stopped
    }
}

/// What all threads found together.
#[derive(Default)]
pub struct Outcome {
    verified: Verified,
    /// Of several failures, that of the first path: which one came first in time is chance.
    failure: Option<(usize, StoreImageError)>,
}

impl Outcome {
    fn add(&mut self, i: usize, result: Result<bool, StoreImageError>) {
        match result {
            Ok(true) => self.verified.verified += 1,
            Ok(false) => self.verified.unverified += 1,
            Err(StoreImageError::Read(ReadError::Stopped)) => {}
            Err(error) if self.failure.as_ref().is_none_or(|(first, _)| i < *first) => {
                self.failure = Some((i, error));
            }
            Err(_) => {}
        }
    }

    pub fn into_result(self) -> Result<Verified, StoreImageError> {
        self.failure.map_or(Ok(self.verified), |(_, error)| Err(error))
    }
}
