//! The first sectors of a FAT file system: what states its geometry.

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{FATS, Fat, Geometry, MEDIA, ROOT_CLUSTER};
use crate::fixed;
use crate::units::{SECTOR, index};

/// Where FAT32 keeps the number of free clusters, in sectors from the boot sector on, and the boot sector's backup, which
/// that sector's own follows (FAT specification 1.03, "FAT32 `FSInfo` Sector Structure and Backup Boot Sector").
const FS_INFO: u16 = 1;
const BACKUP: u16 = 6;

/// The sectors that are written before the allocation tables, each with its number; `used` clusters are taken, from the
/// first on.
pub fn sectors(geometry: &Geometry, label: [u8; 11], used: u64) -> Vec<(u64, Vec<u8>)> {
    match geometry.kind {
        Fat::Fat16 => vec![(0, fat16(geometry, label).as_bytes().to_vec())],
        Fat::Fat32 => {
            let boot_sector = fat32(geometry, label).as_bytes().to_vec();
            let fs_info = FsInfo::new(geometry.clusters, used).as_bytes().to_vec();
            let first = [(0, boot_sector), (u64::from(FS_INFO), fs_info)];
            let backup = first.clone().map(|(number, bytes)| (number + u64::from(BACKUP), bytes));
            first.into_iter().chain(backup).collect()
        }
    }
}

/// The parameters that both kinds share.
fn common(geometry: &Geometry) -> Common {
    // The search for a geometry keeps every number within the width of its field.
    let byte = |n: u64| u8::try_from(n).unwrap_or(u8::MAX);
    let short = |n: u64| U16::new(u16::try_from(n).unwrap_or(u16::MAX));
    let mut common = Common {
        jmp_boot: [0xEB, 0, 0x90],
        oem_name: *b"IMAGEGEN",
        byts_per_sec: short(SECTOR),
        sec_per_clus: byte(geometry.sectors_per_cluster),
        rsvd_sec_cnt: short(geometry.reserved),
        num_fats: byte(FATS),
        root_ent_cnt: U16::ZERO,
        tot_sec16: U16::ZERO,
        media: MEDIA,
        fat_sz16: U16::ZERO,
        sec_per_trk: geometry.sectors_per_track.into(),
        num_heads: geometry.heads.into(),
        hidd_sec: long(geometry.partition.first.0),
        tot_sec32: U32::ZERO,
    };
    match (geometry.kind, u16::try_from(geometry.total)) {
        (Fat::Fat16, Ok(total)) => common.tot_sec16 = total.into(),
        _ => common.tot_sec32 = long(geometry.total),
    }
    common
}

fn fat16(geometry: &Geometry, label: [u8; 11]) -> BootSector16 {
    let short = |n: u64| U16::new(u16::try_from(n).unwrap_or(u16::MAX));
    let common = common(geometry);
    let mut sector = BootSector16 {
        common: Common {
            jmp_boot: [0xEB, 0x3C, 0x90],
            root_ent_cnt: short(geometry.root_entries()),
            fat_sz16: short(geometry.fat),
            ..common
        },
        volume: Volume::new(label, *b"FAT16   "),
        boot_code: [0; 448],
        signature: [0x55, 0xAA],
    };
    sector.boot_code[..2].copy_from_slice(&NEXT_DEVICE);
    sector
}

fn fat32(geometry: &Geometry, label: [u8; 11]) -> BootSector32 {
    let common = common(geometry);
    let mut sector = BootSector32 {
        common: Common { jmp_boot: [0xEB, 0x58, 0x90], ..common },
        fat_sz32: long(geometry.fat),
        ext_flags: U16::ZERO,
        fs_ver: U16::ZERO,
        root_clus: long(ROOT_CLUSTER),
        fs_info: FS_INFO.into(),
        bk_boot_sec: BACKUP.into(),
        reserved: [0; 12],
        volume: Volume::new(label, *b"FAT32   "),
        boot_code: [0; 420],
        signature: [0x55, 0xAA],
    };
    sector.boot_code[..2].copy_from_slice(&NEXT_DEVICE);
    sector
}

fn long(n: u64) -> U32 {
    U32::new(u32::try_from(n).unwrap_or(u32::MAX))
}

/// int 18h: a BIOS that starts this sector goes on to its next boot device.
const NEXT_DEVICE: [u8; 2] = [0xCD, 0x18];

/// The beginning of sector 0, fields named as in Microsoft's "FAT: General Overview of On-Disk Format" 1.03, "Boot Sector
/// and BPB Structure".
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Common {
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
}

/// The volume's name and number, which FAT32 has further behind.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Volume {
    drv_num: u8,
    reserved1: u8,
    boot_sig: u8,
    vol_id: U32,
    vol_lab: [u8; 11],
    fil_sys_type: [u8; 8],
}

impl Volume {
    fn new(label: [u8; 11], fil_sys_type: [u8; 8]) -> Self {
        let vol_id = fixed::ESP_VOLUME_ID.into();
        Self { drv_num: 0x80, reserved1: 0, boot_sig: 0x29, vol_id, vol_lab: label, fil_sys_type }
    }
}

/// Sector 0 of a FAT16 volume.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BootSector16 {
    common: Common,
    volume: Volume,
    boot_code: [u8; 448],
    signature: [u8; 2],
}

/// Sector 0 of a FAT32 volume.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BootSector32 {
    common: Common,
    fat_sz32: U32,
    ext_flags: U16,
    fs_ver: U16,
    root_clus: U32,
    fs_info: U16,
    bk_boot_sec: U16,
    reserved: [u8; 12],
    volume: Volume,
    boot_code: [u8; 420],
    signature: [u8; 2],
}

/// What is free on a FAT32 volume (FAT specification 1.03, "FAT32 `FSInfo` Sector Structure").
#[derive(FromZeros, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FsInfo {
    lead_sig: U32,
    reserved1: [u8; 480],
    struc_sig: U32,
    free_count: U32,
    nxt_free: U32,
    reserved2: [u8; 12],
    trail_sig: U32,
}

impl FsInfo {
    fn new(clusters: u64, used: u64) -> Self {
        let mut info = Self::new_zeroed();
        info.lead_sig = U32::new(0x4161_5252);
        info.struc_sig = U32::new(0x6141_7272);
        info.trail_sig = U32::new(0xAA55_0000);
        info.free_count = long(clusters.saturating_sub(used));
        // Where to look for a free one; all ones for nobody knows.
        info.nxt_free = if used < clusters { long(ROOT_CLUSTER + used) } else { U32::MAX_VALUE };
        info
    }
}

const _: () = assert!(size_of::<BootSector16>() == index(SECTOR), "a boot sector is a sector");
const _: () = assert!(size_of::<BootSector32>() == index(SECTOR), "a boot sector is a sector");
const _: () = assert!(size_of::<FsInfo>() == index(SECTOR), "and so is what is free");
