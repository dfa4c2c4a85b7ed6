//! From guest offsets to places in a qcow2 file.

use super::compressed::CompressedCluster;
use super::qcow2::Qcow2;
use super::{Layer, ReadError};
use crate::units::{HostOffset, index};

/// Bit 62 of an L2 entry: the cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// Bit 0: the cluster reads as zeros, whether or not it has a place.
const ZEROS: u64 = 1;
const OFFSET_MASK: u64 = 0x00FF_FFFF_FFFF_FE00;

/// Where a guest cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Not in this file: the backing file has it, or it is zeros.
    Nowhere,
    /// It reads as zeros, whatever the backing file has.
    Zeros,
    /// In the file as it is, from this offset on.
    At(HostOffset),
    /// In the file, compressed.
    Compressed(CompressedCluster),
}

impl Qcow2 {
    /// Where the bytes from `offset` on are, and how many of the next `at_most` are there in one run.
    pub(super) fn place(&self, layer: &Layer, offset: u64, at_most: u64) -> Result<(Place, u64), ReadError> {
        let size = self.cluster_size();
        let (first, within) = (offset / size, offset % size);
        let place = self.cluster(layer, first)?;
        let mut count = size - within;
        let place = match place {
            Place::At(start) => {
                // Neighbours that lie side by side in the file too are read at once.
                let mut next = first + 1;
                while count < at_most
                    && self.cluster(layer, next)? == Place::At(HostOffset(start.0 + (next - first) * size))
                {
                    count += size;
                    next += 1;
                }
                Place::At(HostOffset(start.0 + within))
            }
            other => other,
        };
        Ok((place, count.min(at_most)))
    }

    /// Where a guest cluster is.
    pub(super) fn cluster(&self, layer: &Layer, cluster: u64) -> Result<Place, ReadError> {
        let Some(table) = self.l2_table(layer, cluster)? else { return Ok(Place::Nowhere) };
        let entry = table[index(cluster % self.l2_entries())].get();
        self.decode(layer, cluster, entry)
    }

    /// What an L2 entry means.
    pub(super) fn decode(&self, layer: &Layer, cluster: u64, entry: u64) -> Result<Place, ReadError> {
        let bits = self.header.cluster_bits.get();
        let damaged = |problem: String| layer.damaged(cluster << bits, problem);
        if entry & COMPRESSED != 0 {
            let compressed = CompressedCluster::decode(entry, bits);
            if compressed.start >= layer.file_length {
                return Err(damaged(format!(
                    "its compressed cluster would be at {:#x}, beyond the end of the file",
                    compressed.start
                )));
            }
            return Ok(Place::Compressed(compressed));
        }
        if entry & ZEROS != 0 && self.header.version.get() >= 3 {
            return Ok(Place::Zeros);
        }
        match entry & OFFSET_MASK {
            0 => Ok(Place::Nowhere),
            host if !host.is_multiple_of(self.cluster_size()) => {
                Err(damaged(format!("its cluster at {host:#x} of the file is not aligned")))
            }
            host if host >= layer.file_length => {
                Err(damaged(format!("its cluster would be at {host:#x}, beyond the end of the file")))
            }
            host => Ok(Place::At(HostOffset(host))),
        }
    }
}
