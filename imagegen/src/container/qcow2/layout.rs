//! Where everything lies in a qcow2 file, known before anything is written.

use super::CLUSTER;
use super::disk::L1_BYTES_MAX;
use crate::container::ContainerError;
use crate::units::{ByteCount, GuestOffset, GuestRange, HostOffset, length};

/// Entries of 8 bytes in a cluster of an L1, L2 or refcount table.
pub const TABLE_ENTRIES: u64 = CLUSTER / 8;
/// Refcounts of 16 bits in a refcount block.
pub const REFCOUNTS: u64 = CLUSTER / 2;
/// Where the refcount table is: directly behind the header.
pub const REFCOUNT_TABLE: u64 = CLUSTER;
/// The guest bytes that one L2 table maps.
const L2_SPAN: u64 = TABLE_ENTRIES * CLUSTER;
/// The largest disk that an L1 table can map.
pub const SIZE_MAX: ByteCount = ByteCount(L1_BYTES_MAX / 8 * L2_SPAN);

/// The plan of a qcow2 file. Structures follow one another in the order of the fields.
#[derive(Debug)]
pub struct Layout {
    /// The virtual disk's size.
    pub size: ByteCount,
    pub refcount_table_clusters: u32,
    refcount_blocks: u64,
    /// The number of entries of the L1 table.
    pub l1_entries: u32,
    l1_clusters: u64,
    /// The indices in the L1 table of the L2 tables that exist, ascending.
    pub l2_tables: Vec<u32>,
    /// Which guest clusters have a host cluster, ascending.
    pub runs: Vec<Run>,
    /// The number of host clusters for data.
    pub data_clusters: u64,
}

/// Neighbouring guest clusters, whose host clusters are neighbours too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first guest cluster.
    pub guest: u64,
    /// The number of clusters.
    pub count: u64,
    /// The number of its first host cluster, counted from the first data cluster.
    pub slot: u64,
}

impl Layout {
    /// Plans a file for a disk of `size` bytes in which the `allocated` ranges, sorted and disjoint, may be written.
    pub fn new(size: ByteCount, allocated: &[GuestRange]) -> Result<Self, ContainerError> {
        let too_large = || ContainerError::TooLarge { format: "qcow2", size, limit: SIZE_MAX };
        // An empty disk gets an entry too: qemu-img takes a table without entries for a leaked cluster.
        let l1_entries = u32::try_from(size.0.div_ceil(L2_SPAN).max(1)).map_err(|_| too_large())?;
        let runs = runs(allocated);
        let data_clusters = runs.last().map_or(0, |run| run.slot + run.count);
        let mut layout = Self {
            size,
            refcount_table_clusters: 1,
            refcount_blocks: 1,
            l1_entries,
            l1_clusters: u64::from(l1_entries).div_ceil(TABLE_ENTRIES),
            l2_tables: l2_tables(&runs)?,
            runs,
            data_clusters,
        };
        // Refcounts cover their own blocks; a few rounds settle it, since each adds ever less.
        loop {
            let blocks = layout.clusters().div_ceil(REFCOUNTS);
            let table = u32::try_from(blocks.div_ceil(TABLE_ENTRIES)).map_err(|_| too_large())?;
            if (blocks, table) == (layout.refcount_blocks, layout.refcount_table_clusters) {
                return Ok(layout);
            }
            (layout.refcount_blocks, layout.refcount_table_clusters) = (blocks, table);
        }
    }

    /// The offset of refcount block `i`.
    pub fn refcount_block(&self, i: u64) -> HostOffset {
        HostOffset((1 + u64::from(self.refcount_table_clusters) + i) * CLUSTER)
    }

    /// The number of refcount blocks.
    pub fn refcount_blocks(&self) -> u64 {
        self.refcount_blocks
    }

    /// The offset of the L1 table.
    pub fn l1_table(&self) -> HostOffset {
        self.refcount_block(self.refcount_blocks)
    }

