//! Data to its planned cluster, then the tables.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::disk::Mapping;
use super::first_cluster::{Backing, first_cluster};
use super::layout::{Layout, Run};
use super::tables::finish;
use super::{CLUSTER, CLUSTER_BITS};
use crate::container::reflink::reflink;
use crate::container::{ContainerError, REFLINK_PIECE, is_zero};
use crate::units::{ByteCount, GuestOffset, GuestRange, index, length};

/// A qcow2 image that is being written.
pub struct Writer<'f> {
    file: &'f File,
    layout: Layout,
    /// A bit for each data cluster: set once something other than zeros was written to it.
    written: Vec<AtomicU64>,
    /// Whether a reflink into the file has worked, so that one within the file works too.
    has_reflinks: AtomicBool,
}

impl<'f> Writer<'f> {
    pub fn create(file: &'f File, size: ByteCount, allocated: &[GuestRange]) -> Result<Self, ContainerError> {
        let layout = Layout::new(size, allocated)?;
        let written = (0..layout.data_clusters.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { file, layout, written, has_reflinks: AtomicBool::new(false) })
    }

    pub fn data(&self, offset: GuestOffset, mut bytes: &[u8]) -> io::Result<()> {
        let GuestOffset(mut at) = offset;
        while !bytes.is_empty() {
            let run = self.layout.run_of(at / CLUSTER).ok_or_else(|| outside_of_plan(at))?;
            let left = (run.guest + run.count) * CLUSTER - at;
            let (now, rest) = bytes.split_at(index(left.min(length(bytes.len()))));
            self.write_in_run(run, at, now)?;
            at += length(now.len());
            bytes = rest;
        }
        Ok(())
    }

    pub fn reflink(&self, offset: GuestOffset, source: &File, range: Range<u64>) -> io::Result<bool> {
        let GuestOffset(mut at) = offset;
        let mut from = range.start;
        while from < range.end {
            let run = self.layout.run_of(at / CLUSTER).ok_or_else(|| outside_of_plan(at))?;
            let bytes = ((run.guest + run.count) * CLUSTER - at).min(range.end - from);
            let to = self.layout.data_cluster(run.slot).0 + at - run.guest * CLUSTER;
            if !reflink(source, from, bytes, self.file, to)? {
                return Ok(false);
            }
            self.has_reflinks.store(true, Ordering::Relaxed);
            for cluster in at / CLUSTER..(at + bytes).div_ceil(CLUSTER) {
                self.mark_written(run.slot + cluster - run.guest);
            }
            at += bytes;
            from += bytes;
        }
        Ok(true)
    }

    /// Writes the clusters that are not all zeros, neighbours in one call.
    fn write_in_run(&self, run: Run, start: u64, bytes: &[u8]) -> io::Result<()> {
        let base = self.layout.data_cluster(run.slot).0;
        let write = |from: u64, to: u64| {
            let piece = &bytes[index(from - start)..index(to - start)];
            self.file.write_all_at(piece, base + (from - run.guest * CLUSTER))
        };
        let end = start + length(bytes.len());
        let mut pending = start;
        let mut at = start;
        while at < end {
            let next = (at + 1).next_multiple_of(CLUSTER).min(end);
            if is_zero(&bytes[index(at - start)..index(next - start)]) {
                if pending < at {
                    write(pending, at)?;
                }
                pending = next;
            } else {
                self.mark_written(run.slot + at / CLUSTER - run.guest);
            }
            at = next;
        }
        if pending < end { write(pending, end) } else { Ok(()) }
    }

    /// Closes the holes and writes all tables; the header comes last.
    pub fn finish(self, backing: Option<Backing<'_>>) -> Result<(), ContainerError> {
        let first = first_cluster(&self.layout, backing, None)?;
        let closed = self.close_holes();
        let moves = closed.map_err(|source| ContainerError::Io { action: "close the holes in", source })?;
        let end = self.layout.data_cluster(moves.count).0;
        let entry_of = |slot| self.entry(slot, &moves);
        // Every cluster of the file is used exactly once.
        finish(self.file, &self.layout, &first, end, entry_of, |_| 1)
    }

    /// Moves the last written clusters over those that stayed zero, so that the file has no gaps.
    fn close_holes(&self) -> io::Result<Moves> {
        let count = (0..self.layout.data_clusters).filter(|&slot| self.is_written(slot)).count();
        let count = length(count);
        let holes = (0..count).filter(|&slot| !self.is_written(slot));
        let beyond = (count..self.layout.data_clusters).filter(|&slot| self.is_written(slot));
        let moved: Vec<(u64, u64)> = beyond.zip(holes).collect();
        if let Some(&(last, _)) = moved.last() {
            // It may have been written in part only; the rest is zeros.
            self.file.set_len(self.layout.data_cluster(last + 1).0)?;
        }
        for neighbours in moved.chunk_by(|one, next| next.0 == one.0 + 1 && next.1 == one.1 + 1) {
            self.move_clusters(neighbours)?;
        }
        Ok(Moves { count, moved })
    }

    /// Moves a run of clusters to another run.
    fn move_clusters(&self, neighbours: &[(u64, u64)]) -> io::Result<()> {
        let offset = |slot| self.layout.data_cluster(slot).0;
        let (from, to) = neighbours[0];
        let bytes = length(neighbours.len()) * CLUSTER;
        if self.has_reflinks.load(Ordering::Relaxed)
            && reflink(self.file, offset(from), bytes, self.file, offset(to))?
        {
            return Ok(());
        }
        let mut cluster = vec![0; index(CLUSTER)];
        for &(from, to) in neighbours {
            self.file.read_exact_at(&mut cluster, offset(from))?;
            self.file.write_all_at(&cluster, offset(to))?;
        }
        Ok(())
    }

    /// The L2 entry of a data cluster.
    fn entry(&self, slot: u64, moves: &Moves) -> u64 {
        let mapping = if self.is_written(slot) {
            Mapping::Data(self.layout.data_cluster(moves.of(slot)))
        } else {
            Mapping::Unallocated
        };
        mapping.to_entry(CLUSTER_BITS)
    }

    fn mark_written(&self, slot: u64) {
        self.written[index(slot / 64)].fetch_or(1 << (slot % 64), Ordering::Relaxed);
    }

    fn is_written(&self, slot: u64) -> bool {
        self.written[index(slot / 64)].load(Ordering::Relaxed) & (1 << (slot % 64)) != 0
    }
}

/// Which data clusters have moved to close the holes.
struct Moves {
    /// The number of clusters that hold data.
    count: u64,
    /// From where to where clusters were moved, sorted by either.
    moved: Vec<(u64, u64)>,
}

impl Moves {
    /// The final number of a cluster.
    fn of(&self, slot: u64) -> u64 {
        if slot < self.count {
            return slot;
        }
        // Every written cluster beyond the count was moved.
        self.moved.binary_search_by_key(&slot, |&(from, _)| from).map_or(slot, |i| self.moved[i].1)
    }
}

const _: () = assert!(REFLINK_PIECE == CLUSTER);

pub fn outside_of_plan(at: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("byte {at} was not planned to be written"))
}
