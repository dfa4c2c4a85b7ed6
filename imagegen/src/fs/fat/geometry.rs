//! The geometry of a FAT16 or FAT32 file system, by the rules of mkfs.fat 4.2.

use super::FatError;
use super::disk::ENTRY;
use crate::disk::mbr::Partition;
use crate::units::{ByteCount, GuestOffset, SECTOR};

/// The number of copies of the allocation table.
pub const FATS: u64 = 2;
/// The number of the first cluster, which is that of FAT32's root directory; the table's first two entries mean something
/// else.
pub const FIRST_CLUSTER: u32 = 2;

/// The largest cluster in sectors.
const SECTORS_PER_CLUSTER_MAX: u64 = 128;
/// Fewer clusters would be taken for FAT12. The specification's limit is 4,085, mkfs.fat keeps clear of it.
const CLUSTERS_MIN_16: u64 = 4087;
/// More clusters would be taken for FAT32.
const CLUSTERS_MAX_16: u64 = 65_524;
/// Fewer clusters would be taken for FAT16. The specification's limit is 65,525, mkfs.fat keeps clear of it, too.
const CLUSTERS_MIN_32: u64 = 65_529;
/// The numbers of clusters have 28 bits, and the last ten mean something else.
const CLUSTERS_MAX_32: u64 = 268_435_446;
/// From this size on mkfs.fat makes FAT32.
const FAT32_FROM: u64 = 512 << 20;
/// What FAT32 keeps before its tables at least, in sectors.
const RESERVED_32: u64 = 32;
/// Root directory entries, rounded up to whole clusters.
const ROOT_ENTRIES_MIN: u64 = 512;

/// How wide the entries of the allocation table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fat {
    /// 16 bits: up to 65,524 clusters, and a root directory of fixed size.
    Fat16,
    /// 28 bits of 32: at least 65,525 clusters.
    Fat32,
}

impl Fat {
    /// What mkfs.fat makes on a partition of that size.
    pub const fn of_size(size: ByteCount) -> Self {
        if size.0 < FAT32_FROM { Self::Fat16 } else { Self::Fat32 }
    }

    /// The length of a table's entry in bytes.
    pub const fn entry(self) -> u64 {
        match self {
            Self::Fat16 => 2,
            Self::Fat32 => 4,
        }
    }

    /// The number of clusters that tells the kinds apart for every reader.
    const fn clusters(self) -> (u64, u64) {
        match self {
            Self::Fat16 => (CLUSTERS_MIN_16, CLUSTERS_MAX_16),
            Self::Fat32 => (CLUSTERS_MIN_32, CLUSTERS_MAX_32),
        }
    }

    /// The cluster size with which mkfs.fat begins, in sectors; it takes the first one that fits.
    fn sectors_per_cluster_min(self, size: ByteCount) -> u64 {
        match (self, size.0.div_ceil(1 << 20)) {
            (Self::Fat16, _) => 4,
            (Self::Fat32, 0..=260) => 1,
            (Self::Fat32, 261..=8192) => 8,
            (Self::Fat32, 8193..=16_384) => 16,
            (Self::Fat32, 16_385..=32_768) => 32,
            (Self::Fat32, _) => 64,
        }
    }
}

impl std::fmt::Display for Fat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
        })
    }
}

/// Where the parts of the file system lie. All lengths are in sectors of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    pub(super) partition: Partition,
    /// How wide the table's entries are.
    pub kind: Fat,
    /// The length of the file system: the partition's, rounded down to a whole track.
    pub total: u64,
    /// The boot sector, FAT32's further sectors, and what is left free behind them.
    pub reserved: u64,
    /// The length of one allocation table.
    pub fat: u64,
    /// The length of FAT16's root directory.
    pub root: u64,
    /// The length of a cluster, a power of two.
    pub sectors_per_cluster: u64,
    /// The number of clusters for files and directories.
    pub clusters: u64,
    pub(super) sectors_per_track: u16,
    pub(super) heads: u16,
}

