//! What lies on disk (Microsoft's "FAT: General Overview of On-Disk Format" 1.03): one declaration of each structure for
//! those who write it and those who read it, with the specification's names.

use std::array::from_fn;
use std::cmp::Ordering;

use bitflags::bitflags;
use zerocopy::byteorder::little_endian::{U16, U32};

use crate::on_disk::structure;

/// In `bpb_media`: a fixed disk.
pub const MEDIA: u8 = 0xF8;
/// What a boot sector ends with.
pub const SIGNATURE: [u8; 2] = [0x55, 0xAA];

structure! {
    /// The fields that all kinds of FAT share.
    pub struct Common {
        bs_jmp_boot: [u8; 3] = bytes,
        bs_oem_name: [u8; 8] = label,
        bpb_byts_per_sec: U16 = decimal,
        bpb_sec_per_clus: u8 = decimal,
        bpb_rsvd_sec_cnt: U16 = decimal,
        bpb_num_fats: u8 = decimal,
        bpb_root_ent_cnt: U16 = decimal,
        bpb_tot_sec16: U16 = decimal,
        bpb_media: u8 = hex,
        bpb_fat_sz16: U16 = decimal,
        bpb_sec_per_trk: U16 = decimal,
        bpb_num_heads: U16 = decimal,
        bpb_hidd_sec: U32 = decimal,
        bpb_tot_sec32: U32 = decimal,
    }
}

structure! {
    /// What follows them in FAT32.
    pub struct Fat32 {
        bpb_fat_sz32: U32 = decimal,
        bpb_ext_flags: U16 = hex,
        bpb_fs_ver: U16 = decimal,
        bpb_root_clus: U32 = decimal,
        bpb_fs_info: U16 = decimal,
        bpb_bk_boot_sec: U16 = decimal,
        bpb_reserved: [u8; 12] = bytes,
    }
}

structure! {
    /// What follows that in FAT32, and the common fields in FAT12 and FAT16.
    pub struct Volume {
        bs_drv_num: u8 = hex,
        bs_reserved1: u8 = hex,
        bs_boot_sig: u8 = hex,
        bs_vol_id: U32 = hex,
        bs_vol_lab: [u8; 11] = label,
        bs_fil_sys_type: [u8; 8] = label,
    }
}

structure! {
    /// What is free on a FAT32 volume ("FAT32 `FSInfo` Sector Structure").
    pub struct FsInfo {
        fsi_lead_sig: U32 = hex,
        fsi_reserved1: [u8; 480] = bytes,
        fsi_struc_sig: U32 = hex,
        fsi_free_count: U32 = decimal,
        fsi_nxt_free: U32 = decimal,
        fsi_reserved2: [u8; 12] = bytes,
        fsi_trail_sig: U32 = hex,
    }
}

const _: () = assert!(size_of::<FsInfo>() == 512, "a sector");

/// The length of a directory entry.
pub const ENTRY: u64 = 32;
/// A short name: eight characters and three of extension, filled up with spaces.
pub type ShortName = [u8; 11];

structure! {
    /// A file, directory or volume label under its short name ("FAT Directory Structure").
    pub struct RawEntry {
        dir_name: ShortName = bytes,
        dir_attr: u8 = hex,
        dir_nt_res: u8 = hex,
        dir_crt_time_tenth: u8 = decimal,
        dir_crt_time: U16 = hex,
        dir_crt_date: U16 = hex,
        dir_lst_acc_date: U16 = hex,
        dir_fst_clus_hi: U16 = decimal,
        dir_wrt_time: U16 = hex,
        dir_wrt_date: U16 = hex,
        dir_fst_clus_lo: U16 = decimal,
        dir_file_size: U32 = decimal,
    }
}

structure! {
    /// A part of a long name ("FAT Long Directory Entries").
    pub struct LongEntry {
        ldir_ord: u8 = hex,
        ldir_name1: [U16; 5] = utf16,
        ldir_attr: u8 = hex,
        ldir_type: u8 = hex,
        ldir_chksum: u8 = hex,
        ldir_name2: [U16; 6] = utf16,
        ldir_fst_clus_lo: U16 = decimal,
        ldir_name3: [U16; 2] = utf16,
    }
}

const _: () = assert!(size_of::<RawEntry>() == 32, "ENTRY");
const _: () = assert!(size_of::<LongEntry>() == 32, "ENTRY");

bitflags! {
    /// What an entry stands for: `dir_attr`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Attributes: u8 {
        const READ_ONLY = 0x01;
        const HIDDEN = 0x02;
        const SYSTEM = 0x04;
        const VOLUME_ID = 0x08;
        const DIRECTORY = 0x10;
        const ARCHIVE = 0x20;
        /// A part of a long name has these of all.
        const LONG_NAME = 0x0F;
    }
}

/// In `ldir_ord`: the last part of a name, which stands before the others.
pub const LAST_LONG_ENTRY: u8 = 0x40;
/// The units of UCS-2 in a part of a name.
pub const UNITS: usize = 13;

impl RawEntry {
    /// What the entry stands for.
    pub fn attributes(&self) -> Attributes {
        Attributes::from_bits_retain(self.dir_attr)
    }
}

impl LongEntry {
    /// The part of that number, with at most [`UNITS`] units.
    pub fn new(ldir_ord: u8, ldir_chksum: u8, part: &[u16]) -> Self {
        // A name that ends within an entry is followed by one NUL and then by 0xFFFF.
        let unit = |i: usize| match i.cmp(&part.len()) {
            Ordering::Less => part[i].into(),
            Ordering::Equal => U16::ZERO,
            Ordering::Greater => U16::MAX_VALUE,
        };
        Self {
            ldir_ord,
            ldir_name1: from_fn(unit),
            ldir_attr: Attributes::LONG_NAME.bits(),
            ldir_type: 0,
            ldir_chksum,
            ldir_name2: from_fn(|i| unit(i + 5)),
            ldir_fst_clus_lo: U16::ZERO,
            ldir_name3: from_fn(|i| unit(i + 11)),
        }
    }

    /// The units up to the end of the name.
    pub fn units(&self) -> impl Iterator<Item = u16> {
        let parts = self.ldir_name1.iter().chain(&self.ldir_name2).chain(&self.ldir_name3);
        parts.map(|unit| unit.get()).take_while(|&unit| unit != 0)
    }
}

/// The sum that ties the parts of a long name to the short one.
pub fn checksum(short: &ShortName) -> u8 {
    short.iter().fold(0, |sum: u8, &byte| sum.rotate_right(1).wrapping_add(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_specification() {
        // The C routine of the specification's section on long names, in Rust.
        fn c_checksum(short: &ShortName) -> u8 {
            let mut sum: u32 = 0;
            for &c in short {
                sum = ((if sum & 1 != 0 { 0x80 } else { 0 }) + (sum >> 1) + u32::from(c)) & 0xFF;
            }
            u8::try_from(sum).unwrap()
        }
        assert_eq!(checksum(b"LOADER~1CON"), c_checksum(b"LOADER~1CON"));
    }
}
