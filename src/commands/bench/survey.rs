//! What is in a tree, in numbers. Found without keeping any of it: how much memory this program has used is the
//! least that can be measured of the programs that it starts.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// The block size of the file systems that are made.
const BLOCK: u64 = 4096;
/// The size of an inode in them.
const INODE: u64 = 256;

/// A tree in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
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
    /// Goes through a directory.
    pub fn of(top: &Path) -> anyhow::Result<Self> {
        let mut survey = Self::default();
        let mut todo = vec![top.to_owned()];
        while let Some(directory) = todo.pop() {
            let context = || format!("cannot read `{}`", directory.display());
            let is_top = directory == top;
            for entry in directory.read_dir().with_context(context)? {
                let entry = entry.with_context(context)?;
                let metadata = entry.metadata().with_context(context)?;
                survey.store_paths += u64::from(is_top);
                if metadata.is_dir() {
                    survey.directories += 1;
                    survey.blocks += metadata.size().div_ceil(BLOCK).max(1);
                    todo.push(entry.path());
                } else if metadata.is_file() {
                    survey.files += 1;
                    survey.source_bytes += metadata.len();
                    survey.blocks += metadata.len().div_ceil(BLOCK);
                } else {
                    survey.symlinks += 1;
                    survey.blocks += 1;
                }
            }
        }
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
