//! A qcow2 image whose clusters are compressed.
//!
//! How long a compressed cluster is, and so where the next one lies, is known only once it is compressed. Threads
//! compress what they are given, each for itself. Clusters are placed in guest order: the thread that brings the next one
//! places it and those that wait behind it. So the file depends on the contents alone. Clusters that wait are kept in
//! memory; they are few as long as data come in roughly ascending order. Tables lie at planned offsets before the data.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use super::codec::{Codec, Packed};
use super::disk::{CompressedData, Mapping};
use super::first_cluster::first_cluster;
use super::layout::Layout;
use super::tables::finish;
use super::writer::outside_of_plan;
use super::{CLUSTER, CLUSTER_BITS};
use crate::container::{Compression, ContainerError};
use crate::error_kind::InternalError;
use crate::units::{ByteCount, GuestOffset, GuestRange, HostOffset, fit, index, length};

/// A compressed image that is being written.
pub struct Writer<'f> {
    file: &'f File,
    layout: Layout,
    compression: Compression,
    codec: Codec,
    /// For each data cluster, how many of its bytes were planned.
    planned: Vec<u32>,
    state: Mutex<State>,
}

struct State {
    /// Clusters of which a part has come.
    partial: BTreeMap<u64, Partial>,
    /// Clusters that wait for those before them.
    waiting: BTreeMap<u64, Packed>,
    /// The number of the next data cluster to be placed.
    next: u64,
    /// The L2 entries of those before it.
    entries: Vec<u64>,
    space: Space,
}

struct Partial {
    bytes: Vec<u8>,
    /// How many bytes have come.
    count: u32,
}

impl<'f> Writer<'f> {
    pub fn create(
        file: &'f File,
        compression: Compression,
        size: ByteCount,
        allocated: &[GuestRange],
    ) -> Result<Self, ContainerError> {
        let layout = Layout::new(size, allocated)?;
        let planned = planned_bytes(&layout, allocated)?;
        let state = State {
            partial: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next: 0,
            entries: Vec::with_capacity(planned.len()),
            space: Space::new(layout.data_cluster(0).0),
        };
        let codec = Codec::new(compression);
        Ok(Self { file, layout, compression, codec, planned, state: Mutex::new(state) })
    }

    pub fn data(&self, offset: GuestOffset, mut bytes: &[u8]) -> io::Result<()> {
        let GuestOffset(mut at) = offset;
        while !bytes.is_empty() {
            let guest = at / CLUSTER;
            let run = self.layout.run_of(guest).ok_or_else(|| outside_of_plan(at))?;
            let left = (guest + 1) * CLUSTER - at;
            let (now, rest) = bytes.split_at(index(left.min(length(bytes.len()))));
            self.piece(run.slot + guest - run.guest, index(at % CLUSTER), now)?;
            at += length(now.len());
            bytes = rest;
        }
        Ok(())
    }

    /// Takes a piece of a cluster, and compresses the cluster if that was the last one.
    fn piece(&self, slot: u64, start: usize, bytes: &[u8]) -> io::Result<()> {
        if length(bytes.len()) == CLUSTER {
            return self.pack(slot, bytes);
        }
        let mut state = self.lock();
        let partial =
            state.partial.entry(slot).or_insert_with(|| Partial { bytes: vec![0; index(CLUSTER)], count: 0 });
        partial.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        partial.count += fit::<u32, _>(bytes.len())?;
        if partial.count < self.planned[index(slot)] {
            return Ok(());
        }
        let complete = state.partial.remove(&slot);
        drop(state);
        complete.map_or(Ok(()), |partial| self.pack(slot, &partial.bytes))
    }

    fn pack(&self, slot: u64, cluster: &[u8]) -> io::Result<()> {
        let packed = self.codec.pack(cluster)?;
        let mut state = self.lock();
        state.waiting.insert(slot, packed);
        loop {
            let next = state.next;
            let Some(packed) = state.waiting.remove(&next) else { return Ok(()) };
            state.place(&packed, self.file)?;
        }
    }

