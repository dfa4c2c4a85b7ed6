//! A file tree as data: what a scan finds, and what a file system or an archive is planned from.

mod builder;

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::units::index;

pub use builder::{Added, Built, TreeBuilder};

/// The number of a node in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A file tree, built by a [`TreeBuilder`]. It is in pre-order: every directory stands directly before its descendants, and the entries of a
/// directory are sorted by the bytes of their names. That is also the order of a NAR and of the file data
/// in an image. Names and link targets are bytes, as Linux has them.
///
/// Node 0 is the root. Its name is not used by a file system (which knows the root without one). Owner and group of
/// everything are root's; permissions are those of a Nix store unless [`TreeBuilder::set_permissions`] says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Names and link targets, one after the other; 67,000 small allocations would cost more than their bytes.
    text: Vec<u8>,
    /// Further names of files, ascending, each with the first name of its file.
    further: Vec<(NodeId, NodeId)>,
    /// The first names of files with several, ascending, and how many names each has.
    several: Vec<(NodeId, u32)>,
}

/// A part of a tree in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Counts {
    /// Regular files, by their names.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// The bytes of all files.
    pub source_bytes: u64,
}

/// A file, directory or symbolic link. A closure may have millions of them, so that each byte here counts.
#[derive(Debug, Clone)]
struct Node {
    /// Where the name begins in the text; a link's target follows it.
    text: u64,
    /// The length of a file in bytes, or of a link's target.
    size: u64,
    /// One past the last descendant: the next sibling, if there is one.
    end: u32,
    name_length: u16,
    /// File type and permissions, as in `inode(7)`.
    mode: u16,
}

const _: () = assert!(size_of::<Node>() == 24);

/// The bits of a mode that tell the file type, and its values (inode(7)).
pub(crate) const S_IFMT: u16 = 0o170_000;
pub(crate) const S_IFDIR: u16 = 0o040_000;
pub(crate) const S_IFREG: u16 = 0o100_000;
pub(crate) const S_IFLNK: u16 = 0o120_000;

/// The permission bits of a file: `rwx` for owner, group and others, set-user-ID, set-group-ID and the sticky bit
/// (chmod(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions(u16);

impl Permissions {
    /// A file in a Nix store.
    pub const STORE_FILE: Self = Self(0o444);
    /// A directory, or an executable file, in a Nix store.
    pub const STORE_EXECUTABLE: Self = Self(0o555);
    /// What every symbolic link has.
    pub const SYMLINK: Self = Self(0o777);

    /// The low 12 bits of a mode, such as `0o1777`; other bits are not permissions and are dropped.
    pub const fn new(mode: u16) -> Self {
        Self(mode & 0o7777)
    }

    /// The bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether the owner may execute the file.
    pub const fn is_executable(self) -> bool {
        self.0 & 0o100 != 0
    }
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
        let node = self.node(node);
        self.text(node.text, node.name_length.into())
    }

    /// What the node is.
    pub fn kind(&self, node: NodeId) -> Kind<'_> {
        let node = self.node(node);
        match node.mode & S_IFMT {
            S_IFDIR => Kind::Directory,
            S_IFLNK => Kind::Symlink { target: self.target(node) },
            _ => Kind::File { size: node.size, executable: Permissions::new(node.mode).is_executable() },
        }
    }

    /// The permissions of a node.
    pub fn permissions(&self, node: NodeId) -> Permissions {
        Permissions::new(self.node(node).mode)
    }

    /// File type and permissions, as `inode(7)` and ext4 have them.
    pub fn mode(&self, node: NodeId) -> u16 {
        self.node(node).mode
    }

    /// The node that stands for a file's contents: the first of its names, and the node itself if that is the only one.
    pub fn first_name(&self, node: NodeId) -> NodeId {
        let found = self.further.binary_search_by_key(&node, |&(further, _)| further);
        found.map_or(node, |i| self.further[i].1)
    }

    /// How many names the file has whose first name this is; 1 for any other node.
    pub fn name_count(&self, first: NodeId) -> u32 {
        let found = self.several.binary_search_by_key(&first, |&(node, _)| node);
        found.map_or(1, |i| self.several[i].1)
    }

    /// The most names that a file has.
    pub fn name_count_max(&self) -> u32 {
        self.several.iter().map(|&(_, count)| count).max().unwrap_or(1)
    }

    /// How many nodes up to `end`, itself left out, are further names of files.
    pub fn further_names_before(&self, end: NodeId) -> u32 {
        count(self.further.partition_point(|&(further, _)| further < end))
    }

    /// The path of a node below the root, for messages.
    pub fn path(&self, node: NodeId) -> PathBuf {
        let mut path = PathBuf::new();
        let mut at = NodeId(0);
        while let Some(child) = self.children(at).find(|&child| self.subtree(child).contains(&node.0)) {
            path.push(OsStr::from_bytes(self.name(child)));
            at = child;
        }
        path
    }

    /// How many files there are of each kind among these.
    pub fn counts(&self, nodes: impl Iterator<Item = NodeId>) -> Counts {
        let mut counts = Counts::default();
        for node in nodes {
            match self.kind(node) {
                Kind::Directory => counts.directories += 1,
                Kind::Symlink { .. } => counts.symlinks += 1,
                Kind::File { size, .. } => {
                    counts.files += 1;
                    counts.source_bytes += size;
                }
            }
        }
        counts
    }

    /// The node and its descendants, which follow it in one run.
    pub fn subtree(&self, node: NodeId) -> Range<u32> {
        node.0..self.node(node).end
    }

    /// The entries of a directory, sorted by name; nothing for any other node.
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let Range { start, end } = self.subtree(node);
        self.children_between(start + 1, end)
    }

    fn children_between(&self, mut next: u32, end: u32) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::from_fn(move || {
            let child = (next < end).then_some(NodeId(next))?;
            next = self.node(child).end;
            Some(child)
        })
    }

    /// Makes the nodes of each set, at least two files of the same size and permissions in ascending order, names of one
    /// file: hard links. No node may be in two sets. Names that were set before are forgotten.
    pub(crate) fn set_names<'s>(&mut self, sets: impl IntoIterator<Item = &'s [NodeId]>) {
        self.further.clear();
        self.several.clear();
        for set in sets {
            if let [first, further @ ..] = set {
                self.further.extend(further.iter().map(|&node| (node, *first)));
                self.several.push((*first, count(set.len())));
            }
        }
        self.further.sort_unstable();
        self.several.sort_unstable();
    }

    /// The target of a link; nothing for any other node.
    fn target(&self, node: &Node) -> &[u8] {
        let length = if node.mode & S_IFMT == S_IFLNK { node.size } else { 0 };
        self.text(node.text + u64::from(node.name_length), length)
    }

    fn text(&self, start: u64, length: u64) -> &[u8] {
        &self.text[index(start)..index(start + length)]
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[index(node.0.into())]
    }

    /// The number of nodes: the root's descendants end with the last.
    pub(crate) fn count(&self) -> u32 {
        self.nodes.first().map_or(0, |root| root.end)
    }
}

