//! The tables of a qcow2 file: L1, L2, and the clusters they lead to (QEMU's docs/interop/qcow2, "Cluster mapping").

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use zerocopy::byteorder::big_endian::U64;
use zerocopy::{FromZeros, IntoBytes};

use super::compressed::Decompressed;
use super::header::FirstCluster;
use super::{Extension, Header, Layer, ReadError};
use crate::container::Format;
use crate::units::{index, length};

/// How many bytes of L2 tables are kept; a table of 64 KiB maps 512 MiB.
const TABLES_KEPT: u64 = 32 << 20;
/// Bits 9 to 55 of an entry are an offset.
const OFFSET_MASK: u64 = 0x00FF_FFFF_FFFF_FE00;

/// A qcow2 file that has been opened.
#[derive(Debug)]
pub struct Qcow2 {
    /// The header.
    pub header: Header,
    first: FirstCluster,
    pub(super) l1: Vec<U64>,
    tables: Mutex<HashMap<u64, Arc<[U64]>>>,
    pub(super) decompressed: Decompressed,
}

impl Qcow2 {
    /// Reads the header and the L1 table, whose sizes the header's check has bounded.
    pub fn open(path: &Path, file: &File, file_length: u64) -> Result<Self, ReadError> {
        let first = FirstCluster::read(path, file, file_length)?;
        let header = first.header.clone();
        let mut l1 = vec![U64::ZERO; index(header.l1_size.get().into())];
        file.read_exact_at(l1.as_mut_bytes(), header.l1_table_offset.get()).map_err(|source| {
            ReadError::Io { action: "read the L1 table of", path: path.display().to_string(), source }
        })?;
        Ok(Self { header, first, l1, tables: Mutex::default(), decompressed: Decompressed::default() })
    }

    /// The size of a cluster in bytes.
    pub fn cluster_size(&self) -> u64 {
        1 << self.header.cluster_bits.get()
    }

    /// The header's extensions.
    pub fn extensions(&self) -> &[Extension] {
        &self.first.extensions
    }

    /// The backing file's name as it is stored.
    pub fn backing_name(&self) -> Option<&[u8]> {
        self.first.backing_name.as_deref()
    }

    pub(super) fn backing(&self, path: &Path) -> Result<Option<(PathBuf, Option<Format>)>, ReadError> {
        self.first.backing(path)
    }

    /// The number of entries of an L2 table.
    pub(super) fn l2_entries(&self) -> u64 {
        self.cluster_size() / 8
    }

    /// The L2 table that maps a guest cluster, if there is one.
    pub(super) fn l2_table(&self, layer: &Layer, cluster: u64) -> Result<Option<Arc<[U64]>>, ReadError> {
        let guest = cluster << self.header.cluster_bits.get();
        let i = index(cluster / self.l2_entries());
        let entry = self.l1.get(i).ok_or_else(|| layer.damaged(guest, "it lies beyond the L1 table"))?;
        let offset = entry.get() & OFFSET_MASK;
        if offset == 0 {
            return Ok(None);
        }
        if let Some(table) = self.lock().get(&offset) {
            return Ok(Some(Arc::clone(table)));
        }
        let size = self.cluster_size();
        if !offset.is_multiple_of(size) || offset.checked_add(size).is_none_or(|end| end > layer.file_length)
        {
            return Err(layer.damaged(guest, format!("its L2 table would be at {offset:#x} of the file")));
        }
        let mut table = vec![U64::new_zeroed(); index(self.l2_entries())];
        layer.read_file(table.as_mut_bytes(), offset)?;
        let table: Arc<[U64]> = table.into();
        let mut tables = self.lock();
        if length(tables.len()) * size >= TABLES_KEPT {
            tables.clear();
        }
        tables.insert(offset, Arc::clone(&table));
        Ok(Some(table))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<[U64]>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
