//! From guest offsets to offsets in a qcow2 file, by its L1 and L2 tables.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U64;

use super::compressed::Decompressor;
use super::first_cluster::FirstCluster;
use super::{Layer, ReadError};
use crate::container::qcow2::disk::{Header, Mapping, l2_table_offset};
use crate::units::{HostOffset, index, length};

/// How many bytes of L2 tables are kept; a table of 64 KiB maps 512 MiB.
const TABLES_KEPT: u64 = 32 << 20;

/// A qcow2 file that has been opened.
#[derive(Debug)]
pub struct Qcow2 {
    pub first: FirstCluster,
    pub l1: Vec<U64>,
    /// L2 tables by their offset.
    tables: Mutex<HashMap<u64, Arc<[U64]>>>,
    pub decompressor: Decompressor,
}

impl Qcow2 {
    /// Reads the header and the L1 table, whose sizes the header's check has bounded.
    pub fn open(path: &Path, file: &File, file_length: u64) -> Result<Self, ReadError> {
        let first = FirstCluster::read(path, file, file_length)?;
        let mut l1 = vec![U64::ZERO; index(first.header.l1_size.get().into())];
        file.read_exact_at(l1.as_mut_bytes(), first.header.l1_table_offset.get())
            .map_err(ReadError::io("read the L1 table of", path))?;
        let decompressor = Decompressor::new(&first.header);
        Ok(Self { first, l1, tables: Mutex::default(), decompressor })
    }

    pub fn header(&self) -> &Header {
        &self.first.header
    }

    /// The size of a cluster in bytes.
    pub fn cluster_size(&self) -> u64 {
        1 << self.header().cluster_bits.get()
    }

    /// The number of entries of an L2 table.
    pub fn l2_entries(&self) -> u64 {
        self.cluster_size() / 8
    }

    /// The L2 table that maps a guest cluster, if there is one.
    pub fn l2_table(&self, layer: &Layer, cluster: u64) -> Result<Option<Arc<[U64]>>, ReadError> {
        let size = self.cluster_size();
        let damaged = |problem: String| layer.damaged(cluster * size, problem);
        let entry = self.l1.get(index(cluster / self.l2_entries()));
        let entry = entry.ok_or_else(|| damaged("it lies beyond the L1 table".to_owned()))?;
        let Some(offset) = l2_table_offset(entry.get()) else { return Ok(None) };
        let lock = || self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = lock().get(&offset) {
            return Ok(Some(Arc::clone(table)));
        }
        if !offset.is_multiple_of(size) || offset.checked_add(size).is_none_or(|end| end > layer.file_length)
        {
            return Err(damaged(format!("its L2 table would be at {offset:#x} of the file")));
        }
        let mut table = vec![U64::ZERO; index(self.l2_entries())];
        layer.read_file(table.as_mut_bytes(), offset)?;
        let table: Arc<[U64]> = table.into();
        let mut tables = lock();
        if length(tables.len()) * size >= TABLES_KEPT {
            tables.clear();
        }
        tables.insert(offset, Arc::clone(&table));
        Ok(Some(table))
    }

    /// The mapping of the byte at `offset`, and how many of the next `at_most` bytes follow it in one run.
    pub fn map(&self, layer: &Layer, offset: u64, at_most: u64) -> Result<(Mapping, u64), ReadError> {
        let size = self.cluster_size();
        let (first, within) = (offset / size, offset % size);
        let mut mapping = self.cluster(layer, first)?;
        let mut count = size - within;
        if let Mapping::Data(HostOffset(start)) = &mut mapping {
            // Neighbours in the file too are read at once.
            let mut next = first + 1;
            while count < at_most
                && self.cluster(layer, next)? == Mapping::Data(HostOffset(*start + (next - first) * size))
            {
                count += size;
                next += 1;
            }
            *start += within;
        }
        Ok((mapping, count.min(at_most)))
    }

    fn cluster(&self, layer: &Layer, cluster: u64) -> Result<Mapping, ReadError> {
        match self.l2_table(layer, cluster)? {
            None => Ok(Mapping::Unallocated),
            Some(table) => self.decode(layer, cluster, table[index(cluster % self.l2_entries())].get()),
        }
    }

    /// The mapping in the L2 entry of a guest cluster, if the file has what it leads to.
    pub fn decode(&self, layer: &Layer, cluster: u64, entry: u64) -> Result<Mapping, ReadError> {
        let mapping = Mapping::of_entry(entry, self.header());
        let problem = match mapping {
            Mapping::Compressed(data) if data.start >= layer.file_length => {
                format!("its compressed cluster would be at {:#x}, beyond the end of the file", data.start)
            }
            Mapping::Data(HostOffset(host)) if !host.is_multiple_of(self.cluster_size()) => {
                format!("its cluster at {host:#x} of the file is not aligned")
            }
            Mapping::Data(HostOffset(host)) if host >= layer.file_length => {
                format!("its cluster would be at {host:#x}, beyond the end of the file")
            }
            _ => return Ok(mapping),
        };
        Err(layer.damaged(cluster * self.cluster_size(), problem))
    }
}
