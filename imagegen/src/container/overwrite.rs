//! A raw image in the place of old bytes, on a block device: what is not written has to be made zero.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use rustix::fs::FallocateFlags;
use rustix::io::retry_on_intr;

use super::ContainerError;
use crate::units::{ByteCount, GuestOffset, index, length};

/// Ranges for the device to make zero begin and end at multiples of this: no device has larger blocks.
const ALIGNMENT: u64 = 64 << 10;
/// How much is made zero by one call, which nothing can interrupt.
const ZEROS_AT_ONCE: u64 = 256 << 20;
/// How many zeros are written at once where the device cannot make them itself.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A raw image that is being written over something.
pub struct Writer<'f> {
    file: &'f File,
    size: u64,
    /// The ends of what was written, by the starts. Touching ranges are one.
    written: Mutex<BTreeMap<u64, u64>>,
}

impl<'f> Writer<'f> {
    pub fn new(file: &'f File, size: ByteCount) -> Self {
        Self { file, size: size.0, written: Mutex::default() }
    }

    pub fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset.0)?;
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut start, mut end) = (offset.0, offset.0 + length(bytes.len()));
        if let Some((&before, &touching)) = written.range(..=start).next_back()
            && touching >= start
        {
            (start, end) = (before, end.max(touching));
        }
        if let Some(after) = written.remove(&end) {
            end = after;
        }
        written.insert(start, end);
        Ok(())
    }

    /// Makes zero what was not written.
    pub fn finish(self) -> Result<(), ContainerError> {
        let written = self.written.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut start = 0;
        for (next, end) in written.into_iter().chain([(self.size, self.size)]) {
            zero(self.file, start, next)
                .map_err(|source| ContainerError::Io { action: "write the zeros of", source })?;
            start = end;
        }
        Ok(())
    }
}

fn zero(file: &File, start: u64, end: u64) -> io::Result<()> {
    let aligned = start.next_multiple_of(ALIGNMENT).min(end)..end / ALIGNMENT * ALIGNMENT;
    if aligned.is_empty() {
        return write_zeros(file, start, end);
    }
    write_zeros(file, start, aligned.start)?;
    let mut at = aligned.start;
    while at < aligned.end {
        let piece = (aligned.end - at).min(ZEROS_AT_ONCE);
        if !make_zero(file, at, piece) {
            write_zeros(file, at, at + piece)?;
        }
        at += piece;
    }
    write_zeros(file, aligned.end, end)
}

/// Has the device make a range zero, if it can. Both calls promise that the range then reads as zeros (fallocate(2)),
/// which discarding it would not; the first also lets a thin device forget it.
fn make_zero(file: &File, start: u64, bytes: u64) -> bool {
    let ways = [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE];
    ways.into_iter().any(|way| {
        retry_on_intr(|| rustix::fs::fallocate(file, way | FallocateFlags::KEEP_SIZE, start, bytes)).is_ok()
    })
}

fn write_zeros(file: &File, start: u64, end: u64) -> io::Result<()> {
    let mut at = start;
    while at < end {
        let piece = (end - at).min(length(ZEROS.len()));
        file.write_all_at(&ZEROS[..index(piece)], at)?;
        at += piece;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An offset, a byte and how often it is written.
    type Piece = (u64, u8, usize);

    /// Writes pieces over a file of other bytes, and gives what is there then.
    fn overwritten(size: u64, pieces: &[Piece]) -> Vec<u8> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![0xff; 3 << 20], 0).unwrap();
        let writer = Writer::new(&file, ByteCount(size));
        for &(offset, byte, count) in pieces {
            writer.data(GuestOffset(offset), &vec![byte; count]).unwrap();
        }
        writer.finish().unwrap();
        let mut found = vec![0; index(file.metadata().unwrap().len())];
        file.read_exact_at(&mut found, 0).unwrap();
        found
    }

    #[test]
    fn what_is_not_written_is_zero_and_what_lies_behind_stays() {
        let size = (2 << 20) + 512;
        let cases: [&[Piece]; 6] = [
            &[],
            &[(0, 1, 512)],
            &[(1, 1, 3), (7, 2, 5), (4, 3, 3)],
            &[(size - 9, 4, 9), (0, 5, 70_000)],
            &[(131_072, 6, 65_536), (65_536, 7, 65_536), (196_608, 8, 1)],
            &[(1 << 20, 0, 4096), (100_000, 9, 100_000)],
        ];
        for pieces in cases {
            let mut expected = vec![0xff; 3 << 20];
            expected[..index(size)].fill(0);
            for &(offset, byte, count) in pieces {
                expected[index(offset)..][..count].fill(byte);
            }
            assert!(overwritten(size, pieces) == expected, "{pieces:?}");
        }
    }

    #[test]
    fn zeros_are_the_same_however_they_are_made() {
        for (start, end) in
            [(0, 0), (5, 5), (5, 9), (0, 1 << 20), (1, 65_536), (65_535, 131_073), (3, 1 << 20)]
        {
            let [ours, plain] = [zero, write_zeros].map(|make| {
                let file = tempfile::tempfile().unwrap();
                file.write_all_at(&vec![0xff; (1 << 20) + 1], 0).unwrap();
                make(&file, start, end).unwrap();
                let mut found = vec![0; (1 << 20) + 1];
                file.read_exact_at(&mut found, 0).unwrap();
                found
            });
            assert!(ours == plain, "{start}..{end}");
            let is_right = |(i, byte): (u64, &u8)| (*byte == 0) == (start..end).contains(&i);
            assert!((0..).zip(&ours).all(is_right), "{start}..{end}");
        }
    }
}
