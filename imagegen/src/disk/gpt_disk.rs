//! The structures of partition tables (UEFI specification 2.10, chapter 5). A GPT is written by the crate `gpt`; all else that
//! writes or reads one goes by these.

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::on_disk::structure;

structure! {
    /// Sector 0 (UEFI 2.10, table 5.1).
    pub struct Mbr {
        boot_code: [u8; 440] = bytes,
        unique_mbr_disk_signature: U32 = hex,
        unknown: U16 = hex,
        partition_record: [MbrRecord; 4] = structures,
        signature: [u8; 2] = bytes,
    }
}

structure! {
    /// One of the four partitions of an MBR (UEFI 2.10, table 5.2).
    pub struct MbrRecord {
        boot_indicator: u8 = hex,
        starting_chs: [u8; 3] = bytes,
        os_type: u8 = hex,
        ending_chs: [u8; 3] = bytes,
        starting_lba: U32 = decimal,
        size_in_lba: U32 = decimal,
    }
}

structure! {
    /// The header of a GPT (UEFI 2.10, table 5.5).
    pub struct Header {
        signature: [u8; 8] = label,
        revision: U32 = hex,
        header_size: U32 = decimal,
        header_crc32: U32 = hex,
        reserved: U32 = hex,
        my_lba: U64 = decimal,
        alternate_lba: U64 = decimal,
        first_usable_lba: U64 = decimal,
        last_usable_lba: U64 = decimal,
        disk_guid: [u8; 16] = guid,
        partition_entry_lba: U64 = decimal,
        number_of_partition_entries: U32 = decimal,
        size_of_partition_entry: U32 = decimal,
        partition_entry_array_crc32: U32 = hex,
    }
}

structure! {
    /// An entry of a GPT (UEFI 2.10, table 5.6).
    pub struct Entry {
        partition_type_guid: [u8; 16] = guid,
        unique_partition_guid: [u8; 16] = guid,
        starting_lba: U64 = decimal,
        ending_lba: U64 = decimal,
        attributes: U64 = hex,
        partition_name: [U16; 36] = utf16,
    }
}

const _: () = assert!(size_of::<Mbr>() == 512 && size_of::<Header>() == 92 && size_of::<Entry>() == 128);
