//! `schema`: the JSON Schemas of what this program writes.

use super::{
    bench, boot_disk, diff, efi_vars, files, inspect, root_disk, run as machine, store_image, verify,
};
use crate::cli::{SchemaArgs, SchemaName};
use crate::events;
use crate::streams;

/// Prints a schema.
pub fn run(args: &SchemaArgs) -> anyhow::Result<()> {
    let schema = match args.name {
        SchemaName::Bench => bench::schema(),
        SchemaName::BootDiskReport => boot_disk::schema(),
        SchemaName::Diff => diff::schema(),
        SchemaName::EfiVarsList => efi_vars::schema(),
        SchemaName::Inspect => inspect::schema(),
        SchemaName::Ls => files::schema(),
        SchemaName::Progress => events::schema(),
        SchemaName::RootDiskReport => root_disk::schema(),
        SchemaName::RunCommand => machine::command_schema(),
        SchemaName::RunGuest => machine::guest_schema(),
        SchemaName::StoreImageReport => store_image::schema(),
        SchemaName::Verify => verify::schema(),
    };
    streams::print(serde_json::to_string_pretty(&schema)? + "\n")
}
