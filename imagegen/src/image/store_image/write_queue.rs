//! Blocks on their way into an image file, which one thread at a time writes.
//!
//! A file system lets only one thread write to a file, and makes the others spin or sleep meanwhile. A thread that has a
//! block writes it itself if nobody else writes: the bytes are still in its cache. Otherwise it leaves the block to the
//! thread that writes, and goes on reading.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use super::buffer::{Buffer, Pool};
use crate::container::Sink;

/// How many blocks may be left to the thread that writes.
const WAITING_MAX: usize = 32;

/// Writes blocks, until something fails.
pub struct BlockWriter<'s, S> {
    sink: &'s S,
    pool: &'s Pool,
    /// Set once something has failed, here or elsewhere: blocks are dropped from then on, so that nobody waits.
    stopped: &'s AtomicBool,
    failure: Mutex<Option<Failure>>,
}

enum Failure {
    Error(io::Error),
    /// The sink's. It is caught, since threads that wait for the one that writes would do so for ever.
    Panic(Box<dyn Any + Send>),
}

impl<'s, S: Sink> BlockWriter<'s, S> {
    pub fn new(sink: &'s S, pool: &'s Pool, stopped: &'s AtomicBool) -> Self {
        Self { sink, pool, stopped, failure: Mutex::default() }
    }

    /// Writes a block's stretch of the image, if it has one.
    pub fn write(&self, block: Arc<Buffer>) {
        let (offset, bytes) = block.image();
        if !bytes.is_empty() && !self.stopped.load(Ordering::Relaxed) {
            // Nobody calls the sink again, so it does not matter in which state it is.
            let written = catch_unwind(AssertUnwindSafe(|| self.sink.data(offset, bytes)));
            if let Err(failure) =
                written.map_err(Failure::Panic).and_then(|result| result.map_err(Failure::Error))
            {
                self.stopped.store(true, Ordering::Relaxed);
                self.failure.lock().get_or_insert(failure);
            }
        }
        self.pool.put_back(block);
    }

    /// The first failure of a write, once all threads are done. A panic goes on here.
    pub fn into_failure(self) -> Option<io::Error> {
        match self.failure.into_inner()? {
            Failure::Error(error) => Some(error),
            Failure::Panic(panic) => resume_unwind(panic),
        }
    }
}

/// The blocks that are to be written, and who writes them.
pub struct WriteQueue<'s, S> {
    writer: &'s BlockWriter<'s, S>,
    waiting: Mutex<VecDeque<Arc<Buffer>>>,
    /// Notified when half of the blocks are written.
    room: Condvar,
    /// Held by the thread that writes. Whoever gives it back looks once more at what waits.
    writes: Mutex<()>,
}

impl<'s, S: Sink> WriteQueue<'s, S> {
    pub fn new(writer: &'s BlockWriter<'s, S>) -> Self {
        Self { writer, waiting: Mutex::default(), room: Condvar::new(), writes: Mutex::default() }
    }

    /// Writes a block, or leaves it to the thread that is writing.
    pub fn hand_on(&self, block: Arc<Buffer>) {
        self.waiting.lock().push_back(block);
        self.write_waiting();
        // If blocks still wait, there is a thread that writes them.
        self.room.wait_while(&mut self.waiting.lock(), |waiting| waiting.len() > WAITING_MAX);
    }

    fn write_waiting(&self) {
        // A block may come after the last one was taken and before the lock is given back; it must not be forgotten.
        while !self.waiting.lock().is_empty() {
            let Some(_writes) = self.writes.try_lock() else { return };
            while let Some(block) = self.next() {
                self.writer.write(block);
            }
            // Makes that moment long enough to be met by the tests.
            #[cfg(test)]
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
    }

    fn next(&self) -> Option<Arc<Buffer>> {
        let mut waiting = self.waiting.lock();
        let block = waiting.pop_front();
        if waiting.len() == WAITING_MAX / 2 {
            self.room.notify_all();
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::panic::panic_any;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::units::{GuestOffset, length};

    const THREADS: u64 = 8;

    /// Takes note of what is written; one block of the file cannot be written.
    #[derive(Default)]
    struct Recorder {
        busy: AtomicBool,
        written: Mutex<BTreeMap<u64, u8>>,
        fails_at: Option<u64>,
        panics_at: Option<u64>,
    }

    impl Sink for Recorder {
        fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
            assert!(!self.busy.swap(true, Ordering::SeqCst), "two threads write at once");
            // Long enough that the others have to leave blocks and to wait for room.
            std::thread::yield_now();
            if self.panics_at == Some(offset.0) {
                // Until the others wait for room.
                std::thread::sleep(Duration::from_millis(100));
                panic_any("the sink's own");
            }
            if self.fails_at == Some(offset.0) {
                self.busy.store(false, Ordering::SeqCst);
                return Err(io::Error::other("the disk is full"));
            }
            let before = self.written.lock().insert(offset.0, bytes[0]);
            assert!(before.is_none(), "written twice");
            self.busy.store(false, Ordering::SeqCst);
            Ok(())
        }
    }

    /// Hands on `blocks` blocks from each of several threads; gives what failed.
    fn hand_on_many(sink: &Recorder, blocks: u64) -> Option<io::Error> {
        let (pool, stopped) = (Pool::default(), AtomicBool::new(false));
        let writer = BlockWriter::new(sink, &pool, &stopped);
        let queue = WriteQueue::new(&writer);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (queue, pool) = (&queue, &pool);
                scope.spawn(move || {
                    for number in 0..blocks {
                        let mut block = pool.take();
                        let offset = GuestOffset((number * THREADS + thread) * 4096);
                        block.room(offset, 1)[0] = u8::try_from(thread).unwrap();
                        block.fill(1);
                        queue.hand_on(Arc::new(block));
                    }
                });
            }
        });
        assert!(queue.waiting.lock().is_empty(), "blocks were forgotten");
        writer.into_failure()
    }

    fn check_all(blocks: u64) {
        let sink = Recorder::default();
        assert!(hand_on_many(&sink, blocks).is_none());
        let written = sink.written.into_inner();
        assert_eq!(length(written.len()), THREADS * blocks);
        for (offset, byte) in written {
            assert_eq!(u64::from(byte), offset / 4096 % THREADS);
        }
    }

    #[test]
    fn every_block_is_written_once_and_by_one_thread_at_a_time() {
        check_all(500);
    }

    /// The last blocks of threads that end at the same time are the ones that could be left lying.
    #[test]
    fn no_block_is_forgotten_at_the_end() {
        for _ in 0..100 {
            check_all(2);
        }
    }

    #[test]
    fn a_failure_ends_the_writing_and_is_told() {
        let blocks = 500;
        let sink = Recorder { fails_at: Some(THREADS * blocks / 2 * 4096), ..Recorder::default() };
        assert_eq!(hand_on_many(&sink, blocks).unwrap().to_string(), "the disk is full");
        assert!(length(sink.written.into_inner().len()) < THREADS * blocks);
    }

    #[test]
    fn a_panic_ends_the_writing_and_comes_through_at_the_end() {
        let (done, ends) = mpsc::channel();
        std::thread::spawn(move || {
            let sink = Recorder { panics_at: Some(0), ..Recorder::default() };
            done.send(catch_unwind(AssertUnwindSafe(|| hand_on_many(&sink, 500)))).unwrap();
        });
        let result = ends.recv_timeout(Duration::from_secs(60)).expect("nobody waits for ever");
        assert_eq!(result.err().unwrap().downcast_ref(), Some(&"the sink's own"));
    }
}
