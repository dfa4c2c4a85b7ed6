//! What each thread does: it reads a store path, or two at once, hashes it and writes it.
//!
//! Two paths at once are hashed in less time than one after the other, since the rounds of one hash fill the pauses of
//! the other. But each of them takes longer, so the path that would be the last one to be done is read alone. Once no path
//! is left for a thread, it gets one of those that another thread has two of, or writes what another one reads, so
//! that one huge path uses several cores too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use super::StoreImageError;
use super::aside::Aside;
use super::block_stream::Blocks;
use super::buffer::{Block, Hashed};
use super::read::ReadError;
use super::write::{Checked, Work};
use crate::nix::NarHash;
use crate::nix::nar::Hasher;
use crate::units::length;

/// A path with more bytes than this may have a second thread. One for each small path would cost more.
pub const ASIDE_MIN: u64 = 8 << 20;
/// A path with fewer bytes than this is not given to another thread.
const GIVEN_MIN: u64 = 1 << 20;
/// Files with fewer bytes than this take longer to read than to hash, so the second thread of their path hashes too.
const SMALL_FILE: u64 = 16 << 10;

/// A store path that a thread is reading.
struct Lane<'w> {
    /// Its number.
    i: usize,
    blocks: Blocks<'w>,
    /// How many bytes of its files are not read yet, with the zeros behind each file.
    left: u64,
    /// Nothing if the path is not hashed, or by its second thread.
    hasher: Option<Hasher>,
    expected: Option<NarHash>,
    /// The block that was read last, and how much of it is hashed.
    block: Option<(Block, Hashed)>,
}

impl Lane<'_> {
    /// Hashes what is left of the block that was read last, and gives it away.
    fn finish_block(&mut self) -> Option<Arc<Block>> {
        let (block, mut done) = self.block.take()?;
        if let Some(hasher) = &mut self.hasher {
            block.hash(&mut done, hasher);
        }
        Some(Arc::new(block))
    }
}

/// Threads that have nothing to read, and paths that others give to them.
pub struct Spare<'w> {
    given: Mutex<Given<'w>>,
    changed: Condvar,
    /// How many threads could help others.
    idle: AtomicUsize,
}

struct Given<'w> {
    lanes: Vec<Lane<'w>>,
    /// How many threads have a path, or will take one of these.
    busy: usize,
}

impl<'w> Spare<'w> {
    /// So many threads, all of which begin with paths of their own.
    pub fn new(threads: usize) -> Self {
        let given = Given { lanes: Vec::new(), busy: threads };
        Self { given: Mutex::new(given), changed: Condvar::new(), idle: AtomicUsize::new(0) }
    }