impl Geometry {
    /// What mkfs.fat would choose for a partition; it chooses the kind, too, where none is given.
    pub fn new(partition: Partition, kind: Option<Fat>) -> Result<Self, FatError> {
        let first = partition.first.0;
        if u32::try_from(first).is_err() {
            return Err(FatError::TooFar { first });
        }
        let sectors = partition.sectors();
        let size = ByteCount(sectors.saturating_mul(SECTOR));
        let kind = kind.unwrap_or(Fat::of_size(size));
        let (sectors_per_track, heads) = track(sectors);
        let total = sectors / u64::from(sectors_per_track) * u64::from(sectors_per_track);

        let (clusters_min, clusters_max) = kind.clusters();
        let mut most = 0;
        let mut sectors_per_cluster = kind.sectors_per_cluster_min(size);
        while sectors_per_cluster <= SECTORS_PER_CLUSTER_MAX {
            // Everything before the first cluster is a whole number of clusters long, so that flash pages align.
            let (reserved, root) = match kind {
                Fat::Fat16 => (sectors_per_cluster, ROOT_ENTRIES_MIN * ENTRY / SECTOR),
                Fat::Fat32 => (RESERVED_32, 0),
            };
            let reserved = reserved.next_multiple_of(sectors_per_cluster);
            let root = root.next_multiple_of(sectors_per_cluster);
            let left = total.saturating_sub(reserved + root);
            // Each cluster costs its own bytes and its two entries; the first two entries have no cluster.
            let bytes_per_cluster = sectors_per_cluster * SECTOR + FATS * kind.entry();
            let estimate =
                (left * SECTOR + FATS * kind.entry() * u64::from(FIRST_CLUSTER)) / bytes_per_cluster;
            let fat = ((estimate + u64::from(FIRST_CLUSTER)) * kind.entry())
                .div_ceil(SECTOR)
                .next_multiple_of(sectors_per_cluster);
            let clusters = left.saturating_sub(FATS * fat) / sectors_per_cluster;
            most = clusters.max(most);
            let fits = (clusters_min..=clusters_max.min(fat * SECTOR / kind.entry())).contains(&clusters);
            // A boot sector counts sectors in 32 bits.
            if fits && u32::try_from(total).is_ok() {
                return Ok(Self {
                    partition,
                    kind,
                    total,
                    reserved,
                    fat,
                    root,
                    sectors_per_cluster,
                    clusters,
                    sectors_per_track,
                    heads,
                });
            }
            sectors_per_cluster *= 2;
        }
        Err(match kind {
            _ if most < clusters_min => FatError::TooSmall { size, kind, clusters: most },
            kind => FatError::TooLarge { size, kind },
        })
    }

    /// The length of a cluster in bytes.
    pub const fn cluster_bytes(&self) -> u64 {
        self.sectors_per_cluster * SECTOR
    }

    /// The number of entries that the root directory has room for; the volume label takes one.
    pub const fn root_entries(&self) -> u64 {
        self.root * SECTOR / ENTRY
    }

    /// Where the boot sector is.
    pub const fn boot_sector(&self) -> GuestOffset {
        self.partition.first.offset()
    }

    /// Where a copy of the allocation table begins.
    pub const fn fat_copy(&self, copy: u64) -> GuestOffset {
        self.boot_sector().advanced((self.reserved + copy * self.fat) * SECTOR)
    }

    /// Where the root directory begins.
    pub const fn root_directory(&self) -> GuestOffset {
        self.fat_copy(FATS)
    }

    /// Where a cluster begins.
    pub fn cluster(&self, number: u32) -> GuestOffset {
        let before = u64::from(number - FIRST_CLUSTER) * self.sectors_per_cluster;
        self.root_directory().advanced((self.root + before) * SECTOR)
    }
}

/// The sectors of a track and the number of heads that mkfs.fat states for a disk whose geometry is not known: in
/// the second half of the list, the fewest heads with which 1,024 cylinders reach the end.
fn track(sectors: u64) -> (u16, u16) {
    const UP_TO: [(u64, u16, u16); 8] = [
        (32_768, 32, 2),
        (65_536, 32, 4),
        (262_144, 32, 8),
        (524_288, 32, 16),
        (1_032_192, 63, 16),
        (2_064_384, 63, 32),
        (4_128_768, 63, 64),
        (8_257_536, 63, 128),
    ];
    let found = UP_TO.iter().find(|(limit, ..)| sectors <= *limit);
    found.map_or((63, 255), |&(_, sectors_per_track, heads)| (sectors_per_track, heads))
}
