//! What a boot disk's report says besides what every report says.

use std::collections::{BTreeMap, BTreeSet};

use imagegen::boot::Generations;
use imagegen::fixed;
use imagegen::image::boot_disk::Plan;
use imagegen::nix::store_path::StorePath;
use serde::Serialize;

use crate::cli::{BootDiskArgs, LoaderArg};

/// The part of the report that boot disks have.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// On the EFI system partition.
    files: usize,
    directories: usize,
    /// FAT has none.
    symlinks: usize,
    /// Those that files were taken from.
    store_paths: usize,
    source_bytes: u64,
    /// Nothing is compared with a registration.
    verified_paths: usize,
    unverified_paths: usize,
    loaders: Vec<String>,
    generations: Vec<GenerationReport>,
}

#[derive(Debug, Serialize)]
pub struct GenerationReport {
    number: u32,
    toplevel: String,
    default: bool,
    specialisations: Vec<String>,
}

impl Contents {
    /// Counts what is on the planned disk.
    pub fn new(
        args: &BootDiskArgs,
        plan: &Plan,
        generations: &Generations,
        sources: &BTreeSet<StorePath>,
    ) -> Self {
        let default = generations.default().number;
        let all = [LoaderArg::SystemdBoot, LoaderArg::Grub];
        Self {
            files: plan.contents().file_count(),
            directories: plan.contents().directory_count(),
            symlinks: 0,
            store_paths: sources.len(),
            source_bytes: plan.contents().file_bytes(),
            verified_paths: 0,
            unverified_paths: sources.len(),
            loaders: all.into_iter().filter(|l| args.loader.contains(l)).map(LoaderArg::name).collect(),
            generations: generations
                .list()
                .iter()
                .map(|generation| GenerationReport {
                    number: generation.number,
                    toplevel: generation.system.toplevel.to_string(),
                    default: generation.number == default,
                    specialisations: generation.system.specialisations.keys().cloned().collect(),
                })
                .collect(),
        }
    }
}

/// Everything that other tools draw at random or take from the clock.
pub fn fixed_values() -> BTreeMap<&'static str, String> {
    let volume_id = format!("{:04X}-{:04X}", fixed::ESP_VOLUME_ID >> 16, fixed::ESP_VOLUME_ID & 0xFFFF);
    BTreeMap::from([
        ("disk_guid", fixed::BOOT_DISK_GUID.to_string()),
        ("bios_boot_partition_guid", fixed::BIOS_BOOT_PARTITION_GUID.to_string()),
        ("esp_guid", fixed::ESP_GUID.to_string()),
        ("esp_volume_id", volume_id),
        ("esp_label", String::from_utf8_lossy(&fixed::ESP_LABEL).trim_end().to_owned()),
        ("file_date", fixed::FAT_DATE.to_owned()),
        ("build_date", fixed::BUILD_DATE.to_owned()),
    ])
}
