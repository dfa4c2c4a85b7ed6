//! A file tree as data: what a scan finds, and what a file system or an archive is planned from.

use std::ops::Range;

use crate::units::{index, length};

/// The number of a node in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A file tree in pre-order: every directory stands directly before its descendants, and the entries of a
/// directory are sorted by the bytes of their names. That is also the order of a NAR and of the file data
/// in an image. Names and link targets are bytes, as Linux has them.
///
/// Node 0 is the root. Its name is not used by a file system (which knows the root without one).
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Names and link targets, one after the other; 67,000 small allocations would cost more than their bytes.
    text: Vec<u8>,
}

/// A file, directory or symbolic link.
#[derive(Debug, Clone)]
struct Node {
    name: Text,
    kind: RawKind,
    /// One past the last descendant: the next sibling, if there is one.
    end: u32,
}

#[derive(Debug, Clone, Copy)]
struct Text {
    start: u64,
    length: u32,
}

#[derive(Debug, Clone, Copy)]
enum RawKind {
    Directory,
    File { size: u64, executable: bool },
    Symlink { target: Text },
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'t> {
    /// A directory; its entries are [`Tree::children`].
    Directory,
    /// A regular file of `size` bytes.
    File {
        /// The length in bytes.
        size: u64,
        /// Whether its owner may execute it; the one permission bit a NAR keeps.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points to, as it is stored.
        target: &'t [u8],
    },
}

/// Why a tree cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    /// Node numbers are 32 bits wide, as ext4's inode numbers are.
    #[error("more than {} files: split the closure", u32::MAX)]
    TooManyNodes,
}

impl Tree {
    /// The number of nodes, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node at all.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Every node, in pre-order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        (0..self.count()).map(NodeId)
    }

    /// The name within its directory.
    pub fn name(&self, node: NodeId) -> &[u8] {
        self.text(self.node(node).name)
    }

    /// What the node is.
    pub fn kind(&self, node: NodeId) -> Kind<'_> {
        match self.node(node).kind {
            RawKind::Directory => Kind::Directory,
            RawKind::File { size, executable } => Kind::File { size, executable },
            RawKind::Symlink { target } => Kind::Symlink { target: self.text(target) },
        }
    }

    /// The node and its descendants, which follow it in one run.
    pub fn subtree(&self, node: NodeId) -> Range<u32> {
        node.0..self.node(node).end
    }

    /// The entries of a directory, sorted by name; nothing for any other node.
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let Range { start, end } = self.subtree(node);
        let mut next = start + 1;
        std::iter::from_fn(move || {
            let child = (next < end).then_some(NodeId(next))?;
            next = self.node(child).end;
            Some(child)
        })
    }

    /// Opens a directory: the nodes added until [`Tree::close_directory`] are inside. Entries must be added in
    /// the order of their names.
    pub fn open_directory(&mut self, name: &[u8]) -> Result<NodeId, TreeError> {
        self.add(name, RawKind::Directory)
    }

    /// Closes a directory that [`Tree::open_directory`] opened, after all that is inside.
    pub fn close_directory(&mut self, directory: NodeId) {
        let end = self.count();
        if let Some(node) = self.nodes.get_mut(index(directory.0.into())) {
            node.end = end;
        }
    }

    /// Adds a regular file of `size` bytes.
    pub fn add_file(&mut self, name: &[u8], size: u64, executable: bool) -> Result<NodeId, TreeError> {
        self.add(name, RawKind::File { size, executable })
    }

    /// Adds a symbolic link.
    pub fn add_symlink(&mut self, name: &[u8], target: &[u8]) -> Result<NodeId, TreeError> {
        let target = self.keep(target);
        self.add(name, RawKind::Symlink { target })
    }

    /// Appends a whole tree, its root under the name that it has there.
    pub fn append(&mut self, other: &Self) -> Result<NodeId, TreeError> {
        let first = self.count();
        let text = length(self.text.len());
        // Checks the sum before any node is added.
        first.checked_add(other.count()).ok_or(TreeError::TooManyNodes)?;
        let moved = |t: Text| Text { start: t.start + text, length: t.length };
        self.nodes.extend(other.nodes.iter().map(|node| Node {
            name: moved(node.name),
            end: node.end + first,
            kind: match node.kind {
                RawKind::Symlink { target } => RawKind::Symlink { target: moved(target) },
                kind => kind,
            },
        }));
        self.text.extend_from_slice(&other.text);
        Ok(NodeId(first))
    }

    fn add(&mut self, name: &[u8], kind: RawKind) -> Result<NodeId, TreeError> {
        let id = self.count();
        let end = id.checked_add(1).ok_or(TreeError::TooManyNodes)?;
        let name = self.keep(name);
        self.nodes.push(Node { name, kind, end });
        Ok(NodeId(id))
    }

    fn keep(&mut self, bytes: &[u8]) -> Text {
        let start = length(self.text.len());
        self.text.extend_from_slice(bytes);
        // Linux has no name or target of more than 4,096 bytes; a longer one is cut and then fails the name checks.
        Text { start, length: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }
    }

    fn text(&self, text: Text) -> &[u8] {
        let start = index(text.start);
        &self.text[start..start + index(text.length.into())]
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[index(node.0.into())]
    }

    fn count(&self) -> u32 {
        // `add` and `append` keep the number within 32 bits.
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Tree {
        let mut tree = Tree::default();
        let root = tree.open_directory(b"top").unwrap();
        tree.add_file(b"a", 5, true).unwrap();
        let b = tree.open_directory(b"b").unwrap();
        tree.add_symlink(b"link", b"../a").unwrap();
        tree.close_directory(b);
        tree.add_file(b"c", 0, false).unwrap();
        tree.close_directory(root);
        tree
    }

    #[test]
    fn children_are_the_direct_entries() {
        let tree = small();
        let names: Vec<_> = tree.children(NodeId(0)).map(|id| tree.name(id)).collect();
        assert_eq!(names, [b"a", b"b", b"c"]);
        assert_eq!(tree.children(NodeId(1)).count(), 0);
        assert_eq!(tree.kind(NodeId(3)), Kind::Symlink { target: b"../a" });
    }

    #[test]
    fn an_appended_tree_keeps_its_shape() {
        let mut all = Tree::default();
        let root = all.open_directory(b"").unwrap();
        all.append(&small()).unwrap();
        let second = all.append(&small()).unwrap();
        all.close_directory(root);
        assert_eq!(all.children(root).count(), 2);
        let names: Vec<_> = all.children(second).map(|id| all.name(id)).collect();
        assert_eq!(names, [b"a", b"b", b"c"]);
        assert_eq!(all.subtree(root), 0..11);
    }
}
