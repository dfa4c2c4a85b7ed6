//! Which parts of a disk an image file holds, and where.

use std::collections::HashSet;
use std::io;
use std::ops::Range;

use super::qcow2::Qcow2;
use super::{Layer, ReadError};
use crate::container::qcow2::disk::Mapping;
use crate::host_file::{data_from, hole_from};
use crate::units::{HostOffset, index};

/// A run of guest bytes that a file holds, or does not hold, in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The guest bytes.
    pub guest: Range<u64>,
    /// What the file has of them.
    pub state: State,
}

/// What a file has of a run of guest bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Nothing: the backing file has them, or they are zeros.
    Unallocated,
    /// A mark that they are zeros.
    Zeros,
    /// The bytes as they are, side by side from this offset on.
    Data(HostOffset),
    /// Compressed clusters, of this many bytes in all.
    Compressed(u64),
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unallocated => f.write_str("not allocated"),
            Self::Zeros => f.write_str("zeros"),
            Self::Data(HostOffset(offset)) => write!(f, "at {offset:#x} of the file"),
            Self::Compressed(bytes) => write!(f, "compressed to {bytes} bytes"),
        }
    }
}

/// How many guest bytes are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Totals {
    /// Held as they are.
    pub data_bytes: u64,
    /// Held compressed.
    pub compressed_bytes: u64,
    /// What the compressed ones take in the file.
    pub compressed_into_bytes: u64,
    /// Marked as zeros.
    pub zero_bytes: u64,
    /// Not in the file.
    pub unallocated_bytes: u64,
}

impl Totals {
    /// Adds up extents.
    pub fn of(extents: &[Extent]) -> Self {
        let mut totals = Self::default();
        for extent in extents {
            let bytes = extent.guest.end - extent.guest.start;
            match extent.state {
                State::Unallocated => totals.unallocated_bytes += bytes,
                State::Zeros => totals.zero_bytes += bytes,
                State::Data(_) => totals.data_bytes += bytes,
                State::Compressed(into) => {
                    totals.compressed_bytes += bytes;
                    totals.compressed_into_bytes += into;
                }
            }
        }
        totals
    }
}

impl Layer {
    /// What this file holds of its disk, from the first byte to the last; neighbours of one kind joined. For a raw
    /// file, that is what its file system keeps of it.
    pub fn allocation(&self) -> Result<Vec<Extent>, ReadError> {
        self.qcow2().map_or_else(|| self.holes(), |qcow2| qcow2.allocation(self))
    }

    /// The first byte from `at` on that lies in no hole of the file; its length if there is none.
    pub(crate) fn file_data_from(&self, at: u64) -> Result<u64, ReadError> {
        let found =
            data_from(&self.file, at).map_err(io::Error::from).map_err(ReadError::io(LOOK, &self.path))?;
        Ok(found.unwrap_or(self.file_length.max(at)))
    }

    fn holes(&self) -> Result<Vec<Extent>, ReadError> {
        let mut extents = Extents::default();
        let mut at = 0;
        while at < self.file_length {
            let data = self.file_data_from(at)?;
            extents.add(at..data, State::Unallocated);
            if data >= self.file_length {
                break;
            }
            let hole = hole_from(&self.file, data)
                .map_err(io::Error::from)
                .map_err(ReadError::io(LOOK, &self.path))?;
            // The file may change meanwhile.
            let hole = hole.clamp(data + 1, self.file_length);
            extents.add(data..hole, State::Data(HostOffset(data)));
            at = hole;
        }
        Ok(extents.0)
    }
}

impl Qcow2 {
    fn allocation(&self, layer: &Layer) -> Result<Vec<Extent>, ReadError> {
        let (size, cluster) = (self.header().size.get(), self.cluster_size());
        let span = self.l2_entries() * cluster;
        let mut extents = Extents::default();
        // Where entries of the tables have led to. No writer makes two lead to the same: a small file that does could show more
        // than any reader can read, and take for ever.
        let (mut tables, mut compressed) = (HashSet::new(), HashSet::new());
        let mut at = 0;
        while at < size {
            let end = at.saturating_add(span).min(size);
            let Some(table) = self.l2_table(layer, at / cluster)? else {
                extents.add(at..end, State::Unallocated);
                at = end;
                continue;
            };
            if !tables.insert(self.l1[index(at / span)].get()) {
                return Err(layer.damaged(at, "its L2 table is used twice"));
            }
            for entry in table.iter() {
                let next = at.saturating_add(cluster).min(end);
                let state = match self.decode(layer, at / cluster, entry.get())? {
                    Mapping::Unallocated => State::Unallocated,
                    Mapping::Zeros => State::Zeros,
                    Mapping::Data(host) => State::Data(host),
                    Mapping::Compressed(data) if !compressed.insert(data.start) => {
                        return Err(layer.damaged(at, TWICE));
                    }
                    Mapping::Compressed(data) => State::Compressed(data.length),
                };
                extents.add(at..next, state);
                at = next;
                if at == end {
                    break;
                }
            }
        }
        check_apart(layer, &extents.0)?;
        Ok(extents.0)
    }
}

/// What is done to find holes.
const LOOK: &str = "look for holes in";
const TWICE: &str = "its cluster in the file is used twice";

/// Refuses data that several ranges of the disk have in common.
fn check_apart(layer: &Layer, extents: &[Extent]) -> Result<(), ReadError> {
    let mut runs: Vec<_> = extents
        .iter()
        .filter_map(|extent| match extent.state {
            State::Data(host) => Some((host.0, extent.guest.end - extent.guest.start, extent.guest.start)),
            _ => None,
        })
        .collect();
    runs.sort_unstable();
    let twice = runs.windows(2).find(|pair| pair[0].0.saturating_add(pair[0].1) > pair[1].0);
    twice.map_or(Ok(()), |pair| Err(layer.damaged(pair[1].2, TWICE)))
}

/// Extents in order, neighbours joined where they can be.
#[derive(Default)]
struct Extents(Vec<Extent>);

impl Extents {
    fn add(&mut self, guest: Range<u64>, state: State) {
        if guest.is_empty() {
            return;
        }
        if let Some(last) = self.0.last_mut() {
            let joined = match (last.state, state) {
                (State::Unallocated, State::Unallocated) => Some(State::Unallocated),
                (State::Zeros, State::Zeros) => Some(State::Zeros),
                (State::Data(first), State::Data(next))
                    if first.0 + (last.guest.end - last.guest.start) == next.0 =>
                {
                    Some(State::Data(first))
                }
                (State::Compressed(a), State::Compressed(b)) => Some(State::Compressed(a.saturating_add(b))),
                _ => None,
            };
            if let Some(state) = joined {
                last.guest.end = guest.end;
                last.state = state;
                return;
            }
        }
        self.0.push(Extent { guest, state });
    }
}
