//! What each thread does: it reads a store path, or two at once, hashes it and writes it.
//!
//! Four rules say who reads what. `Worker::choose` and `Worker::run` hold the first three, `Worker::hash_and_write` the
//! fourth.
//!
//! 1. A thread reads two paths at once, since the rounds of one hash fill the pauses of the other.
//! 2. Each of the two takes longer then. So a path that would be the last one to be done goes on alone
//!    (`Worker::goes_alone`).
//! 3. A thread that finds no path gets one of another thread's two ([`IdleThreads`]).
//! 4. If nobody has two, it becomes the [`Helper`] of one large path.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Scope;

use super::StoreImageError;
use super::block_stream::BlockStream;
use super::buffer::{Buffer, Hashed};
use super::helper::Helper;
use super::idle_threads::IdleThreads;
use super::read_error::ReadError;
use super::work::Work;
use crate::nix::NarHash;
use crate::nix::nar::Hasher;
use crate::units::length;

/// A path with more bytes than this may have a helper. Starting one for each small path would cost more.
pub const HELPED_MIN: u64 = 8 << 20;
/// A path with fewer bytes than this is not given to another thread.
const GIVEN_MIN: u64 = 1 << 20;
/// Files with fewer bytes than this take longer to read than to hash, so the helper of their path hashes too.
const SMALL_FILE: u64 = 16 << 10;

/// A store path that a thread is reading.
pub struct OpenPath<'w> {
    /// Its number.
    i: usize,
    blocks: BlockStream<'w>,
    /// How many bytes of its files are still to be read, with the zeros behind each file.
    left: u64,
    /// None if the path is not hashed, or if its helper hashes it.
    hasher: Option<Hasher>,
    expected: Option<NarHash>,
    /// The block that was read last, and how much of it is hashed.
    block: Option<(Buffer, Hashed)>,
}

impl OpenPath<'_> {
    /// Hashes the rest of the block that was read last, and gives it away.
    fn finish_block(&mut self) -> Option<Arc<Buffer>> {
        let (block, mut done) = self.block.take()?;
        if let Some(hasher) = &mut self.hasher {
            block.hash(&mut done, hasher);
        }
        Some(Arc::new(block))
    }
}

/// A thread that reads.
pub struct Worker<'s, 'w, 'e, H> {
    work: &'w Work<'w>,
    idle: &'s IdleThreads<OpenPath<'w>>,
    scope: &'s Scope<'s, 'e>,
    /// Takes blocks once they are hashed.
    hand_on: H,
    /// Of the only path that is read then.
    helper: Option<Helper<'s>>,
    /// Whether a helper could be started the last time.
    can_start: bool,
}

impl<H> Drop for Worker<'_, '_, '_, H> {
    fn drop(&mut self) {
        // The others would wait for it.
        if std::thread::panicking() {
            self.idle.leave();
        }
    }
}

impl<'s, 'w: 's, 'e, H: Fn(Arc<Buffer>) + Clone + Send + 's> Worker<'s, 'w, 'e, H> {
    /// One of the threads that `idle` was made for.
    pub fn new(
        work: &'w Work<'w>,
        idle: &'s IdleThreads<OpenPath<'w>>,
        scope: &'s Scope<'s, 'e>,
        hand_on: H,
    ) -> Self {
        Self { work, idle, scope, hand_on, helper: None, can_start: true }
    }

    /// Reads paths until there are none, or somebody has failed.
    pub fn run(mut self) {
        let mut paths = Vec::with_capacity(2);
        loop {
            self.choose(&mut paths);
            self.read(&mut paths);
            match &mut paths[..] {
                [] if self.work.is_queue_empty() => match self.idle.wait() {
                    Some(path) => paths.push(path),
                    None => return,
                },
                [path] => self.hash_and_write(path),
                [a, b] if self.goes_alone(a, b) => self.hash_and_write_alone(a),
                [a, b] if self.goes_alone(b, a) => self.hash_and_write_alone(b),
                [a, b] => self.hash_and_write_pair([a, b]),
                _ => {}
            }
        }
    }

    /// Begins with another path, or gives one away.
    fn choose(&self, paths: &mut Vec<OpenPath<'w>>) {
        match &paths[..] {
            [] => paths.extend(self.open_next()),
            [path]
                if self.work.has_pairs
                    && path.hasher.is_some()
                    && !self.work.is_queue_empty()
                    && !self.is_behind(path) =>
            {
                paths.extend(self.open_next());
            }
            [_, path] if path.left >= GIVEN_MIN && self.idle.reserve() => {
                paths.pop().into_iter().for_each(|path| self.idle.give(path));
            }
            _ => {}
        }
    }

