//! The blocks of a store path, one at a time, so that one thread can have several paths open.
//!
//! Whoever reads a path is in the middle of a file, a directory and a NAR when a buffer is full. It is an `async` function:
//! the compiler keeps all that until the next block is wanted. Nothing but [`Iterator::next`] ever wakes it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::buffer::Buffer;
use super::read_error::ReadError;

/// Where the reading function leaves a block for whoever asked for it. Nobody waits for the lock: both sides are on one
/// thread.
#[derive(Clone, Default)]
pub struct Slot(Arc<Mutex<Option<Buffer>>>);

impl Slot {
    /// Goes on when the next block is wanted.
    pub async fn hand_on(&self, block: Buffer) {
        *self.0.lock() = Some(block);
        poll_fn(|_| if self.0.lock().is_none() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

type ReadFuture<'r> = Pin<Box<dyn Future<Output = Result<(), ReadError>> + Send + 'r>>;

/// The blocks of a store path. After an error there are no more.
pub struct BlockStream<'r> {
    slot: Slot,
    /// None at the end.
    reading: Option<ReadFuture<'r>>,
}

impl<'r> BlockStream<'r> {
    /// The blocks that `read` puts into the slot that it is given.
    pub fn new<F>(read: impl FnOnce(Slot) -> F) -> Self
    where
        F: Future<Output = Result<(), ReadError>> + Send + 'r,
    {
        let slot = Slot::default();
        let reading: ReadFuture<'r> = Box::pin(read(slot.clone()));
        Self { slot, reading: Some(reading) }
    }
}

impl Iterator for BlockStream<'_> {
    type Item = Result<Buffer, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let reading = self.reading.as_mut()?;
        match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.slot.0.lock().take().map(Ok),
            Poll::Ready(result) => {
                self.reading = None;
                result.err().map(Err)
            }
        }
    }
}
