//! `inspect`: what an image consists of, as tables, JSON or a picture.

use std::fmt::Write as _;

use imagegen::container::reader::Image;
use imagegen::reading::inspect::{
    AllocatedFile, Contents, EfiVariables, Ext4, Fat, Inspection, MbrPartition, Partition, StorePathUse,
    Table, Usage, inspect,
};
use imagegen::text::lines;
use imagegen::units::ByteCount;

use crate::cli::{InspectArgs, SyncArg};
use crate::small_file;
use crate::streams;
use crate::svg;
use crate::table::aligned;

/// How many store paths and files a table shows.
const ROWS: usize = 20;

/// Examines an image and prints or draws what was found.
pub fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let image = Image::open(&args.image, args.format, &args.backing.into())?;
    let inspection = inspect(&image)?;
    if let Some(path) = &args.svg {
        small_file::write(path, svg::draw(&inspection).as_bytes(), SyncArg::default())?;
        if !args.json {
            return Ok(());
        }
    }
    if args.json {
        return streams::print_json(&inspection);
    }
    let mut out = String::new();
    tables(&mut out, &inspection)?;
    streams::print(lines(&out))
}

fn tables(out: &mut String, inspection: &Inspection) -> std::fmt::Result {
    for (depth, file) in inspection.container.files.iter().enumerate() {
        container(out, file, depth)?;
    }
    contents(out, &inspection.contents, "")
}

fn container(out: &mut String, file: &AllocatedFile, depth: usize) -> std::fmt::Result {
    let role = if depth == 0 { "Image" } else { "Backing file" };
    writeln!(out, "{role}  {}", file.path)?;
    writeln!(out, "  format      {}", file.format)?;
    writeln!(out, "  disk        {} ({} bytes)", ByteCount(file.virtual_bytes), file.virtual_bytes)?;
    writeln!(out, "  file        {}, {} on disk", ByteCount(file.file_bytes), ByteCount(file.disk_bytes))?;
    let totals = file.allocation;
    write!(out, "  allocation  {} data", ByteCount(totals.data_bytes))?;
    if totals.compressed_bytes > 0 {
        let (data, into) = (ByteCount(totals.compressed_bytes), ByteCount(totals.compressed_into_bytes));
        write!(out, ", {data} compressed into {into}")?;
    }
    if totals.zero_bytes > 0 {
        write!(out, ", {} marked as zeros", ByteCount(totals.zero_bytes))?;
    }
    writeln!(out, ", {} not in the file", ByteCount(totals.unallocated_bytes))?;
    if let (Some(cluster), Some(compression)) = (file.cluster_bytes, file.compression) {
        writeln!(out, "  clusters    {}, {compression}", ByteCount(cluster))?;
        writeln!(out, "  snapshots   {}", file.snapshots)?;
    }
    if let Some(backing) = &file.backing_file {
        writeln!(out, "  backing     {backing}")?;
    }
    writeln!(out)
}

fn contents(out: &mut String, contents: &Contents, indent: &str) -> std::fmt::Result {
    match contents {
        Contents::PartitionTable(table) => partition_table(out, table),
        Contents::Ext4(file_system) => ext4(out, file_system, indent),
        Contents::Fat(file_system) => fat(out, file_system, indent),
        Contents::EfiVariables(variables) => efi_variables(out, variables, indent),
        Contents::Other { name } => writeln!(out, "{indent}{name}"),
        Contents::Zeros => writeln!(out, "{indent}zeros"),
        Contents::Unknown => writeln!(out, "{indent}unknown contents"),
        Contents::Unread { problem } => writeln!(out, "{indent}not read: {problem}"),
        Contents::Damaged { problem } => writeln!(out, "{indent}damaged: {problem}"),
    }
}

fn partition_table(out: &mut String, table: &Table) -> std::fmt::Result {
    let hybrid = if table.hybrid { ", hybrid MBR" } else { "" };
    let scheme = table.scheme.to_uppercase();
    writeln!(out, "Partition table  {scheme}{hybrid}, boot code: {}", table.boot_code)?;
    for problem in &table.problems {
        writeln!(out, "  problem: {problem}")?;
    }
    let mut rows = vec![["NO", "FIRST LBA", "SECTORS", "SIZE", "NAME", "TYPE", "GUID"].map(str::to_owned)];
    rows.extend(table.partitions.iter().map(|Partition { entry, .. }| {
        [
            entry.number.to_string(),
            (entry.start_bytes / table.block_bytes).to_string(),
            (entry.bytes / table.block_bytes).to_string(),
            ByteCount(entry.bytes).to_string(),
            entry.name.clone(),
            entry.type_name.to_owned(),
            entry.guid.clone().unwrap_or_default(),
        ]
    }));
    out.write_str(&aligned(&rows, "  ", 0..0))?;
    if table.scheme == "gpt" {
        writeln!(out, "  MBR records")?;
        for MbrPartition { number, os_type, first_lba, sectors, .. } in &table.mbr {
            writeln!(out, "    {number}  type {os_type:02x}, LBA {first_lba}, {sectors} sectors")?;
        }
    }
    for partition in &table.partitions {
        writeln!(out, "\nPartition {}", partition.entry.number)?;
        contents(out, &partition.contents, "  ")?;
    }
    Ok(())
}

