//! For reports: everything that other tools draw at random or take from the clock.

use std::collections::BTreeMap;

use imagegen::fixed;
use imagegen::fs::ext4;
use imagegen::image::root_disk::PartitionTable;

/// Names and values.
pub type FixedValues = BTreeMap<&'static str, String>;

/// Those of a file system.
pub fn of_ext4(options: &ext4::Options) -> FixedValues {
    BTreeMap::from([
        ("uuid", options.uuid.to_string()),
        ("label", options.label.clone()),
        ("directory_hash_seed", options.hash_seed.to_string()),
        ("time", options.time.to_string()),
    ])
}

/// Those of a boot disk.
pub fn of_boot_disk() -> FixedValues {
    let mut values = of_esp(&fixed::ESP_LABEL);
    values.insert("esp_guid", fixed::ESP_GUID.to_string());
    values.insert("bios_boot_partition_guid", fixed::BIOS_BOOT_PARTITION_GUID.to_string());
    values
}

/// Those of a root disk.
pub fn of_root_disk(file_system: &ext4::Options, table: PartitionTable) -> FixedValues {
    let mut values = of_ext4(file_system);
    match table {
        PartitionTable::Efi { .. } | PartitionTable::Hybrid { .. } => {
            let [esp, bios_boot] = fixed::ROOT_DISK_PARTITION_GUIDS;
            values.extend(of_esp(&fixed::ROOT_DISK_ESP_LABEL));
            values.insert("esp_guid", esp.to_string());
            if matches!(table, PartitionTable::Hybrid { .. }) {
                values.insert("bios_boot_partition_guid", bios_boot.to_string());
            }
            values.insert("root_partition_guid", fixed::ROOT_PARTITION_GUID.to_string());
        }
        PartitionTable::Legacy => {
            values.insert("disk_signature", format!("{:08x}", fixed::ROOT_DISK_SIGNATURE));
        }
        _ => {}
    }
    values
}

fn of_esp(label: &[u8]) -> FixedValues {
    let (high, low) = (fixed::ESP_VOLUME_ID >> 16, fixed::ESP_VOLUME_ID & 0xFFFF);
    BTreeMap::from([
        ("disk_guid", fixed::BOOT_DISK_GUID.to_string()),
        ("esp_volume_id", format!("{high:04X}-{low:04X}")),
        ("esp_label", String::from_utf8_lossy(label).trim_end().to_owned()),
        ("file_date", fixed::FAT_DATE.to_owned()),
        ("build_date", fixed::BUILD_DATE.to_owned()),
    ])
}
