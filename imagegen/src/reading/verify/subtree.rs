//! What an ext4 file system has below one of its inodes, as a tree.

use std::collections::HashSet;

use crate::container::reader::ReadError;
use crate::fixed;
use crate::fs::ext4::reader::{Entry, FileSystem, Inode, Type};
use crate::fs::file_tree::{Added, NodeId, Tree, TreeBuilder};
use crate::text::shown;
use crate::units::index;

/// How many deviations are named; the others are only counted.
const NAMED: usize = 20;
const OWNER_EXECUTABLE: u16 = 0o100;

/// A tree and the inode of each of its nodes.
pub struct Subtree {
    /// The files; node 0 is the one asked for.
    pub tree: Tree,
    inodes: Vec<u32>,
    /// What a NAR does not tell, but a store has in one way only.
    pub deviations: Deviations,
}

/// Files whose owner, permissions or time are not a store's.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Deviations {
    /// How many there are.
    pub count: u64,
    /// The first of them: path and what deviates.
    pub first: Vec<String>,
}

impl Subtree {
    /// Reads the tree below `root`, which is called `name`.
    pub fn read(file_system: &FileSystem<'_>, root: u32, name: &[u8]) -> Result<Self, ReadError> {
        let mut tree = TreeBuilder::default();
        let (mut inodes, mut deviations) = (Vec::new(), Deviations::default());
        let mut entered = HashSet::new();
        // The open directories, with the length that the path has without what is in them.
        let mut open: Vec<(Option<Added>, std::vec::IntoIter<Entry>, usize)> =
            vec![(None, vec![Entry { name: name.to_vec(), inode: root }].into_iter(), 0)];
        let mut path = Vec::new();
        while let Some((directory, entries, length)) = open.last_mut() {
            path.truncate(*length);
            let Some(entry) = entries.next() else {
                if let Some(directory) = *directory {
                    tree.close_directory(directory)?;
                }
                open.pop();
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&entry.name);
            let inode = file_system.inode(entry.inode)?;
            inodes.push(entry.inode);
            deviations.check(&path, &inode);
            match inode.kind() {
                Type::File => {
                    let executable = inode.permissions() & OWNER_EXECUTABLE != 0;
                    tree.add_file(&entry.name, inode.size(), executable)?;
                }
                Type::Symlink => {
                    tree.add_symlink(&entry.name, &file_system.link_target(&inode)?)?;
                }
                Type::Directory => {
                    if !entered.insert(entry.inode) {
                        return Err(ReadError::damaged(format!(
                            "`{}` is the directory with inode {}, which is in the tree twice",
                            shown(&path),
                            entry.inode
                        )));
                    }
                    let node = tree.open_directory(&entry.name)?;
                    let entries = file_system.entries(&inode)?;
                    open.push((Some(node), entries.into_iter(), path.len()));
                }
                Type::Special => {
                    return Err(ReadError::damaged(format!(
                        "`{}` is a device, pipe or socket; a store path holds only files, directories and symbolic links",
                        shown(&path)
                    )));
                }
            }
        }
        // The entries of each directory came sorted, so that no node has moved.
        Ok(Self { tree: tree.finish()?.tree, inodes, deviations })
    }

    /// The inode of a node.
    pub fn inode(&self, node: NodeId) -> u32 {
        self.inodes[index(node.0.into())]
    }
}

impl Deviations {
    /// Compares an inode with what the Nix store makes of every file.
    fn check(&mut self, path: &[u8], inode: &Inode) {
        let (mode, kind) = (inode.permissions(), inode.kind());
        let expected = match kind {
            Type::Directory => 0o555,
            Type::File if mode & OWNER_EXECUTABLE != 0 => 0o555,
            Type::File => 0o444,
            Type::Symlink | Type::Special => mode,
        };
        let mut problems = Vec::new();
        if mode != expected {
            problems.push(format!("mode {mode:04o}, not {expected:04o}"));
        }
        if (inode.uid(), inode.gid()) != (0, 0) {
            problems.push(format!("owner {}:{}, not 0:0", inode.uid(), inode.gid()));
        }
        if inode.modified() != i64::from(fixed::STORE_TIME) {
            problems.push(format!("mtime {}, not {}", inode.modified(), fixed::STORE_TIME));
        }
        if problems.is_empty() {
            return;
        }
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(format!("{}: {}", shown(path), problems.join(", ")));
        }
    }

    /// Adds up those of many paths.
    pub fn sum(all: impl Iterator<Item = Self>) -> Self {
        let mut sum = Self::default();
        for other in all {
            sum.count += other.count;
            sum.first.extend(other.first);
            sum.first.truncate(NAMED);
        }
        sum
    }
}