fn ext4(out: &mut String, file_system: &Ext4, indent: &str) -> std::fmt::Result {
    let Ext4 { label, uuid, blocks, free_inodes, inodes, usage, journal, .. } = file_system;
    let [size, free] = [*blocks, file_system.free_blocks]
        .map(|blocks| ByteCount(blocks.saturating_mul(file_system.block_bytes)));
    let (block, groups) = (ByteCount(file_system.block_bytes), file_system.groups.len());
    writeln!(out, "{indent}ext4  label `{label}`, UUID {uuid}")?;
    writeln!(out, "{indent}  size      {size}: {blocks} blocks of {block}, {groups} groups")?;
    writeln!(out, "{indent}  free      {free}, {free_inodes} of {inodes} inodes")?;
    writeln!(out, "{indent}  holds     {}", in_words(usage, usage.directories))?;
    if let Some(StorePathUse { name, usage, problem, .. }) = &file_system.lost_found {
        // Not counting itself.
        let lost = in_words(usage, usage.directories.saturating_sub(1));
        writeln!(out, "{indent}  lost      {lost}, in `{name}`{}", in_brackets(problem.as_ref()))?;
    }
    writeln!(out, "{indent}  journal   {journal}")?;
    writeln!(out, "{indent}  features  {}", file_system.features.join(" "))?;
    writeln!(out, "{indent}Largest paths")?;
    let mut rows = vec![["SIZE", "FILES", "PATH"].map(str::to_owned)];
    rows.extend(file_system.store_paths.iter().take(ROWS).map(|path| {
        [
            ByteCount(path.usage.allocated_bytes).to_string(),
            path.usage.files.to_string(),
            format!("{}{}", path.name, in_brackets(path.problem.as_ref())),
        ]
    }));
    out.write_str(&aligned(&rows, &format!("{indent}  "), 0..0))?;
    match file_system.store_paths.len().saturating_sub(ROWS) {
        0 => Ok(()),
        more => writeln!(out, "{indent}  and {more} more (--json has all)"),
    }
}

fn in_words(usage: &Usage, directories: u64) -> String {
    let Usage { files, symlinks, .. } = usage;
    let bytes = ByteCount(usage.file_bytes);
    format!("{files} files of {bytes}, {directories} directories, {symlinks} symbolic links")
}

fn in_brackets(problem: Option<&String>) -> String {
    problem.map(|problem| format!("  ({problem})")).unwrap_or_default()
}

fn fat(out: &mut String, file_system: &Fat, indent: &str) -> std::fmt::Result {
    let label = file_system.label.as_deref().unwrap_or("");
    writeln!(out, "{indent}{}  label `{label}`, volume id {}", file_system.width, file_system.volume_id)?;
    let Fat { clusters, free_clusters, .. } = file_system;
    let size = ByteCount(file_system.cluster_bytes);
    writeln!(out, "{indent}  clusters  {clusters} of {size}, {free_clusters} free")?;
    for entry in &file_system.entries {
        writeln!(out, "{indent}  entry     {}  ({})", entry.title, entry.file)?;
        for (key, value) in [
            ("version", &entry.version),
            ("linux", &entry.linux),
            ("initrd", &entry.initrd),
            ("options", &entry.options),
        ] {
            if !value.is_empty() {
                writeln!(out, "{indent}              {key:7} {value}")?;
            }
        }
    }
    writeln!(out, "{indent}Files")?;
    let rows = file_system.files.iter().map(|file| {
        let depth = file.path.matches('/').count();
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let slash = if file.directory { "/" } else { "" };
        let size = if file.directory { String::new() } else { ByteCount(file.bytes).to_string() };
        [size, format!("{}{name}{slash}", "  ".repeat(depth))]
    });
    let rows: Vec<_> = rows.collect();
    out.write_str(&aligned(&rows, &format!("{indent}  "), 0..0))
}

fn efi_variables(out: &mut String, store: &EfiVariables, indent: &str) -> std::fmt::Result {
    writeln!(
        out,
        "{indent}EFI variables  {}, {} of {} bytes used",
        store.format, store.used_bytes, store.capacity_bytes
    )?;
    let rows = store.variables.iter().map(|variable| {
        let vendor = variable.vendor.map_or_else(|| variable.guid.clone(), str::to_owned);
        let value = variable.value.clone().unwrap_or_default();
        [variable.name.clone(), vendor, variable.bytes.to_string(), value]
    });
    let rows: Vec<_> = rows.collect();
    out.write_str(&aligned(&rows, &format!("{indent}  "), 0..0))
}
