//! Threads that have no path left to read, and paths that others give to them.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

/// Threads that could help others, and the paths of type `P` on their way to them.
pub struct IdleThreads<P> {
    given: Mutex<Given<P>>,
    changed: Condvar,
    /// How many threads could help others.
    idle: AtomicUsize,
}

struct Given<P> {
    paths: Vec<P>,
    /// How many threads have a path, or will take one of these.
    busy: usize,
}

impl<P> IdleThreads<P> {
    /// Of this number of threads, all of which begin with paths of their own.
    pub fn new(threads: usize) -> Self {
        let given = Given { paths: Vec::new(), busy: threads };
        Self { given: Mutex::new(given), changed: Condvar::new(), idle: AtomicUsize::new(0) }
    }

    /// Reserves an idle thread, if there is one.
    pub fn reserve(&self) -> bool {
        let one_less = |idle: usize| idle.checked_sub(1);
        self.idle.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// Gives back a reserved thread.
    pub fn release(&self) {
        self.idle.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a path to the reserved thread.
    pub fn give(&self, path: P) {
        let mut given = self.given.lock();
        given.paths.push(path);
        given.busy += 1;
        self.changed.notify_one();
    }

    /// Waits until there is a path for this thread; none once there will be no more.
    pub fn wait(&self) -> Option<P> {
        self.release();
        self.leave();
        let mut given = self.given.lock();
        self.changed.wait_while(&mut given, |given| given.paths.is_empty() && given.busy > 0);
        given.paths.pop()
    }

    /// A thread has no path any more, or could not be started.
    pub fn leave(&self) {
        let mut given = self.given.lock();
        given.busy -= 1;
        if given.busy == 0 {
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn until(is_so: impl Fn() -> bool) {
        while !is_so() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_path_goes_to_a_thread_without_one_and_all_end_after_the_last() {
        let threads = IdleThreads::new(3);
        assert!(!threads.reserve(), "all threads have paths");
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let first = threads.wait();
                        (first, first.map(|_| threads.wait()))
                    })
                })
                .collect();
            until(|| threads.idle.load(Ordering::Relaxed) == 2);
            assert!(threads.reserve());
            threads.give(7);
            // The one that got it has come back.
            until(|| threads.idle.load(Ordering::Relaxed) == 2);
            assert!(waiting.iter().all(|thread| !thread.is_finished()), "one thread still has a path");
            assert_eq!(threads.wait(), None);
            let mut got: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
            got.sort_unstable();
            assert_eq!(got, [(None, None), (Some(7), Some(None))]);
        });
    }

    #[test]
    fn a_thread_that_was_reserved_for_something_else_is_not_given_a_path() {
        let threads = IdleThreads::new(2);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| threads.wait());
            until(|| threads.reserve());
            assert!(!threads.reserve());
            threads.release();
            assert!(threads.reserve());
            threads.give(1);
            assert_eq!(waiting.join().unwrap(), Some(1));
        });
    }
}
