//! GUID partition tables (UEFI specification 2.10, chapter 5.3): every partition at its place, with its fixed
//! identifiers. The crate `gpt` writes them.

mod checksum;
mod ends;
pub mod reader;

use std::collections::BTreeMap;

use gpt::GptConfig;
use gpt::partition::Partition as Written;
use gpt::partition_types::{OperatingSystem, Type};
use uuid::Uuid;

use crate::disk::mbr::{Partition, Sector};
use crate::error_kind::InternalError;
use crate::guid::Guid;
use ends::Ends;

/// MBR, GPT header and partition entries: the sectors before the first partition.
pub const PRIMARY_SECTORS: u64 = 34;
/// Partition entries, then the GPT header: the sectors behind the last partition.
pub const BACKUP_SECTORS: u64 = 33;

/// The type of a partition for GRUB's core image.
pub const BIOS_BOOT_TYPE: Guid = Guid::from_u128(0x2168_6148_6449_6E6F_744E_6565_6445_4649);
/// The type of an EFI system partition.
pub const ESP_TYPE: Guid = Guid::from_u128(0xC12A_7328_F81F_11D2_BA4B_00A0_C93E_C93B);
/// The type of a file system of Linux.
pub const LINUX_TYPE: Guid = Guid::from_u128(0x0FC6_3DAF_8483_4772_8E79_3D69_D847_7DE4);

/// Attribute bit 1: firmware need not look into the partition for files (UEFI, table 5.8).
pub const NO_BLOCK_IO_PROTOCOL: u64 = 1 << 1;
/// Attribute bit 2: a BIOS may boot from the partition.
pub const LEGACY_BIOS_BOOTABLE: u64 = 1 << 2;

/// What a partition table says of a partition besides its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1 on.
    pub number: u32,
    /// What is in it: one of the types above.
    pub kind: Guid,
    /// Its own GUID.
    pub guid: Guid,
    /// Its name, at most 36 characters.
    pub name: &'static str,
    /// Bits such as [`LEGACY_BIOS_BOOTABLE`].
    pub attributes: u64,
}

/// The first and the last sectors of a disk with these partitions and this MBR.
pub(super) fn write(
    sectors: u64,
    disk_guid: Guid,
    mbr: &Sector,
    partitions: impl Iterator<Item = (Entry, Partition)>,
) -> Result<(Vec<u8>, Vec<u8>), InternalError> {
    let uuid = |guid: Guid| Uuid::from_bytes(guid.bytes());
    let written = |(entry, partition): (Entry, Partition)| {
        let partition = Written {
            part_type_guid: Type { guid: uuid(entry.kind), os: OperatingSystem::None },
            part_guid: uuid(entry.guid),
            first_lba: partition.first.0,
            last_lba: partition.last.0,
            flags: entry.attributes,
            name: entry.name.to_owned(),
        };
        (entry.number, partition)
    };
    let failed = |error: gpt::GptError| InternalError::new(format!("the partition table: {error}"));
    let config = GptConfig::new().writable(true);
    let mut disk = config.create_from_device(Ends::new(sectors), Some(uuid(disk_guid))).map_err(failed)?;
    disk.update_partitions(partitions.map(written).collect::<BTreeMap<_, _>>()).map_err(failed)?;
    let Ends { mut head, tail, .. } = disk.write().map_err(failed)?;
    head[..mbr.len()].copy_from_slice(mbr);
    Ok((head, tail))
}
