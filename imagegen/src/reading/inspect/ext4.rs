//! An ext4 file system: its superblock, groups, and what the largest store paths take.

use std::collections::HashSet;
use std::ops::Range;

use serde::Serialize;

use crate::container::reader::{ReadError, Source};
use crate::fs::ext4::reader::{FileSystem, LOST_FOUND, ROOT, Type};
use crate::on_disk::{Field, Structure};
use crate::text::shown;
use crate::units::{joined, length};

/// An ext4 file system.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ext4 {
    /// The label.
    pub label: String,
    /// The UUID.
    pub uuid: String,
    /// The size of a block.
    pub block_bytes: u64,
    /// The number of blocks.
    pub blocks: u64,
    /// Those that are free.
    pub free_blocks: u64,
    /// The number of inodes.
    pub inodes: u32,
    /// Those that are free.
    pub free_inodes: u32,
    /// The features, by the names of e2fsprogs.
    pub features: Vec<String>,
    /// Whether there is a journal, and whether it must be replayed.
    pub journal: &'static str,
    /// What is in it.
    pub usage: Usage,
    /// What each store path, or each other entry of the root directory, takes; the largest first.
    pub store_paths: Vec<StorePathUse>,
    /// What e2fsck has put into the root's `lost+found`; nothing if that is as empty as it should be.
    pub lost_found: Option<StorePathUse>,
    /// The block groups.
    pub groups: Vec<Group>,
    /// All fields of the superblock, by their names in the documentation.
    pub superblock: Vec<Field>,
}

/// What a file system holds.
#[derive(Debug, Default, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Usage {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Devices, pipes and sockets.
    pub special: u64,
    /// The bytes of all files.
    pub file_bytes: u64,
    /// What blocks the files and directories take, in bytes.
    pub allocated_bytes: u64,
}

/// What an entry of the store takes.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StorePathUse {
    /// Its name.
    pub name: String,
    /// What is in it.
    #[serde(flatten)]
    pub usage: Usage,
    /// Where its blocks lie in the file system, as first byte and length, neighbours joined.
    pub places: Vec<(u64, u64)>,
    /// Why it could not be read to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A block group.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Group {
    /// Its first block.
    pub first_block: u64,
    /// Its number of blocks.
    pub blocks: u64,
    /// Those that are free.
    pub free_blocks: u32,
    /// Its free inodes.
    pub free_inodes: u32,
    /// Where its block bitmap, inode bitmap and inode table begin.
    pub tables: [u64; 3],
    /// The blocks of its inode table.
    pub inode_table_blocks: u64,
}

impl Ext4 {
    pub(super) fn of(source: &dyn Source) -> Result<Self, ReadError> {
        let file_system = FileSystem::open(source)?;
        let superblock = file_system.superblock();
        let directory = file_system.store_directory()?;
        let mut store_paths = Vec::new();
        let mut lost_found = None;
        let mut total = Usage::default();
        for entry in file_system.entries(&directory)? {
            let used = measure(&file_system, entry.inode, &entry.name);
            total.add(&used.usage);
            if directory.number != ROOT {
                // Nix's hard links to the files of all paths are of none.
                if entry.name != b".links" {
                    store_paths.push(used);
                }
            } else if entry.name != LOST_FOUND {
                store_paths.push(used);
            } else if !used.usage.is_one_directory() {
                lost_found = Some(used);
            }
        }
        store_paths
            .sort_by(|a, b| (b.usage.allocated_bytes, &a.name).cmp(&(a.usage.allocated_bytes, &b.name)));
        Ok(Self {
            label: superblock.label(),
            uuid: superblock.uuid().to_string(),
            block_bytes: superblock.block_size().into(),
            blocks: superblock.blocks_count(),
            free_blocks: superblock.free_blocks_count(),
            inodes: superblock.s_inodes_count.get(),
            free_inodes: superblock.s_free_inodes_count.get(),
            features: superblock.features(),
            journal: match (superblock.has_journal(), superblock.needs_recovery()) {
                (_, true) => "to be replayed",
                (true, false) => "clean",
                (false, false) => "none",
            },
            usage: total,
            store_paths,
            lost_found,
            groups: groups(&file_system),
            superblock: superblock.fields(),
        })
    }
}

impl Usage {
    fn is_one_directory(&self) -> bool {
        (self.files, self.directories, self.symlinks, self.special) == (0, 1, 0, 0)
    }

    fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.directories += other.directories;
        self.symlinks += other.symlinks;
        self.special += other.special;
        self.file_bytes = self.file_bytes.saturating_add(other.file_bytes);
        self.allocated_bytes += other.allocated_bytes;
    }
}

fn groups(file_system: &FileSystem<'_>) -> Vec<Group> {
    let superblock = file_system.superblock();
    let per_group = u64::from(superblock.s_blocks_per_group.get());
    let first = u64::from(superblock.s_first_data_block.get());
    let table = u64::from(superblock.s_inodes_per_group.get()) * u64::from(superblock.inode_size());
    (0..)
        .zip(file_system.groups())
        .map(|(i, group)| {
            let start = first + i * per_group;
            Group {
                first_block: start,
                blocks: per_group.min(superblock.blocks_count().saturating_sub(start)),
                free_blocks: group.free_blocks(),
                free_inodes: group.free_inodes(),
                tables: [group.block_bitmap(), group.inode_bitmap(), group.inode_table()],
                inode_table_blocks: table.div_ceil(u64::from(superblock.block_size())),
            }
        })
        .collect()
}

/// Adds up what is below an inode.
fn measure(file_system: &FileSystem<'_>, root: u32, name: &[u8]) -> StorePathUse {
    let mut used =
        StorePathUse { name: shown(name), usage: Usage::default(), places: Vec::new(), problem: None };
    let mut places = Vec::new();
    if let Err(error) = try_measure(file_system, root, &mut used.usage, &mut places) {
        used.problem = Some(error.to_string());
    }
    used.places = joined(places).into_iter().map(|range| (range.start, range.end - range.start)).collect();
    used
}

fn try_measure(
    file_system: &FileSystem<'_>,
    root: u32,
    usage: &mut Usage,
    places: &mut Vec<Range<u64>>,
) -> Result<(), ReadError> {
    let block = u64::from(file_system.superblock().block_size());
    let mut seen = HashSet::new();
    let mut todo = vec![root];
    while let Some(number) = todo.pop() {
        // A hard link counts once.
        if !seen.insert(number) {
            continue;
        }
        let inode = file_system.inode(number)?;
        match inode.kind() {
            Type::Special => usage.special += 1,
            Type::Symlink => usage.symlinks += 1,
            Type::Directory => {
                usage.directories += 1;
                todo.extend(file_system.entries(&inode)?.into_iter().map(|entry| entry.inode));
            }
            Type::File => {
                usage.files += 1;
                usage.file_bytes = usage.file_bytes.saturating_add(inode.size());
            }
        }
        if matches!(inode.kind(), Type::Special | Type::Symlink) && !inode.has_extents() {
            continue;
        }
        let blocks = file_system.blocks(&inode)?;
        usage.allocated_bytes += length(blocks.tree.len()) * block;
        for run in &blocks.runs {
            usage.allocated_bytes += run.count * block;
            places.push(run.physical * block..(run.physical + run.count) * block);
        }
    }
    Ok(())
}
