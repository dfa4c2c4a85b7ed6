//! Counts what is in a tree, without keeping it in memory: the memory that this program has used is the least that can be
//! measured of the programs that it starts.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use schemars::JsonSchema;
use serde::Serialize;

/// The block size of the file systems that are made.
const BLOCK: u64 = 4096;
/// The size of an inode in them.
const INODE: u64 = 256;

/// A tree in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Survey {
    /// Entries of the top directory.
    pub store_paths: u64,
    /// Regular files.
    pub files: u64,
    /// Directories, without the top one.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// The bytes of all files.
    pub source_bytes: u64,
    /// The blocks of all files and directories, each rounded up.
    #[serde(skip)]
    blocks: u64,
}

impl Survey {
    /// Counts what is below a directory.
    pub fn of(top: &Path) -> anyhow::Result<Self> {
        let mut survey = Self::default();
        // The store may be a link.
        let top = &top.canonicalize().with_context(|| format!("cannot read `{}`", top.display()))?;
        walk(top, |path, metadata| {
            if path == top {
                return Ok(());
            }
            survey.store_paths += u64::from(path.parent() == Some(top));
            if metadata.is_dir() {
                survey.directories += 1;
                survey.blocks += metadata.size().div_ceil(BLOCK).max(1);
            } else if metadata.is_file() {
                survey.files += 1;
                survey.source_bytes += metadata.len();
                survey.blocks += metadata.len().div_ceil(BLOCK);
            } else {
                survey.symlinks += 1;
                survey.blocks += 1;
            }
            Ok(())
        })?;
        Ok(survey)
    }

    /// Inodes for a file system that holds the tree, with some to spare.
    pub fn inodes(&self) -> u64 {
        self.files + self.directories + self.symlinks + 1024
    }

    /// A size that is enough for an ext2 or ext4 file system, journal and reserved blocks included. The tools that
    /// are given it cannot compute it.
    pub fn file_system_bytes(&self) -> u64 {
        let contents = self.blocks * BLOCK + self.inodes() * INODE;
        // 5% are reserved, 2% go to tables and indirect blocks, 64 MiB to the journal of small file systems,
        // 1 GiB to that of the largest.
        contents + contents / 12 + (64 << 20) + (contents / 32).min(1 << 30)
    }
}

/// Visits a file or directory and all that is below it, each directory before what is in it.
pub fn walk(top: &Path, mut visit: impl FnMut(&Path, &Metadata) -> io::Result<()>) -> anyhow::Result<()> {
    let mut todo = vec![top.to_owned()];
    while let Some(path) = todo.pop() {
        let context = || format!("cannot read `{}`", path.display());
        let metadata = path.symlink_metadata().with_context(context)?;
        visit(&path, &metadata).with_context(context)?;
        if metadata.is_dir() {
            for entry in path.read_dir().with_context(context)? {
                todo.push(entry.with_context(context)?.path());
            }
        }
    }
    Ok(())
}
