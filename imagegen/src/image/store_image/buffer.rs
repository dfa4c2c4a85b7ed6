//! A block: a range of the image and the part of a NAR that goes with it, in one buffer.
//!
//! File contents are read to where they lie in the image, so that many files are written in one call. The NAR is hashed
//! from the same bytes; the framing and padding between them, which are not in the image, lie beside them.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::container::RUN;
use crate::nix::nar::Hasher;
use crate::units::{GuestOffset, index, length};

/// The most bytes of the image in a buffer.
pub const SIZE: usize = RUN;
/// Files begin at multiples of this, and what lies between them is zeros.
pub const ALIGNMENT: usize = 4096;
/// A buffer is full when it holds this many bytes that are in the NAR only.
const NAR_ONLY_MAX: usize = SIZE;

/// For holes, whose zeros are not in the buffer.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A part of a NAR.
#[derive(Debug)]
enum Segment {
    /// Bytes that are in the image too.
    Image(Range<usize>),
    /// Framing, padding, and contents that are in the image under another name.
    NarOnly(Range<usize>),
    /// The number of zeros in a hole of the image.
    Zeros(u64),
}

/// The range of the image and the part of the NAR.
#[derive(Debug)]
pub struct Buffer {
    image: Box<[u8]>,
    start: GuestOffset,
    filled: usize,
    nar_only: Vec<u8>,
    /// The NAR, in order; empty where it is not needed.
    segments: Vec<Segment>,
    /// Bytes of files that are in the NAR only.
    contents_beside: u64,
}

/// How much of the NAR in a buffer is hashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hashed {
    /// The number of whole segments.
    segments: usize,
    /// The number of bytes of the segment behind them.
    bytes: usize,
}

impl Buffer {
    fn new() -> Self {
        Self {
            image: vec![0; SIZE].into_boxed_slice(),
            start: GuestOffset(0),
            filled: 0,
            nar_only: Vec::new(),
            segments: Vec::new(),
            contents_beside: 0,
        }
    }

    /// How many bytes of files there are, with the zeros behind each file.
    pub fn contents(&self) -> u64 {
        length(self.filled) + self.contents_beside
    }

    /// Where the bytes of the image begin, and the bytes.
    pub fn image(&self) -> (GuestOffset, &[u8]) {
        (self.start, &self.image[..self.filled])
    }

    /// Hashes the rest of the NAR's part.
    pub fn hash(&self, done: &mut Hashed, hasher: &mut Hasher) {
        while let Some(bytes) = self.to_hash(done) {
            hasher.update(bytes);
            done.bytes += bytes.len();
        }
    }

    /// Hashes the parts of two NARs until one of them is done.
    pub fn hash_pair(blocks: [&Self; 2], done: [&mut Hashed; 2], hashers: [&mut Hasher; 2]) {
        let [done_a, done_b] = done;
        let [hasher_a, hasher_b] = hashers;
        while let (Some(a), Some(b)) = (blocks[0].to_hash(done_a), blocks[1].to_hash(done_b)) {
            let [bytes_a, bytes_b] = Hasher::update_pair([&mut *hasher_a, &mut *hasher_b], [a, b]);
            done_a.bytes += bytes_a;
            done_b.bytes += bytes_b;
        }
    }

    /// Whether all of the NAR's part is hashed.
    pub fn is_hashed(&self, done: &mut Hashed) -> bool {
        self.to_hash(done).is_none()
    }

    /// The bytes of the NAR that come next.
    fn to_hash(&self, done: &mut Hashed) -> Option<&[u8]> {
        loop {
            let bytes = match self.segments.get(done.segments)? {
                Segment::Image(range) => &self.image[range.clone()][done.bytes..],
                Segment::NarOnly(range) => &self.nar_only[range.clone()][done.bytes..],
                Segment::Zeros(count) => &ZEROS[..ZEROS.len().min(index(*count) - done.bytes)],
            };
            if !bytes.is_empty() {
                return Some(bytes);
            }
            *done = Hashed { segments: done.segments + 1, bytes: 0 };
        }
    }

    /// Whether it should be handed on before more bytes for the NAR only are added.
    pub fn is_full(&self) -> bool {
        self.nar_only.len() >= NAR_ONLY_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.filled == 0 && self.segments.is_empty()
    }

    /// Appends to the NAR what `write` appends to its argument.
    pub fn append_to_nar<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let start = self.nar_only.len();
        let result = write(&mut self.nar_only);
        let end = self.nar_only.len();
        match self.segments.last_mut() {
            Some(Segment::NarOnly(range)) => range.end = end,
            _ if start == end => {}
            _ => self.segments.push(Segment::NarOnly(start..end)),
        }
        result
    }

    /// Takes note that the last `bytes` bytes that were appended are a file's.
    pub fn add_contents(&mut self, bytes: u64) {
        self.contents_beside += bytes;
    }

    /// Appends zeros to the NAR for a hole of the image.
    pub fn append_zeros(&mut self, count: u64) {
        self.add_contents(count);
        self.segments.push(Segment::Zeros(count));
    }

    /// Whether bytes at this offset of the image can be added.
    pub fn continues_at(&self, offset: GuestOffset) -> bool {
        self.filled == 0 || (self.start.advanced(length(self.filled)) == offset && self.filled < SIZE)
    }

    /// Room for at most `wanted` bytes at an offset where it can be continued.
    pub fn room(&mut self, offset: GuestOffset, wanted: u64) -> &mut [u8] {
        if self.filled == 0 {
            self.start = offset;
        }
        let left = SIZE - self.filled;
        let wanted = usize::try_from(wanted).map_or(left, |wanted| wanted.min(left));
        &mut self.image[self.filled..][..wanted]
    }

    /// Takes note that the room's first `bytes` bytes were filled; they are the next ones of the NAR too.
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
        self.nar_only.clear();
        self.segments.clear();
        self.contents_beside = 0;
    }
}

/// Hashes `count` zeros.
pub fn hash_zeros(count: u64, hasher: &mut Hasher) {
    let mut left = count;
    while left > 0 {
        let now = left.min(length(ZEROS.len()));
        hasher.update(&ZEROS[..index(now)]);
        left -= now;
    }
}

/// Buffers that are not in use.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Vec<Buffer>>);

impl Pool {
    /// An empty buffer.
    pub fn take(&self) -> Buffer {
        self.0.lock().pop().unwrap_or_else(Buffer::new)
    }

    /// Takes a buffer back, once nobody else has it.
    pub fn put_back(&self, buffer: Arc<Buffer>) {
        if let Some(mut buffer) = Arc::into_inner(buffer) {
            buffer.clear();
            self.0.lock().push(buffer);
        }
    }
}

const _: () = assert!(SIZE.is_multiple_of(ALIGNMENT));
