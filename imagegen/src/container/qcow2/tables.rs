//! The tables of a qcow2 file: from guest clusters to places in the file, and how often each place is used.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U64};

use super::CLUSTER;
use super::disk::l1_entry;
use super::layout::{Layout, REFCOUNT_TABLE, REFCOUNTS, TABLE_ENTRIES};
use crate::container::ContainerError;
use crate::units::{HostOffset, index};

/// Ends the file at `end` and writes all tables, and then its first cluster, without which it is no qcow2 image.
pub fn finish(
    file: &File,
    layout: &Layout,
    first_cluster: &[u8],
    end: u64,
    entry_of: impl Fn(u64) -> u64,
    count_of: impl Fn(u64) -> u16,
) -> Result<(), ContainerError> {
    let io = |action| move |source| ContainerError::Io { action, source };
    file.set_len(end).map_err(io("set the size of"))?;
    write_l2_tables(file, layout, entry_of).map_err(io("write the L2 tables of"))?;
    write_l1_table(file, layout).map_err(io("write the L1 table of"))?;
    write_refcounts(file, layout, end / CLUSTER, count_of).map_err(io("write the refcounts of"))?;
    file.write_all_at(first_cluster, 0).map_err(io("write the header of"))
}

/// Writes the L2 tables; `entry_of` gives the entry of a data cluster's number, 0 for zeros.
fn write_l2_tables(file: &File, layout: &Layout, entry_of: impl Fn(u64) -> u64) -> io::Result<()> {
    let mut runs = layout.runs.iter().copied().peekable();
    for (i, &table) in (0..).zip(&layout.l2_tables) {
        let first = u64::from(table) * TABLE_ENTRIES;
        let mut entries = vec![U64::ZERO; index(TABLE_ENTRIES)];
        while let Some(run) = runs.peek().copied().filter(|run| run.guest < first + TABLE_ENTRIES) {
            let run_end = run.guest + run.count;
            for guest in run.guest.max(first)..run_end.min(first + TABLE_ENTRIES) {
                entries[index(guest - first)] = entry_of(run.slot + guest - run.guest).into();
            }
            if run_end > first + TABLE_ENTRIES {
                break;
            }
            runs.next();
        }
        file.write_all_at(entries.as_bytes(), layout.l2_table(i).0)?;
    }
    Ok(())
}

/// Writes the L1 table.
fn write_l1_table(file: &File, layout: &Layout) -> io::Result<()> {
    let mut entries = vec![U64::ZERO; index(layout.l1_entries.into())];
    for (i, &table) in (0..).zip(&layout.l2_tables) {
        entries[index(table.into())] = l1_entry(layout.l2_table(i)).into();
    }
    file.write_all_at(entries.as_bytes(), layout.l1_table().0)
}

/// Writes the refcounts of a file of this number of clusters; `count_of` gives a cluster's refcount.
fn write_refcounts(
    file: &File,
    layout: &Layout,
    clusters: u64,
    count_of: impl Fn(u64) -> u16,
) -> io::Result<()> {
    let blocks = layout.refcount_blocks();
    let table: Vec<U64> = (0..blocks).map(|i| layout.refcount_block(i).0.into()).collect();
    file.write_all_at(table.as_bytes(), REFCOUNT_TABLE)?;
    for block in 0..blocks {
        let first = block * REFCOUNTS;
        let counts: Vec<U16> =
            (first..clusters.min(first + REFCOUNTS)).map(|cluster| count_of(cluster).into()).collect();
        let HostOffset(offset) = layout.refcount_block(block);
        file.write_all_at(counts.as_bytes(), offset)?;
    }
    Ok(())
}
