//! A stretch of the image and the stretch of a NAR that goes with it, in one buffer.
//!
//! File contents are read to where they lie in the image, so that a stretch of many files is written in one call;
//! the NAR is hashed from the same bytes, with the framing and padding between them kept aside.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::closure::nar::Hasher;
use crate::container::RUN;
use crate::units::{GuestOffset, index, length};

/// The most bytes of an image in a block.
const SIZE: usize = RUN;
/// Files begin at multiples of this, and what lies between them is zeros.
const ALIGNMENT: usize = 4096;
/// So much is kept aside in a block before it is handed on.
const ASIDE_MAX: usize = SIZE;

/// Zeros to hash for those that are not kept.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A part of a NAR: bytes of the image, bytes that are in the NAR only, or so many zeros that are in a hole of the image.
#[derive(Debug)]
enum Segment {
    Image(Range<usize>),
    Aside(Range<usize>),
    Zeros(u64),
}

/// The stretch of the image and of the NAR.
#[derive(Debug)]
pub struct Block {
    image: Box<[u8]>,
    start: GuestOffset,
    filled: usize,
    aside: Vec<u8>,
    /// The NAR, in order; nothing where it is not needed.
    segments: Vec<Segment>,
}

impl Block {
    fn new() -> Self {
        Self {
            image: vec![0; SIZE].into_boxed_slice(),
            start: GuestOffset(0),
            filled: 0,
            aside: Vec::new(),
            segments: Vec::new(),
        }
    }

    /// Where the stretch lies in the image, and its bytes.
    pub fn image(&self) -> (GuestOffset, &[u8]) {
        (self.start, &self.image[..self.filled])
    }

    /// Hashes the stretch of the NAR.
    pub fn hash(&self, hasher: &mut Hasher) {
        for segment in &self.segments {
            match segment {
                Segment::Image(range) => hasher.update(&self.image[range.clone()]),
                Segment::Aside(range) => hasher.update(&self.aside[range.clone()]),
                Segment::Zeros(count) => hash_zeros(*count, hasher),
            }
        }
    }

    /// Whether it should be handed on before more is kept aside.
    pub fn is_full_aside(&self) -> bool {
        self.aside.len() >= ASIDE_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.filled == 0 && self.segments.is_empty()
    }

    /// Appends to the NAR what `write` appends to its argument.
    pub fn append_aside<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let start = self.aside.len();
        let result = write(&mut self.aside);
        let end = self.aside.len();
        match self.segments.last_mut() {
            Some(Segment::Aside(range)) => range.end = end,
            _ if start == end => {}
            _ => self.segments.push(Segment::Aside(start..end)),
        }
        result
    }

    /// Appends zeros to the NAR for a hole of the image.
    pub fn append_zeros(&mut self, count: u64) {
        self.segments.push(Segment::Zeros(count));
    }

    /// Whether bytes for this place in the image can be added.
    pub fn continues_at(&self, offset: GuestOffset) -> bool {
        self.filled == 0 || (self.start.advanced(length(self.filled)) == offset && self.filled < SIZE)
    }

    /// The room for bytes at a place where it can be continued, at most `wanted` bytes.
    pub fn room(&mut self, offset: GuestOffset, wanted: u64) -> &mut [u8] {
        if self.filled == 0 {
            self.start = offset;
        }
        let left = SIZE - self.filled;
        let wanted = usize::try_from(wanted).map_or(left, |wanted| wanted.min(left));
        &mut self.image[self.filled..][..wanted]
    }

    /// Takes note of so many bytes in the room, as the next ones of the NAR too.
    pub fn fill(&mut self, bytes: usize) {
        let range = self.filled..self.filled + bytes;
        self.filled = range.end;
        match self.segments.last_mut() {
            Some(Segment::Image(last)) if last.end == range.start => last.end = range.end,
            _ => self.segments.push(Segment::Image(range)),
        }
    }

    /// Zeros up to where the next file can begin.
    pub fn align(&mut self) {
        let end = self.filled.next_multiple_of(ALIGNMENT);
        self.image[self.filled..end].fill(0);
        self.filled = end;
    }

    fn clear(&mut self) {
        self.filled = 0;
        self.aside.clear();
        self.segments.clear();
    }
}

/// Hashes so many zeros.
pub fn hash_zeros(count: u64, hasher: &mut Hasher) {
    let mut left = count;
    while left > 0 {
        let now = left.min(length(ZEROS.len()));
        hasher.update(&ZEROS[..index(now)]);
        left -= now;
    }
}

/// Blocks that are not in use.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Vec<Block>>);

impl Pool {
    /// An empty block.
    pub fn take(&self) -> Block {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_else(Block::new)
    }

    /// Takes a block back, once nobody else has it.
    pub fn put_back(&self, block: Arc<Block>) {
        if let Some(mut block) = Arc::into_inner(block) {
            block.clear();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(block);
        }
    }
}

const _: () = assert!(SIZE.is_multiple_of(ALIGNMENT));