    /// The offset of the `i`th L2 table that exists.
    pub fn l2_table(&self, i: u64) -> HostOffset {
        HostOffset(self.l1_table().0 + (self.l1_clusters + i) * CLUSTER)
    }

    /// The offset of the data cluster with number `slot`.
    pub fn data_cluster(&self, slot: u64) -> HostOffset {
        HostOffset(self.l2_table(length(self.l2_tables.len())).0 + slot * CLUSTER)
    }

    /// The run that holds a guest cluster.
    pub fn run_of(&self, guest: u64) -> Option<Run> {
        let after = self.runs.partition_point(|run| run.guest <= guest);
        let run = self.runs[..after].last()?;
        (guest < run.guest + run.count).then_some(*run)
    }

    /// The number of clusters of the whole file, if all data clusters are written.
    fn clusters(&self) -> u64 {
        self.data_cluster(self.data_clusters).0 / CLUSTER
    }
}

/// The guest clusters that the ranges touch, neighbours joined.
fn runs(allocated: &[GuestRange]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for range in allocated.iter().filter(|range| !range.is_empty()) {
        let GuestOffset(start) = range.start;
        let (first, end) = (start / CLUSTER, range.end.0.div_ceil(CLUSTER));
        match runs.last_mut() {
            // Ranges are sorted, so only the last run can have a cluster in common with this range.
            Some(last) if first <= last.guest + last.count => last.count = end - last.guest,
            last => {
                let slot = last.map_or(0, |run| run.slot + run.count);
                runs.push(Run { guest: first, count: end - first, slot });
            }
        }
    }
    runs
}

fn l2_tables(runs: &[Run]) -> Result<Vec<u32>, ContainerError> {
    let mut tables: Vec<u32> = Vec::new();
    for run in runs {
        let (first, last) = (run.guest / TABLE_ENTRIES, (run.guest + run.count - 1) / TABLE_ENTRIES);
        for table in first..=last {
            // The size was checked against the L1 table's limit.
            let table = u32::try_from(table).map_err(|_| ContainerError::Plan(run.guest * CLUSTER))?;
            if tables.last() != Some(&table) {
                tables.push(table);
            }
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> GuestRange {
        GuestOffset(start)..GuestOffset(end)
    }

    #[test]
    fn ranges_become_clusters() {
        let c = CLUSTER;
        let allocated = [
            range(5, 9),
            range(c - 1, c + 1),
            range(3 * c, 4 * c),
            range(4 * c, 4 * c),
            range(9 * c, 9 * c + 1),
        ];
        assert_eq!(
            runs(&allocated),
            [
                Run { guest: 0, count: 2, slot: 0 },
                Run { guest: 3, count: 1, slot: 2 },
                Run { guest: 9, count: 1, slot: 3 }
            ]
        );
        let layout = Layout::new(ByteCount(10 * c), &allocated).unwrap();
        assert_eq!(layout.run_of(1), Some(Run { guest: 0, count: 2, slot: 0 }));
        assert_eq!(layout.run_of(2), None);
        assert_eq!(layout.run_of(10), None);
    }

    #[test]
    fn structures_do_not_overlap() {
        // Enough data for several L2 tables, refcount blocks and clusters of the refcount table.
        for clusters in
            [0, 1, TABLE_ENTRIES, REFCOUNTS - 5, REFCOUNTS, 3 * REFCOUNTS, TABLE_ENTRIES * REFCOUNTS]
        {
            let size = ByteCount((clusters + 1) * CLUSTER);
            let layout = Layout::new(size, &[range(0, clusters * CLUSTER)]).unwrap();
            assert!(layout.refcount_blocks * REFCOUNTS >= layout.clusters(), "{clusters}");
            assert!(u64::from(layout.refcount_table_clusters) * TABLE_ENTRIES >= layout.refcount_blocks);
            assert_eq!(layout.l2_tables.len(), usize::try_from(clusters.div_ceil(TABLE_ENTRIES)).unwrap());
        }
    }
}
