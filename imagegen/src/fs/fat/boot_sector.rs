//! The sectors of a FAT file system before its tables: what states its geometry, and what is free in it.

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromZeros, IntoBytes};

use super::disk::{Common, Fat32, FsInfo, MEDIA, SIGNATURE, Volume};
use super::geometry::{FATS, FIRST_CLUSTER, Fat, Geometry};
use crate::error_kind::InternalError;
use crate::fixed;
use crate::units::{SECTOR, fit, index};

/// Where FAT32 keeps the number of free clusters, in sectors from the boot sector on, and the boot sector's backup, which
/// that sector's own follows (FAT specification 1.03, "FAT32 `FSInfo` Sector Structure and Backup Boot Sector").
const FS_INFO: u16 = 1;
const BACKUP: u16 = 6;
/// int 18h: a BIOS that starts this sector goes on to its next boot device.
const NEXT_DEVICE: [u8; 2] = [0xCD, 0x18];

/// The numbers of the sectors that are written before the allocation tables: the boot sector and, in FAT32, what is free
/// and the backups of both.
pub const fn numbers(kind: Fat) -> &'static [u16] {
    match kind {
        Fat::Fat16 => &[0],
        Fat::Fat32 => &[0, FS_INFO, BACKUP, BACKUP + FS_INFO],
    }
}

/// Those sectors, in that order; `used` clusters are taken, from the first on.
pub fn sectors(geometry: &Geometry, label: [u8; 11], used: u64) -> Result<Vec<Vec<u8>>, InternalError> {
    let boot_sector = boot_sector(geometry, label)?;
    Ok(match geometry.kind {
        Fat::Fat16 => vec![boot_sector],
        Fat::Fat32 => {
            let fs_info = fs_info(geometry.clusters, used)?.as_bytes().to_vec();
            [[boot_sector, fs_info].as_slice(); 2].concat()
        }
    })
}

fn boot_sector(geometry: &Geometry, label: [u8; 11]) -> Result<Vec<u8>, InternalError> {
    let (is_16, total16) = match geometry.kind {
        Fat::Fat16 => (true, u16::try_from(geometry.total).ok()),
        Fat::Fat32 => (false, None),
    };
    let total32: u32 = if total16.is_some() { 0 } else { fit(geometry.total)? };
    let common = Common {
        bs_jmp_boot: [0xEB, if is_16 { 0x3C } else { 0x58 }, 0x90],
        bs_oem_name: *b"IMAGEGEN",
        bpb_byts_per_sec: fit::<u16, _>(SECTOR)?.into(),
        bpb_sec_per_clus: fit(geometry.sectors_per_cluster)?,
        bpb_rsvd_sec_cnt: fit::<u16, _>(geometry.reserved)?.into(),
        bpb_num_fats: fit(FATS)?,
        bpb_root_ent_cnt: fit::<u16, _>(geometry.root_entries())?.into(),
        bpb_tot_sec16: total16.unwrap_or(0).into(),
        bpb_media: MEDIA,
        bpb_fat_sz16: if is_16 { fit::<u16, _>(geometry.fat)?.into() } else { U16::ZERO },
        bpb_sec_per_trk: geometry.sectors_per_track.into(),
        bpb_num_heads: geometry.heads.into(),
        bpb_hidd_sec: fit::<u32, _>(geometry.partition.first.0)?.into(),
        bpb_tot_sec32: total32.into(),
    };
    let mut sector = common.as_bytes().to_vec();
    if !is_16 {
        let fat32 = Fat32 {
            bpb_fat_sz32: fit::<u32, _>(geometry.fat)?.into(),
            bpb_ext_flags: U16::ZERO,
            bpb_fs_ver: U16::ZERO,
            bpb_root_clus: FIRST_CLUSTER.into(),
            bpb_fs_info: FS_INFO.into(),
            bpb_bk_boot_sec: BACKUP.into(),
            bpb_reserved: [0; 12],
        };
        sector.extend_from_slice(fat32.as_bytes());
    }
    let volume = Volume {
        bs_drv_num: 0x80,
        bs_reserved1: 0,
        bs_boot_sig: 0x29,
        bs_vol_id: fixed::ESP_VOLUME_ID.into(),
        bs_vol_lab: label,
        bs_fil_sys_type: if is_16 { *b"FAT16   " } else { *b"FAT32   " },
    };
    sector.extend_from_slice(volume.as_bytes());
    sector.extend(NEXT_DEVICE);
    sector.resize(index(SECTOR) - SIGNATURE.len(), 0);
    sector.extend(SIGNATURE);
    Ok(sector)
}

fn fs_info(clusters: u64, used: u64) -> Result<FsInfo, InternalError> {
    let mut info = FsInfo::new_zeroed();
    info.fsi_lead_sig = 0x4161_5252.into();
    info.fsi_struc_sig = 0x6141_7272.into();
    info.fsi_trail_sig = 0xAA55_0000.into();
    info.fsi_free_count = fit::<u32, _>(clusters - used)?.into();
    // Where to look for a free one; all ones for nobody knows.
    info.fsi_nxt_free =
        if used < clusters { fit::<u32, _>(u64::from(FIRST_CLUSTER) + used)?.into() } else { U32::MAX_VALUE };
    Ok(info)
}
