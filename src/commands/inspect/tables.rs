//! What `inspect` prints for people.
//!
//! Tables fit [`COLUMNS`](crate::table::COLUMNS), except for names and parameters that cannot be broken. What a disk has
//! in bulk is one line, if not all is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use imagegen::reading::inspect::{
    AllocatedFile, Contents, EfiVariables, Ext4, Fat, FatFile, Inspection, LoaderEntry, MbrPartition,
    Partition, StorePathUse, Table, Usage,
};
use imagegen::units::ByteCount;

use crate::table::{aligned, fitted, wrapped};

/// How many store paths are shown.
const ROWS: usize = 20;
/// How many files of one directory and one kind are shown, rather than their number.
const ALIKE: usize = 8;

/// The tables; `all` leaves nothing out.
pub fn of(inspection: &Inspection, all: bool) -> Result<String, std::fmt::Error> {
    let mut tables = Tables { out: String::new(), all };
    for (depth, file) in inspection.container.files.iter().enumerate() {
        tables.container(file, depth)?;
    }
    tables.contents(&inspection.contents, "")?;
    Ok(tables.out)
}

struct Tables {
    out: String,
    all: bool,
}

impl Tables {
    fn container(&mut self, file: &AllocatedFile, depth: usize) -> std::fmt::Result {
        let out = &mut self.out;
        let role = if depth == 0 { "Image" } else { "Backing file" };
        writeln!(out, "{role}  {}", file.path)?;
        writeln!(out, "  format      {}", file.format)?;
        writeln!(out, "  disk        {} ({} bytes)", ByteCount(file.virtual_bytes), file.virtual_bytes)?;
        writeln!(
            out,
            "  file        {}, {} on disk",
            ByteCount(file.file_bytes),
            ByteCount(file.disk_bytes)
        )?;
        let totals = file.allocation;
        let mut parts = vec![format!("{} data", ByteCount(totals.data_bytes))];
        if let (1.., Some(compression)) = (totals.compressed_bytes, file.compression) {
            let (data, into) = (ByteCount(totals.compressed_bytes), ByteCount(totals.compressed_into_bytes));
            parts.push(format!("{data} compressed into {into} by {compression}"));
        }
        if totals.zero_bytes > 0 {
            parts.push(format!("{} marked as zeros", ByteCount(totals.zero_bytes)));
        }
        parts.push(format!("{} not in the file", ByteCount(totals.unallocated_bytes)));
        out.push_str(&wrapped("  allocation  ", &" ".repeat(14), &parts.join(", "), &[' ']));
        if let Some(cluster) = file.cluster_bytes {
            writeln!(out, "  clusters    {}", ByteCount(cluster))?;
        }
        if file.snapshots > 0 {
            writeln!(out, "  snapshots   {}, which are not read", file.snapshots)?;
        }
        if let Some(backing) = &file.backing_file {
            writeln!(out, "  backing     {backing}")?;
        }
        writeln!(out)
    }

    fn contents(&mut self, contents: &Contents, indent: &str) -> std::fmt::Result {
        match contents {
            Contents::PartitionTable(table) => self.partition_table(table),
            Contents::Ext4(file_system) => self.ext4(file_system, indent),
            Contents::Fat(file_system) => self.fat(file_system, indent),
            Contents::EfiVariables(variables) => self.efi_variables(variables, indent),
            Contents::Other { name } => writeln!(self.out, "{indent}{name}"),
            Contents::Zeros => writeln!(self.out, "{indent}zeros"),
            Contents::Unknown => writeln!(self.out, "{indent}unknown contents"),
            Contents::Unread { problem } => writeln!(self.out, "{indent}not read: {problem}"),
            Contents::Damaged { problem } => writeln!(self.out, "{indent}damaged: {problem}"),
        }
    }

    fn partition_table(&mut self, table: &Table) -> std::fmt::Result {
        let hybrid = if table.hybrid { ", hybrid MBR" } else { "" };
        let scheme = table.scheme.to_uppercase();
        writeln!(self.out, "Partition table  {scheme}{hybrid}, boot code: {}", table.boot_code)?;
        for problem in &table.problems {
            writeln!(self.out, "  problem: {problem}")?;
        }
        let mut rows = vec![["NO", "FIRST LBA", "SECTORS", "SIZE", "TYPE", "NAME"].map(str::to_owned)];
        rows.extend(table.partitions.iter().map(|Partition { entry, .. }| {
            [
                entry.number.to_string(),
                (entry.start_bytes / table.block_bytes).to_string(),
                (entry.bytes / table.block_bytes).to_string(),
                ByteCount(entry.bytes).to_string(),
                entry.type_name.to_owned(),
                entry.name.clone(),
            ]
        }));
        self.out.push_str(&fitted(&rows, "  "));
        if table.scheme == "gpt" {
            writeln!(self.out, "  MBR records")?;
            for MbrPartition { number, os_type, first_lba, sectors, .. } in &table.mbr {
                writeln!(self.out, "    {number}  type {os_type:02x}, LBA {first_lba}, {sectors} sectors")?;
            }
        }
        for Partition { entry, contents, .. } in &table.partitions {
            let guid = entry.guid.as_ref().map(|guid| format!("  GUID {guid}")).unwrap_or_default();
            writeln!(self.out, "\nPartition {}{guid}", entry.number)?;
            self.contents(contents, "  ")?;
        }
        Ok(())
    }