    fn open_next(&self) -> Option<OpenPath<'w>> {
        let Work { plan, reading, .. } = self.work;
        let i = self.work.next_path()?;
        let registered = &plan.closure.registration.paths()[i];
        let expected = registered.nar.filter(|_| self.work.verify).map(|nar| nar.hash);
        Some(OpenPath {
            i,
            blocks: reading.blocks(&registered.path, plan.closure.roots[i], expected.is_some()),
            left: plan.sizes[i].aligned,
            hasher: expected.map(|_| Hasher::default()),
            expected,
            block: None,
        })
    }

    /// Whether a path would be done after all others: it has more left than each path has on average, if all threads read
    /// two to the end.
    fn is_behind(&self, path: &OpenPath<'w>) -> bool {
        let paths_at_once = 2 * length(self.work.readers);
        path.left > self.work.left.load(Ordering::Relaxed) / paths_at_once
    }

    /// Whether to go on with this path of two alone for a while: one that is behind, or the larger one of the queue's last
    /// two. Both have as much left then when another thread can take one of them.
    fn goes_alone(&self, path: &OpenPath<'w>, other: &OpenPath<'w>) -> bool {
        if self.work.is_queue_empty() {
            path.left > other.left + GIVEN_MIN
        } else {
            self.is_behind(path) && !self.is_behind(other)
        }
    }

    /// Reads the next block of every path that has none, and takes those out that are at their end.
    fn read(&mut self, paths: &mut Vec<OpenPath<'w>>) {
        let mut number = 0;
        while let Some(path) = paths.get_mut(number) {
            if path.block.is_some() {
                number += 1;
                continue;
            }
            match path.blocks.next() {
                Some(Ok(block)) => {
                    let read = block.contents().min(path.left);
                    path.left -= read;
                    self.work.left.fetch_sub(read, Ordering::Relaxed);
                    path.block = Some((block, Hashed::default()));
                }
                Some(Err(error)) => self.finish(paths.remove(number), Err(error)),
                None => self.finish(paths.remove(number), Ok(())),
            }
        }
    }

    /// The bytes of a block are in the cache of the core that read them, and the hash would suffer most if it had to fetch
    /// them from there. So the helper writes, and hashes only where reading takes longer.
    fn hash_and_write(&mut self, path: &mut OpenPath<'w>) {
        let is_fresh = matches!(&path.block, Some((_, done)) if *done == Hashed::default());
        if path.left > HELPED_MIN
            && is_fresh
            && self.helper.is_none()
            && self.can_start
            && self.idle.reserve()
        {
            self.start_helper(path);
        }
        let Some(block) = path.finish_block() else { return };
        if let Some(helper) = &self.helper {
            if helper.has_time() {
                return helper.take(block, true);
            }
            if helper.hashes() {
                helper.take(Arc::clone(&block), false);
            }
        }
        (self.hand_on)(block);
    }

    /// Lets the other path wait.
    fn hash_and_write_alone(&self, path: &mut OpenPath<'w>) {
        path.finish_block().into_iter().for_each(&self.hand_on);
    }

    /// Hashes two blocks until one of them is done, and writes that.
    fn hash_and_write_pair(&self, paths: [&mut OpenPath<'w>; 2]) {
        let [a, b] = paths;
        if let (Some((block_a, done_a)), Some((block_b, done_b))) = (&mut a.block, &mut b.block)
            && let (Some(hasher_a), Some(hasher_b)) = (&mut a.hasher, &mut b.hasher)
        {
            Buffer::hash_pair([block_a, block_b], [done_a, done_b], [hasher_a, hasher_b]);
        }
        for path in [a, b] {
            let is_done =
                |(block, done): &mut (Buffer, Hashed)| path.hasher.is_none() || block.is_hashed(done);
            if let Some((block, _)) = path.block.take_if(is_done) {
                (self.hand_on)(Arc::new(block));
            }
        }
    }

    /// Where there may be no more threads, this one does without a helper.
    fn start_helper(&mut self, path: &mut OpenPath<'w>) {
        let hasher = path.hasher.clone().filter(|_| self.has_small_files(path.i));
        let with_hash = hasher.is_some();
        let pool = self.work.reading.pool;
        let hand_on = self.hand_on.clone();
        let started =
            Helper::start(
                self.scope,
                hasher,
                move |block: Arc<Buffer>, to_write| {
                    if to_write { hand_on(block) } else { pool.put_back(block) }
                },
            );
        if let Ok(helper) = started {
            self.helper = Some(helper);
            path.hasher.take_if(|_| with_hash);
        } else {
            self.can_start = false;
            self.idle.release();
        }
    }

    fn has_small_files(&self, i: usize) -> bool {
        let Work { plan, .. } = self.work;
        let nodes = plan.closure.tree.subtree(plan.closure.roots[i]).len();
        plan.sizes[i].contents < SMALL_FILE * length(nodes)
    }

    /// A path was read, or could not be.
    fn finish(&mut self, path: OpenPath<'w>, read: Result<(), ReadError>) {
        self.work.left.fetch_sub(path.left, Ordering::Relaxed);
        let i = path.i;
        let helper = self.helper.take();
        let result = read.map_err(StoreImageError::from).and_then(|()| self.check(path, helper));
        self.work.finish(i, result);
    }

    /// Compares the hash of a path, if there is one.
    fn check(&self, path: OpenPath<'w>, helper: Option<Helper<'s>>) -> Result<bool, StoreImageError> {
        let OpenPath { i, mut hasher, expected, .. } = path;
        if let Some(helper) = helper {
            hasher = helper.join().or(hasher);
            self.idle.release();
        }
        let (Some(hasher), Some(expected)) = (hasher, expected) else { return Ok(false) };
        let found = hasher.finish();
        if found == expected {
            return Ok(true);
        }
        let path = self.work.plan.closure.registration.paths()[i].path.clone();
        Err(StoreImageError::Hash { path, found, expected })
    }
}