/// A number of nodes, which the builder keeps within 32 bits.
fn count(nodes: usize) -> u32 {
    u32::try_from(nodes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Tree {
        small_with(|_, _| {})
    }

    fn small_with(change: impl Fn(&mut TreeBuilder, Added)) -> Tree {
        let mut builder = TreeBuilder::default();
        let root = builder.open_directory(b"top").unwrap();
        let a = builder.add_file(b"a", 5, true).unwrap();
        let b = builder.open_directory(b"b").unwrap();
        let link = builder.add_symlink(b"link", b"../a").unwrap();
        builder.close_directory(b).unwrap();
        let c = builder.add_file(b"c", 0, false).unwrap();
        builder.close_directory(root).unwrap();
        for added in [root, a, b, link, c] {
            change(&mut builder, added);
        }
        builder.finish().unwrap().tree
    }

    /// The same tree under several names.
    fn repeated(tree: &Tree, names: &[&[u8]]) -> Tree {
        let mut builder = TreeBuilder::default();
        let root = builder.open_directory(b"").unwrap();
        for name in names {
            let appended = builder.append(name, tree).unwrap();
            builder.close_directory(appended).unwrap();
        }
        builder.close_directory(root).unwrap();
        builder.finish().unwrap().tree
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
        let all = repeated(&small(), &[b"third-and-longer", b"first", b"second"]);
        assert_eq!(all.children(NodeId(0)).count(), 3);
        let second = all.children(NodeId(0)).nth(1).unwrap();
        let names: Vec<_> = all.children(second).map(|id| all.name(id)).collect();
        assert_eq!(names, [b"a", b"b", b"c"]);
        assert_eq!(all.name(second), b"second");
        assert_eq!(all.kind(NodeId(second.0 + 3)), Kind::Symlink { target: b"../a" });
        assert_eq!(all.subtree(NodeId(0)), 0..16);
    }

    #[test]
    fn names_of_one_file_keep_together_in_an_appended_tree() {
        let mut tree = small();
        tree.set_names([[NodeId(1), NodeId(4)].as_slice()]);
        for names in [[b"x".as_slice(), b"y"], [b"y", b"x"]] {
            let all = repeated(&tree, &names);
            let first_names: Vec<_> = all.nodes().map(|node| all.first_name(node).0).collect();
            assert_eq!(first_names, [0, 1, 2, 3, 4, 2, 6, 7, 8, 9, 7]);
            assert_eq!(
                (all.name_count(NodeId(2)), all.name_count(NodeId(7)), all.name_count(NodeId(5))),
                (2, 2, 1)
            );
            let before: Vec<_> = all.nodes().map(|node| all.further_names_before(node)).collect();
            assert_eq!(before, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
        }
    }

    #[test]
    fn permissions_are_a_stores_unless_told_otherwise() {
        let bits = |tree: &Tree| tree.nodes().map(|node| tree.permissions(node).bits()).collect::<Vec<_>>();
        assert_eq!(bits(&small()), [0o555, 0o555, 0o555, 0o777, 0o444]);
        let tree = small_with(|builder, added| builder.set_permissions(added, Permissions::new(0o1640)));
        assert_eq!(bits(&tree), [0o1640, 0o1640, 0o1640, 0o777, 0o1640]);
        assert_eq!(tree.kind(NodeId(1)), Kind::File { size: 5, executable: false });
        assert_eq!(tree.mode(NodeId(0)), 0o041_640);
    }
}