    fn ext4(&mut self, file_system: &Ext4, indent: &str) -> std::fmt::Result {
        let out = &mut self.out;
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
        let (first, other) = (format!("{indent}  features  "), format!("{indent}            "));
        out.push_str(&wrapped(&first, &other, &file_system.features.join(" "), &[' ']));
        writeln!(out, "{indent}Largest paths")?;
        let shown = if self.all { usize::MAX } else { ROWS };
        let mut rows = vec![["SIZE", "FILES", "PATH"].map(str::to_owned)];
        rows.extend(file_system.store_paths.iter().take(shown).map(|path| {
            [
                ByteCount(path.usage.allocated_bytes).to_string(),
                path.usage.files.to_string(),
                format!("{}{}", path.name, in_brackets(path.problem.as_ref())),
            ]
        }));
        out.push_str(&fitted(&rows, &format!("{indent}  ")));
        match file_system.store_paths.len().saturating_sub(shown) {
            0 => Ok(()),
            more => writeln!(out, "{indent}  and {more} more (--all shows them)"),
        }
    }

    fn fat(&mut self, file_system: &Fat, indent: &str) -> std::fmt::Result {
        let label = file_system.label.as_deref().unwrap_or("");
        let Fat { width, volume_id, clusters, free_clusters, .. } = file_system;
        let size = ByteCount(file_system.cluster_bytes);
        writeln!(self.out, "{indent}{width}  label `{label}`, volume id {volume_id}")?;
        writeln!(self.out, "{indent}  clusters  {clusters} of {size}, {free_clusters} free")?;
        for entry in &file_system.entries {
            self.loader_entry(entry, indent);
        }
        writeln!(self.out, "{indent}Files")?;
        let rows = self.tree(&file_system.files);
        self.out.push_str(&aligned(&rows, &format!("{indent}  "), 0..0));
        Ok(())
    }

    fn loader_entry(&mut self, entry: &LoaderEntry, indent: &str) {
        let [first, other] = ["entry     ", "          "].map(|text| format!("{indent}  {text}"));
        let title = format!("{}  ({})", entry.title, entry.file);
        self.out.push_str(&wrapped(&first, &other, &title, &[' ']));
        for (key, value) in [
            ("version", &entry.version),
            ("linux", &entry.linux),
            ("initrd", &entry.initrd),
            ("options", &entry.options),
        ] {
            if !value.is_empty() {
                let [first, other] = [key, ""].map(|key| format!("{indent}    {key:7} "));
                self.out.push_str(&wrapped(&first, &other, value, &[' ']));
            }
        }
    }

    /// The files, each directory before what it contains; many of one kind in one directory are one row.
    fn tree<'f>(&self, files: &'f [FatFile]) -> Vec<[String; 2]> {
        let mut kinds: BTreeMap<(&str, &str), (usize, u64)> = BTreeMap::new();
        for file in files.iter().filter(|file| !file.directory) {
            let (count, bytes) = kinds.entry(kind(&file.path)).or_default();
            *count += 1;
            *bytes = bytes.saturating_add(file.bytes);
        }
        let mut folded = BTreeSet::new();
        let row = |file: &'f FatFile| {
            let indent = "  ".repeat(file.path.matches('/').count());
            let name = file.path.rsplit('/').next().unwrap_or_default();
            if file.directory {
                return Some([String::new(), format!("{indent}{name}/")]);
            }
            let kind = kind(&file.path);
            match kinds.get(&kind) {
                Some(&(count, bytes)) if count > ALIKE && !self.all && !kind.1.is_empty() => {
                    let name = format!("{indent}*.{}  ({count} files; --all shows them)", kind.1);
                    folded.insert(kind).then(|| [ByteCount(bytes).to_string(), name])
                }
                _ => Some([ByteCount(file.bytes).to_string(), format!("{indent}{name}")]),
            }
        };
        files.iter().filter_map(row).collect()
    }

    fn efi_variables(&mut self, store: &EfiVariables, indent: &str) -> std::fmt::Result {
        let EfiVariables { format, used_bytes, capacity_bytes, variables, .. } = store;
        writeln!(self.out, "{indent}EFI variables  {format}, {used_bytes} of {capacity_bytes} bytes used")?;
        let rows = variables.iter().map(|variable| {
            let vendor = variable.vendor.map_or_else(|| variable.guid.clone(), str::to_owned);
            let value = variable.value.clone().unwrap_or_default();
            [variable.name.clone(), vendor, variable.bytes.to_string(), value]
        });
        self.out.push_str(&fitted(&rows.collect::<Vec<_>>(), &format!("{indent}  ")));
        Ok(())
    }
}

/// A file's directory and the extension of its name.
fn kind(path: &str) -> (&str, &str) {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    (directory, name.rsplit_once('.').map_or("", |(_, extension)| extension))
}

fn in_words(usage: &Usage, directories: u64) -> String {
    let Usage { files, symlinks, .. } = usage;
    let bytes = ByteCount(usage.file_bytes);
    format!("{files} files of {bytes}, {directories} directories, {symlinks} symbolic links")
}

fn in_brackets(problem: Option<&String>) -> String {
    problem.map(|problem| format!("  ({problem})")).unwrap_or_default()
}
