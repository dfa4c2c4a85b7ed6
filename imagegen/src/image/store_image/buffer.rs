//! A stretch of the image and the stretch of a NAR that goes with it, in one buffer.
//!
//! File contents are read to where they lie in the image, so that a stretch of many files is written in one call;
//! the NAR is hashed from the same bytes, with the framing and padding between them kept aside.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::container::RUN;
use crate::nix::nar::Hasher;
use crate::units::{GuestOffset, index, length};

/// The most bytes of an image in a block.
pub const SIZE: usize = RUN;
/// Files begin at multiples of this, and what lies between them is zeros.
pub const ALIGNMENT: usize = 4096;
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
    /// Bytes of files that are in the NAR only.
    contents_aside: u64,
}

/// How much of the NAR in a block is hashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hashed {
    /// So many segments,
    segments: usize,
    /// and so many bytes of the next one.
    bytes: usize,
}

impl Block {
    fn new() -> Self {
        Self {
            image: vec![0; SIZE].into_boxed_slice(),
            start: GuestOffset(0),
            filled: 0,
            aside: Vec::new(),
            segments: Vec::new(),
            contents_aside: 0,
        }
    }

    /// How many bytes of files there are, and zeros up to where the next ones can begin.
    pub fn contents(&self) -> u64 {
        length(self.filled) + self.contents_aside
    }

    /// Where the stretch lies in the image, and its bytes.
    pub fn image(&self) -> (GuestOffset, &[u8]) {
        (self.start, &self.image[..self.filled])
    }

    /// Hashes what is left of the stretch of the NAR.
    pub fn hash(&self, done: &mut Hashed, hasher: &mut Hasher) {
        while let Some(bytes) = self.to_hash(done) {
            hasher.update(bytes);
            done.bytes += bytes.len();
        }
    }

    /// Hashes the stretches of two NARs until nothing is left of one of them.
    pub fn hash_two(blocks: [&Self; 2], done: [&mut Hashed; 2], hashers: [&mut Hasher; 2]) {
        let [done_a, done_b] = done;
        let [hasher_a, hasher_b] = hashers;
        while let (Some(a), Some(b)) = (blocks[0].to_hash(done_a), blocks[1].to_hash(done_b)) {
            let [bytes_a, bytes_b] = Hasher::update_two([&mut *hasher_a, &mut *hasher_b], [a, b]);
            done_a.bytes += bytes_a;
            done_b.bytes += bytes_b;
        }
    }

    /// Whether all of the stretch of the NAR is hashed.
    pub fn is_hashed(&self, done: &mut Hashed) -> bool {
        self.to_hash(done).is_none()
    }

    /// The bytes of the NAR that come next.
    fn to_hash(&self, done: &mut Hashed) -> Option<&[u8]> {
        loop {
            let bytes = match self.segments.get(done.segments)? {
                Segment::Image(range) => &self.image[range.clone()][done.bytes..],
                Segment::Aside(range) => &self.aside[range.clone()][done.bytes..],
                Segment::Zeros(count) => &ZEROS[..ZEROS.len().min(index(*count) - done.bytes)],
            };
            if !bytes.is_empty() {
                return Some(bytes);
            }
            *done = Hashed { segments: done.segments + 1, bytes: 0 };
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

    /// Takes note that so many of the bytes that were appended are a file's.
    pub fn add_contents(&mut self, bytes: u64) {
        self.contents_aside += bytes;
    }

    /// Appends zeros to the NAR for a hole of the image.
    pub fn append_zeros(&mut self, count: u64) {
        self.add_contents(count);
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
        self.contents_aside = 0;
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