    /// Places the clusters that were not written whole, and writes all tables; the header comes last.
    pub fn finish(self) -> Result<(), ContainerError> {
        let io = |action| move |source| ContainerError::Io { action, source };
        let first = first_cluster(&self.layout, None, Some(self.compression))?;
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        for slot in state.next..self.layout.data_clusters {
            let packed = match (state.waiting.remove(&slot), state.partial.remove(&slot)) {
                (Some(packed), _) => packed,
                (None, Some(partial)) => {
                    self.codec.pack(&partial.bytes).map_err(io("compress the last clusters of"))?
                }
                (None, None) => Packed::Zero,
            };
            state.place(&packed, self.file).map_err(io("write the last clusters of"))?;
        }
        let State { entries, space, .. } = state;
        let tables = self.layout.data_cluster(0).0 / CLUSTER;
        let count_of = |cluster: u64| cluster.checked_sub(tables).map_or(1, |i| space.refcounts[index(i)]);
        let entry_of = |slot| entries[index(slot)];
        finish(self.file, &self.layout, &first, space.next, entry_of, count_of)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes the next cluster.
    fn place(&mut self, packed: &Packed, file: &File) -> io::Result<()> {
        let mapping = match packed {
            Packed::Zero => Mapping::Unallocated,
            Packed::Raw(bytes) => {
                let start = self.space.take_cluster();
                file.write_all_at(bytes, start)?;
                Mapping::Data(HostOffset(start))
            }
            Packed::Compressed(bytes) => {
                let length = length(bytes.len());
                let start = self.space.take(length);
                file.write_all_at(bytes, start)?;
                Mapping::Compressed(CompressedData { start, length })
            }
        };
        self.entries.push(mapping.to_entry(CLUSTER_BITS));
        self.next += 1;
        Ok(())
    }
}

/// Hands out whole clusters, and pieces of clusters that compressed data have in common.
#[derive(Debug)]
struct Space {
    first: u64,
    /// The next free byte of the cluster that compressed data are put into; at a cluster's beginning there is none.
    open: u64,
    /// The first cluster that is not in use.
    next: u64,
    /// How often each cluster from the first on is used.
    refcounts: Vec<u16>,
}

impl Space {
    fn new(first: u64) -> Self {
        Self { first, open: first, next: first, refcounts: Vec::new() }
    }

    fn take_cluster(&mut self) -> u64 {
        let at = self.next;
        self.next += CLUSTER;
        self.refcounts.push(1);
        at
    }

    /// The offset for compressed bytes. They may reach into the next cluster, if that is free.
    fn take(&mut self, bytes: u64) -> u64 {
        let end_of_open = self.open.next_multiple_of(CLUSTER);
        if self.open + bytes > end_of_open && end_of_open != self.next {
            self.open = self.next;
        }
        let at = self.open;
        self.open += bytes;
        while self.next < self.open {
            self.next += CLUSTER;
            self.refcounts.push(0);
        }
        // QEMU counts whole sectors; their end lies in the same cluster as the bytes' end.
        let clusters = (at - self.first) / CLUSTER..=(at + bytes - 1 - self.first) / CLUSTER;
        for count in &mut self.refcounts[index(*clusters.start())..=index(*clusters.end())] {
            *count += 1;
        }
        at
    }
}

/// How many bytes of each data cluster are in the plan.
fn planned_bytes(layout: &Layout, allocated: &[GuestRange]) -> Result<Vec<u32>, InternalError> {
    let mut planned = vec![0; index(layout.data_clusters)];
    for range in allocated {
        let mut at = range.start.0;
        while at < range.end.0 {
            let guest = at / CLUSTER;
            let end = range.end.0.min((guest + 1) * CLUSTER);
            if let Some(run) = layout.run_of(guest) {
                planned[index(run.slot + guest - run.guest)] += fit::<u32, _>(end - at)?;
            }
            at = end;
        }
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_bytes_share_clusters_and_go_on_into_free_ones() {
        let c = CLUSTER;
        let mut space = Space::new(10 * c);
        assert_eq!(space.take(1000), 10 * c);
        assert_eq!(space.take(c - 1), 10 * c + 1000);
        assert_eq!(space.take_cluster(), 12 * c);
        // Fits behind the last one, though a whole cluster lies behind it.
        assert_eq!(space.take(500), 11 * c + 999);
        // Does not fit, and cannot go on into the next cluster.
        assert_eq!(space.take(c - 1), 13 * c);
        assert_eq!(space.refcounts, [2, 2, 1, 1]);
        assert_eq!(space.next, 14 * c);
    }
}
