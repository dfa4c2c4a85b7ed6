//! What a root disk's report says besides what every report says.

use std::collections::BTreeMap;

use imagegen::fixed;
use imagegen::fs::ext4::SavedByLinks;
use imagegen::fs::file_tree::Counts;
use imagegen::image::root_disk::{Options, PartitionTable, Plan};
use imagegen::image::store_image::Verified;
use imagegen::nix::closure::Closure;
use serde::Serialize;

use crate::cli::{LoaderArg, RootDiskArgs};
use crate::report::text_digest;

/// The part of the report that root disks have.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// Of the registration as `nix-store --dump-db` prints it, sorted; it has the hashes of all contents.
    registration_sha256: String,
    /// In the root file system.
    #[serde(flatten)]
    counts: Counts,
    /// In the database.
    store_paths: u64,
    linked_files: u64,
    saved_bytes: u64,
    verified_paths: u64,
    unverified_paths: u64,
    partition_table: &'static str,
    loaders: Vec<String>,
    /// The offset of the root file system in bytes.
    root_offset: u64,
}

impl Contents {
    /// Counts what is on the planned disk.
    pub fn new(args: &RootDiskArgs, plan: &Plan<'_>, closure: &Closure, verified: Verified) -> Self {
        let SavedByLinks { linked_files, saved_bytes } = plan.saved_by_links();
        let paths = u64::try_from(closure.registration.paths().len()).unwrap_or(u64::MAX);
        Self {
            registration_sha256: text_digest(&closure.registration.to_string()),
            counts: plan.counts(),
            store_paths: paths,
            linked_files,
            saved_bytes: saved_bytes.0,
            verified_paths: verified.verified,
            // Without a store there is nothing on the disk that could be compared.
            unverified_paths: paths.saturating_sub(verified.verified),
            partition_table: args.partition_table.name(),
            loaders: args.loader.iter().map(|loader| LoaderArg::name(*loader)).collect(),
            root_offset: plan.partitions().root().first.offset().0,
        }
    }
}

/// Everything that other tools draw at random or take from the clock.
pub fn fixed_values(options: &Options<'_>) -> BTreeMap<&'static str, String> {
    let file_system = &options.file_system;
    let mut values = BTreeMap::from([
        ("uuid", file_system.uuid.to_string()),
        ("label", file_system.label.clone()),
        ("directory_hash_seed", file_system.hash_seed.to_string()),
        ("time", file_system.time.to_string()),
    ]);
    match options.table {
        PartitionTable::None => {}
        PartitionTable::Legacy => {
            values.insert("disk_signature", format!("{:08x}", fixed::ROOT_DISK_SIGNATURE));
        }
        PartitionTable::Efi { .. } | PartitionTable::Hybrid { .. } => {
            let [first, second] = fixed::ROOT_DISK_PARTITION_GUIDS;
            values.insert("disk_guid", fixed::BOOT_DISK_GUID.to_string());
            values.insert("esp_guid", first.to_string());
            if matches!(options.table, PartitionTable::Hybrid { .. }) {
                values.insert("bios_boot_partition_guid", second.to_string());
            }
            values.insert("root_partition_guid", fixed::ROOT_PARTITION_GUID.to_string());
            let (high, low) = (fixed::ESP_VOLUME_ID >> 16, fixed::ESP_VOLUME_ID & 0xFFFF);
            values.insert("esp_volume_id", format!("{high:04X}-{low:04X}"));
            let label = String::from_utf8_lossy(&fixed::ROOT_DISK_ESP_LABEL).trim_end().to_owned();
            values.insert("esp_label", label);
            values.insert("file_date", fixed::FAT_DATE.to_owned());
            values.insert("build_date", fixed::BUILD_DATE.to_owned());
        }
    }
    values
}
