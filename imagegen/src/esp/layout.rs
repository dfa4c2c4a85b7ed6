//! The geometry of a FAT16 file system, by the rules of mkfs.fat 4.2, and the boot sector that states it.

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes, KnownLayout, Unaligned};

use super::EspError;
use crate::fixed;
use crate::mbr::Partition;
use crate::units::{ByteCount, GuestOffset, SECTOR};

/// The number of copies of the allocation table.
pub const FATS: u64 = 2;
/// The number of the first cluster; the table's first two entries mean something else.
pub const FIRST_CLUSTER: u64 = 2;

/// mkfs.fat begins to look for a cluster size that fits with this one, in sectors.
const SECTORS_PER_CLUSTER_MIN: u64 = 4;
const SECTORS_PER_CLUSTER_MAX: u64 = 128;
/// Fewer clusters would be taken for FAT12. The specification's limit is 4,085, mkfs.fat keeps clear of it.
const CLUSTERS_MIN: u64 = 4087;
/// More clusters would be taken for FAT32.
const CLUSTERS_MAX: u64 = 65_524;
/// Root directory entries, rounded up to whole clusters.
const ROOT_ENTRIES_MIN: u64 = 512;
const ENTRY: u64 = 32;
const FAT_ENTRY: u64 = 2;

/// Where the parts of the file system lie. All lengths are in sectors of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    partition: Partition,
    /// The length of the file system: the partition's, rounded down to a whole track.
    pub total: u64,
    /// The boot sector and what is left free behind it.
    pub reserved: u64,
    /// The length of one allocation table.
    pub fat: u64,
    /// The length of the root directory.
    pub root: u64,
    /// The length of a cluster, a power of two.
    pub sectors_per_cluster: u64,
    /// The number of clusters for files and directories.
    pub clusters: u64,
    sectors_per_track: u16,
    heads: u16,
}

impl Geometry {
    /// What mkfs.fat would choose for a partition.
    pub fn new(partition: Partition) -> Result<Self, EspError> {
        let sectors = partition.sectors();
        let (sectors_per_track, heads) = track(sectors);
        let total = sectors / u64::from(sectors_per_track) * u64::from(sectors_per_track);

        let mut sectors_per_cluster = SECTORS_PER_CLUSTER_MIN;
        while sectors_per_cluster <= SECTORS_PER_CLUSTER_MAX {
            // Everything before the first cluster is a whole number of clusters long, so that flash pages align.
            let reserved = sectors_per_cluster;
            let root = (ROOT_ENTRIES_MIN * ENTRY / SECTOR).next_multiple_of(sectors_per_cluster);
            let left = total.saturating_sub(reserved + root);
            // Each cluster costs its own bytes and its two entries; the first two entries have no cluster.
            let bytes_per_cluster = sectors_per_cluster * SECTOR + FATS * FAT_ENTRY;
            let estimate = (left * SECTOR + FATS * FAT_ENTRY * FIRST_CLUSTER) / bytes_per_cluster;
            let fat = ((estimate + FIRST_CLUSTER) * FAT_ENTRY)
                .div_ceil(SECTOR)
                .next_multiple_of(sectors_per_cluster);
            let clusters = left.saturating_sub(FATS * fat) / sectors_per_cluster;
            if (CLUSTERS_MIN..=CLUSTERS_MAX.min(fat * SECTOR / FAT_ENTRY)).contains(&clusters) {
                return Ok(Self {
                    partition,
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
        let size = ByteCount(sectors.saturating_mul(SECTOR));
        Err(if sectors > CLUSTERS_MIN * SECTORS_PER_CLUSTER_MAX {
            EspError::TooLarge(size)
        } else {
            EspError::TooSmall(size)
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
    pub const fn cluster(&self, number: u64) -> GuestOffset {
        let before = (number - FIRST_CLUSTER) * self.sectors_per_cluster;
        self.root_directory().advanced((self.root + before) * SECTOR)
    }

    /// The first sector of the file system.
    pub fn boot_sector_bytes(&self, label: [u8; 11]) -> BootSector {
        // The search for a geometry keeps every number within the width of its field.
        let byte = |n: u64| u8::try_from(n).unwrap_or(u8::MAX);
        let short = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        let long = |n: u64| U32::new(u32::try_from(n).unwrap_or(u32::MAX));
        let mut sector = BootSector {
            jmp_boot: [0xEB, 0x3C, 0x90],
            oem_name: *b"IMAGEGEN",
            byts_per_sec: short(SECTOR).into(),
            sec_per_clus: byte(self.sectors_per_cluster),
            rsvd_sec_cnt: short(self.reserved).into(),
            num_fats: byte(FATS),
            root_ent_cnt: short(self.root_entries()).into(),
            tot_sec16: U16::ZERO,
            media: MEDIA,
            fat_sz16: short(self.fat).into(),
            sec_per_trk: self.sectors_per_track.into(),
            num_heads: self.heads.into(),
            hidd_sec: long(self.partition.first.0),
            tot_sec32: U32::ZERO,
            drv_num: 0x80,
            reserved1: 0,
            boot_sig: 0x29,
            vol_id: fixed::ESP_VOLUME_ID.into(),
            vol_lab: label,
            fil_sys_type: *b"FAT16   ",
            boot_code: [0; 448],
            signature: [0x55, 0xAA],
        };
        match u16::try_from(self.total) {
            Ok(total) => sector.tot_sec16 = total.into(),
            Err(_) => sector.tot_sec32 = long(self.total),
        }
        // int 18h: a BIOS that starts this sector goes on to its next boot device.
        sector.boot_code[..2].copy_from_slice(&[0xCD, 0x18]);
        sector
    }
}

/// "Fixed disk".
pub const MEDIA: u8 = 0xF8;

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

/// Sector 0 of a FAT16 volume, fields named as in Microsoft's "FAT: General Overview of On-Disk Format" 1.03,
/// "Boot Sector and BPB Structure".
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BootSector {
    jmp_boot: [u8; 3],
    oem_name: [u8; 8],
    byts_per_sec: U16,
    sec_per_clus: u8,
    rsvd_sec_cnt: U16,
    num_fats: u8,
    root_ent_cnt: U16,
    tot_sec16: U16,
    media: u8,
    fat_sz16: U16,
    sec_per_trk: U16,
    num_heads: U16,
    hidd_sec: U32,
    tot_sec32: U32,
    drv_num: u8,
    reserved1: u8,
    boot_sig: u8,
    vol_id: U32,
    vol_lab: [u8; 11],
    fil_sys_type: [u8; 8],
    boot_code: [u8; 448],
    signature: [u8; 2],
}

const _: () = assert!(size_of::<BootSector>() == 512, "a boot sector is a sector");
