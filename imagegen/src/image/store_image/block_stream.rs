//! Blocks that are made when they are asked for, so that one thread can have several store paths open.
//!
//! Whoever reads a path is in the middle of a file, a directory and a NAR when a block is full. It is an `async` function,
//! since the compiler then keeps all that until the next block is wanted; nothing but the call for that ever wakes it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::buffer::Block;
use super::read::ReadError;

/// Where a block is put for whoever asked for it.
#[derive(Clone, Default)]
pub struct Slot(Arc<Mutex<Option<Block>>>);

impl Slot {
    /// Goes on when the next block is wanted.
    pub async fn hand_on(&self, block: Block) {
        *self.lock() = Some(block);
        poll_fn(|_| if self.lock().is_none() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Nobody waits for it: the two sides take turns on one thread.
    fn lock(&self) -> MutexGuard<'_, Option<Block>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type ReadFuture<'r> = Pin<Box<dyn Future<Output = Result<(), ReadError>> + Send + 'r>>;

/// The blocks of a store path. After an error there are no more.
pub struct Blocks<'r> {
    slot: Slot,
    /// Nothing at the end.
    reading: Option<ReadFuture<'r>>,
}

impl<'r> Blocks<'r> {
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

impl Iterator for Blocks<'_> {
    type Item = Result<Block, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let reading = self.reading.as_mut()?;
        match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.slot.lock().take().map(Ok),
            Poll::Ready(result) => {
                self.reading = None;
                result.err().map(Err)
            }
        }
    }
}