    /// Takes a thread that can help, if there is one.
    fn take_idle(&self) -> bool {
        let one_less = |idle: usize| idle.checked_sub(1);
        self.idle.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// Gives it back.
    fn put_back_idle(&self) {
        self.idle.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a path to the thread that was taken.
    fn give(&self, lane: Lane<'w>) {
        let mut given = self.lock();
        given.lanes.push(lane);
        given.busy += 1;
        self.changed.notify_one();
    }

    /// Waits until there is a path for this thread; nothing once there will be none.
    fn wait(&self) -> Option<Lane<'w>> {
        self.put_back_idle();
        self.leave();
        let nothing_yet = |given: &mut Given<'w>| given.lanes.is_empty() && given.busy > 0;
        let waited = self.changed.wait_while(self.lock(), nothing_yet);
        waited.unwrap_or_else(PoisonError::into_inner).lanes.pop()
    }

    /// A thread has no path any more, or could not be started.
    pub fn leave(&self) {
        let mut given = self.lock();
        given.busy -= 1;
        if given.busy == 0 {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Given<'w>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that reads.
pub struct Worker<'s, 'w, 'e, H> {
    work: &'w Work<'w>,
    spare: &'s Spare<'w>,
    scope: &'s Scope<'s, 'e>,
    /// Takes blocks once they are hashed.
    hand_on: H,
    /// Helps with the path that is read, which is only one then.
    aside: Option<Aside<'s>>,
    /// Whether such a thread could be started the last time.
    can_start: bool,
}

impl<H> Drop for Worker<'_, '_, '_, H> {
    fn drop(&mut self) {
        // The others would wait for it.
        if std::thread::panicking() {
            self.spare.leave();
        }
    }
}

impl<'s, 'w: 's, 'e, H: Fn(Arc<Block>) + Clone + Send + 's> Worker<'s, 'w, 'e, H> {
    /// One of the threads that `spare` was made for.
    pub fn new(work: &'w Work<'w>, spare: &'s Spare<'w>, scope: &'s Scope<'s, 'e>, hand_on: H) -> Self {
        Self { work, spare, scope, hand_on, aside: None, can_start: true }
    }

    /// Reads paths until there are none, or somebody has failed.
    pub fn run(mut self) {
        let mut lanes = Vec::with_capacity(2);
        loop {
            self.choose(&mut lanes);
            self.read(&mut lanes);
            match &mut lanes[..] {
                [] if self.is_queue_empty() => match self.spare.wait() {
                    Some(lane) => lanes.push(lane),
                    None => return,
                },
                [lane] => self.hash_and_write(lane),
                [a, b] if self.should_go_alone(a, b) => self.hash_and_write_alone(a),
                [a, b] if self.should_go_alone(b, a) => self.hash_and_write_alone(b),
                [a, b] => self.hash_and_write_two([a, b]),
                _ => {}
            }
        }
    }

    /// Begins with another path, or gives one away.
    fn choose(&self, lanes: &mut Vec<Lane<'w>>) {
        match &lanes[..] {
            [] => lanes.extend(self.next_lane()),
            [lane] if self.should_add_to(lane) => lanes.extend(self.next_lane()),
            [_, lane] if lane.left >= GIVEN_MIN && self.spare.take_idle() => {
                if let Some(lane) = lanes.pop() {
                    self.spare.give(lane);
                }
            }
            _ => {}
        }
    }

    /// The next path that nobody reads.
    fn next_lane(&self) -> Option<Lane<'w>> {
        let Work { plan, reading, .. } = self.work;
        let &i = self.work.order.get(self.work.next.fetch_add(1, Ordering::Relaxed))?;
        let registered = &plan.closure.registration.paths()[i];
        let expected = registered.nar.filter(|_| self.work.verify).map(|nar| nar.hash);
        Some(Lane {
            i,
            blocks: reading.blocks(&registered.path, plan.closure.roots[i], expected.is_some()),
            left: plan.sizes[i].aligned,
            hasher: expected.is_some().then(Hasher::default),
            expected,
            block: None,
        })
    }

    fn is_queue_empty(&self) -> bool {
        self.work.next.load(Ordering::Relaxed) >= self.work.order.len()
    }

    /// Whether to read a second path too.
    fn should_add_to(&self, lane: &Lane<'w>) -> bool {
        self.work.has_pairs && lane.hasher.is_some() && !self.is_queue_empty() && !self.is_behind(lane)
    }

    /// Whether a path has more left than its share, if all threads read two at once to the end. It would be done after
    /// all others then.
    fn is_behind(&self, lane: &Lane<'w>) -> bool {
        let paths_at_once = 2 * length(self.work.readers);
        lane.left > self.work.left.load(Ordering::Relaxed) / paths_at_once
    }

    /// Whether to go on with this path of two alone for a while: one that is behind, or the larger one if they are the last
    /// of the queue, so that both have as much left when another thread can take one of them.
    fn should_go_alone(&self, lane: &Lane<'w>, other: &Lane<'w>) -> bool {
        if self.is_queue_empty() {
            lane.left > other.left + GIVEN_MIN
        } else {
            self.is_behind(lane) && !self.is_behind(other)
        }
    }

    /// Reads the next block of every path that has none, and takes those out that are at their end.
    fn read(&mut self, lanes: &mut Vec<Lane<'w>>) {
        let mut number = 0;
        while let Some(lane) = lanes.get_mut(number) {
            if lane.block.is_some() {
                number += 1;
                continue;
            }
            match lane.blocks.next() {
                Some(Ok(block)) => {
                    let read = block.contents().min(lane.left);
                    lane.left -= read;
                    self.work.left.fetch_sub(read, Ordering::Relaxed);
                    lane.block = Some((block, Hashed::default()));
                }
                Some(Err(error)) => self.finish(lanes.remove(number), Err(error)),
                None => self.finish(lanes.remove(number), Ok(())),
            }
        }
    }

    fn hash_and_write(&mut self, lane: &mut Lane<'w>) {
        let is_fresh = matches!(&lane.block, Some((_, done)) if *done == Hashed::default());
        if lane.left > ASIDE_MIN
            && is_fresh
            && self.aside.is_none()
            && self.can_start
            && self.spare.take_idle()
        {
            self.start_aside(lane);
        }
        let Some(block) = lane.finish_block() else { return };
        if let Some(aside) = &self.aside {
            if aside.has_time() {
                return aside.take(block, true);
            }
            if aside.hashes() {
                aside.take(Arc::clone(&block), false);
            }
        }
        (self.hand_on)(block);
    }

    /// Lets the other path wait.
    fn hash_and_write_alone(&self, lane: &mut Lane<'w>) {
        if let Some(block) = lane.finish_block() {
            (self.hand_on)(block);
        }
    }

    /// Hashes two blocks until one of them is done, and writes that.
    fn hash_and_write_two(&self, lanes: [&mut Lane<'w>; 2]) {
        let [a, b] = lanes;
        if let (Some((block_a, done_a)), Some((block_b, done_b))) = (&mut a.block, &mut b.block)
            && let (Some(hasher_a), Some(hasher_b)) = (&mut a.hasher, &mut b.hasher)
        {
            Block::hash_two([block_a, block_b], [done_a, done_b], [hasher_a, hasher_b]);
        }
        for lane in [a, b] {
            let is_done =
                |(block, done): &mut (Block, Hashed)| lane.hasher.is_none() || block.is_hashed(done);
            if let Some((block, _)) = lane.block.take_if(is_done) {
                (self.hand_on)(Arc::new(block));
            }
        }
    }

    /// Starts a second thread that writes, and goes on with the hash where that takes long. Where there may be no more
    /// threads, this one does without.
    fn start_aside(&mut self, lane: &mut Lane<'w>) {
        let hasher = if self.has_small_files(lane.i) { lane.hasher.take() } else { None };
        let pool = self.work.reading.pool;
        let hand_on = self.hand_on.clone();
        let started = Aside::start(self.scope, hasher, move |block: Arc<Block>, to_write| {
            if to_write {
                hand_on(block);
            } else {
                pool.put_back(block);
            }
        });
        match started {
            Ok(aside) => self.aside = Some(aside),
            Err(hasher) => {
                lane.hasher = hasher.or(lane.hasher.take());
                self.can_start = false;
                self.spare.put_back_idle();
            }
        }
    }

    fn has_small_files(&self, i: usize) -> bool {
        let Work { plan, .. } = self.work;
        let nodes = plan.closure.tree.subtree(plan.closure.roots[i]).len();
        plan.sizes[i].contents < SMALL_FILE * length(nodes)
    }

    /// A path was read, or could not be.
    fn finish(&mut self, lane: Lane<'w>, read: Result<(), ReadError>) {
        self.work.left.fetch_sub(lane.left, Ordering::Relaxed);
        let i = lane.i;
        let aside = self.aside.take();
        let result = read.map_err(StoreImageError::from).and_then(|()| self.check(lane, aside));
        self.work.finish(i, result);
    }

    /// Compares its hash.
    fn check(&self, lane: Lane<'w>, aside: Option<Aside<'s>>) -> Result<Checked, StoreImageError> {
        let Lane { i, mut hasher, expected, .. } = lane;
        if let Some(aside) = aside {
            hasher = aside.join().or(hasher);
            self.spare.put_back_idle();
        }
        let (Some(hasher), Some(expected)) = (hasher, expected) else { return Ok(Checked::No) };
        let found = hasher.finish();
        if found == expected {
            return Ok(Checked::Yes);
        }
        Err(StoreImageError::Hash {
            path: self.work.plan.closure.registration.paths()[i].path.to_string(),
            found: found.to_string(),
            expected: expected.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn lane<'w>(i: usize) -> Lane<'w> {
        let blocks = Blocks::new(|_| async { Ok(()) });
        Lane { i, blocks, left: 0, hasher: None, expected: None, block: None }
    }

    fn number(lane: Option<Lane<'_>>) -> Option<usize> {
        lane.map(|lane| lane.i)
    }

    fn until(is_so: impl Fn() -> bool) {
        while !is_so() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_path_goes_to_a_thread_without_one_and_all_end_after_the_last() {
        let spare = Spare::new(3);
        assert!(!spare.take_idle(), "all threads have paths");
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let first = number(spare.wait());
                        (first, first.map(|_| number(spare.wait())))
                    })
                })
                .collect();
            until(|| spare.idle.load(Ordering::Relaxed) == 2);
            assert!(spare.take_idle());
            spare.give(lane(7));
            // The one that got it has come back.
            until(|| spare.idle.load(Ordering::Relaxed) == 2);
            assert!(waiting.iter().all(|thread| !thread.is_finished()), "one thread still has a path");
            assert_eq!(number(spare.wait()), None);
            let mut got: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
            got.sort_unstable();
            assert_eq!(got, [(None, None), (Some(7), Some(None))]);
        });
    }

    #[test]
    fn a_thread_that_was_taken_for_something_else_is_not_given_a_path() {
        let spare = Spare::new(2);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| number(spare.wait()));
            until(|| spare.take_idle());
            assert!(!spare.take_idle());
            spare.put_back_idle();
            assert!(spare.take_idle());
            spare.give(lane(1));
            assert_eq!(waiting.join().unwrap(), Some(1));
        });
    }
}
