//! Building a [`Tree`].

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Node, NodeId, Permissions, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, Tree};
use crate::error_kind::Failure;
use crate::units::{index, length};

/// Linux has no longer names.
const NAME_MAX: usize = 255;

/// Builds a [`Tree`]. What is added first is the root; what is added while a directory is open lies in it. Entries may
/// come in any order, and are sorted in the end; the order of their names is the fastest.
#[derive(Debug, Default)]
#[must_use]
pub struct TreeBuilder {
    tree: Tree,
    open: Vec<Open>,
    /// Directories whose entries did not come in order.
    unsorted: Vec<NodeId>,
}

/// A directory that is open.
#[derive(Debug)]
struct Open {
    directory: NodeId,
    /// The entry that was added last.
    last: Option<NodeId>,
    /// Whether it is the root of a tree that was appended, which keeps its order.
    is_appended: bool,
    is_sorted: bool,
}

/// An entry of a tree that is being built; [`Built::node`] tells its node in the finished tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added(NodeId);

/// A finished tree.
#[derive(Debug)]
#[must_use]
pub struct Built {
    /// The tree.
    pub tree: Tree,
    /// Where each entry is now; nothing if none was moved.
    moved: Vec<NodeId>,
}

impl Built {
    /// The node of an entry.
    pub fn node(&self, Added(node): Added) -> NodeId {
        self.moved.get(index(node.0.into())).copied().unwrap_or(node)
    }
}

impl TreeBuilder {
    /// Opens a directory: what is added until [`TreeBuilder::close_directory`] lies in it.
    pub fn open_directory(&mut self, name: &[u8]) -> Result<Added, Failure> {
        let added = self.add(S_IFDIR | Permissions::STORE_EXECUTABLE.bits(), name, 0, &[])?;
        self.open.push(Open { directory: added.0, last: None, is_appended: false, is_sorted: true });
        Ok(added)
    }

    /// Closes the directory that was opened last.
    pub fn close_directory(&mut self, directory: Added) -> Result<(), Failure> {
        match self.open.pop_if(|open| open.directory == directory.0) {
            Some(open) => {
                self.tree.nodes[index(directory.0.0.into())].end = self.count()?;
                if !open.is_sorted {
                    self.unsorted.push(directory.0);
                }
                Ok(())
            }
            None => Err(self.is_open()),
        }
    }

    /// Adds a regular file of `size` bytes.
    pub fn add_file(&mut self, name: &[u8], size: u64, executable: bool) -> Result<Added, Failure> {
        let permissions = if executable { Permissions::STORE_EXECUTABLE } else { Permissions::STORE_FILE };
        self.add(S_IFREG | permissions.bits(), name, size, &[])
    }

    /// Adds a symbolic link.
    pub fn add_symlink(&mut self, name: &[u8], target: &[u8]) -> Result<Added, Failure> {
        self.add(S_IFLNK | Permissions::SYMLINK.bits(), name, length(target.len()), target)
    }

    /// Gives a file or directory other permissions than a store would; a symbolic link keeps its own.
    pub fn set_permissions(&mut self, Added(node): Added, permissions: Permissions) {
        let node = &mut self.tree.nodes[index(node.0.into())];
        if node.mode & S_IFMT != S_IFLNK {
            node.mode = node.mode & S_IFMT | permissions.bits();
        }
    }

    /// Adds a whole tree, its root under the name given, and leaves the root open: further entries come behind its own.
    pub fn append(&mut self, name: &[u8], other: &Tree) -> Result<Added, Failure> {
        let first = self.count()?;
        // Checks the sum before any node is added.
        first.checked_add(other.count()).ok_or_else(too_many_nodes)?;
        let root =
            other.nodes.first().filter(|root| root.mode & S_IFMT == S_IFDIR).ok_or_else(not_one_root)?;
        let added = self.add(root.mode, name, 0, &[])?;
        let text = length(self.tree.text.len());
        self.tree.text.extend_from_slice(&other.text);
        self.tree.nodes.extend(other.nodes[1..].iter().map(|node| Node {
            text: node.text + text,
            end: node.end + first,
            ..node.clone()
        }));
        let moved = |node: NodeId| NodeId(node.0 + first);
        self.tree.further.extend(other.further.iter().map(|&(node, name)| (moved(node), moved(name))));
        self.tree.several.extend(other.several.iter().map(|&(node, count)| (moved(node), count)));
        self.open.push(Open { directory: added.0, last: None, is_appended: true, is_sorted: true });
        Ok(added)
    }

    /// The tree, with the entries of each directory in the order of their names' bytes.
    pub fn finish(mut self) -> Result<Built, Failure> {
        if !self.open.is_empty() {
            return Err(self.is_open());
        }
        if self.tree.is_empty() {
            return Err(not_one_root());
        }
        let moved = if self.unsorted.is_empty() { Vec::new() } else { self.sort()? };
        Ok(Built { tree: self.tree, moved })
    }

    fn add(&mut self, mode: u16, name: &[u8], size: u64, target: &[u8]) -> Result<Added, Failure> {
        let id = NodeId(self.count()?);
        let end = id.0.checked_add(1).ok_or_else(too_many_nodes)?;
        let name_length = self.check(name, id)?;
        let text = length(self.tree.text.len());
        self.tree.text.extend_from_slice(name);
        self.tree.text.extend_from_slice(target);
        self.tree.nodes.push(Node { text, size, end, name_length, mode });
        Ok(Added(id))
    }

    /// Checks the name of a new entry of the innermost open directory.
    fn check(&mut self, name: &[u8], id: NodeId) -> Result<u16, Failure> {
        let wrong = || {
            Failure::invalid(format!(
                "`{}`: a name has 1 to 255 bytes, no slash and no NUL, and is neither `.` nor `..`; this one has {} bytes",
                self.path_of(name).display(),
                name.len()
            ))
        };
        let name_length = u16::try_from(name.len()).map_err(|_| wrong())?;
        let Some(open) = self.open.last() else {
            // No file system keeps the root's name.
            return if id.0 == 0 { Ok(name_length) } else { Err(not_one_root()) };
        };
        if !(1..=NAME_MAX).contains(&name.len())
            || matches!(name, b"." | b"..")
            || name.contains(&b'/')
            || name.contains(&0)
        {
            return Err(wrong());
        }
        let order = open.last.map_or(Ordering::Less, |last| self.tree.name(last).cmp(name));
        let is_twice =
            order == Ordering::Equal || open.is_appended && self.is_there(open.directory, id, name);
        if is_twice {
            return Err(twice(&self.path_of(name)));
        }
        if let Some(open) = self.open.last_mut() {
            open.last = Some(id);
            open.is_sorted &= order == Ordering::Less || open.is_appended;
        }
        Ok(name_length)
    }

    /// Whether a directory that is open has an entry of that name; all nodes up to `end` lie in it.
    fn is_there(&self, directory: NodeId, end: NodeId, name: &[u8]) -> bool {
        self.tree.children_between(directory.0 + 1, end.0).any(|child| self.tree.name(child) == name)
    }

    /// Moves each directory's entries into the order of their names. A node and its descendants move together.
    fn sort(&mut self) -> Result<Vec<NodeId>, Failure> {
        self.unsorted.sort_unstable();
        let old = std::mem::take(&mut self.tree);
        let mut moved = vec![NodeId(0); old.len()];
        let mut nodes = Vec::with_capacity(old.len());
        // No recursion: the depth of a tree is somebody else's choice.
        let mut todo = vec![NodeId(0)];
        for place in 0..old.count() {
            let Some(node) = todo.pop() else { break };
            moved[index(node.0.into())] = NodeId(place);
            let subtree = old.subtree(node);
            nodes.push(Node { end: place + (subtree.end - subtree.start), ..old.node(node).clone() });
            let before = todo.len();
            todo.extend(old.children(node));
            let children = &mut todo[before..];
            if self.unsorted.binary_search(&node).is_ok() {
                children.sort_unstable_by_key(|&child| old.name(child));
                if let Some(pair) = children.windows(2).find(|pair| old.name(pair[0]) == old.name(pair[1])) {
                    return Err(twice(&old.path(pair[0])));
                }
            }
            children.reverse();
        }
        let new = |node: NodeId| moved[index(node.0.into())];
        let mut further: Vec<_> = old.further.iter().map(|&(node, first)| (new(node), new(first))).collect();
        let mut several: Vec<_> = old.several.iter().map(|&(node, count)| (new(node), count)).collect();
        further.sort_unstable();
        several.sort_unstable();
        self.tree = Tree { nodes, text: old.text, further, several };
        Ok(moved)
    }

    /// The path of an entry of the innermost open directory, or of that directory itself.
    fn path_of(&self, name: &[u8]) -> PathBuf {
        let directories = self.open.iter().skip(1).map(|open| self.tree.name(open.directory));
        directories.chain([name]).filter(|name| !name.is_empty()).map(OsStr::from_bytes).collect()
    }

    fn is_open(&self) -> Failure {
        Failure::invalid(format!(
            "the directory `{}` is open; close each directory before the one that it lies in",
            self.path_of(b"").display()
        ))
    }

    fn count(&self) -> Result<u32, Failure> {
        u32::try_from(self.tree.nodes.len()).map_err(|_| too_many_nodes())
    }
}

fn too_many_nodes() -> Failure {
    // As ext4's inode numbers.
    Failure::too_large(format!("more than {} files: split the closure", u32::MAX))
}

fn not_one_root() -> Failure {
    Failure::invalid("a tree has one root, and everything else lies in it")
}

fn twice(path: &Path) -> Failure {
    Failure::invalid(format!("`{}` is in the tree twice", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (TreeBuilder, Added) {
        let mut builder = TreeBuilder::default();
        let root = builder.open_directory(b"").unwrap();
        (builder, root)
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.nodes().skip(1).map(|node| tree.path(node).display().to_string()).collect()
    }

    #[test]
    fn entries_come_in_any_order() {
        let (mut builder, root) = root();
        let last = builder.add_file(b"z", 1, false).unwrap();
        let middle = builder.open_directory(b"m").unwrap();
        let inner = builder.add_file(b"y", 2, false).unwrap();
        builder.add_symlink(b"b", b"target").unwrap();
        builder.close_directory(middle).unwrap();
        builder.add_file(b"a", 3, true).unwrap();
        builder.close_directory(root).unwrap();
        let built = builder.finish().unwrap();
        assert_eq!(paths(&built.tree), ["a", "m", "m/b", "m/y", "z"]);
        assert_eq!([root, last, middle, inner].map(|added| built.node(added).0), [0, 5, 2, 4]);
        assert_eq!(built.tree.subtree(NodeId(2)), 2..5);
    }

    #[test]
    fn a_name_that_no_file_can_have_is_an_error() {
        let long = [b'n'; 256];
        for name in [b"".as_slice(), b".", b"..", b"a/b", b"a\0", &long] {
            let (mut builder, _) = root();
            let error = builder.add_file(name, 0, false).unwrap_err();
            assert!(error.to_string().ends_with(&format!("this one has {} bytes", name.len())), "{error}");
            assert!(builder.open_directory(name).is_err() && builder.add_symlink(name, b"t").is_err());
        }
        assert!(root().0.add_file(&long[1..], 0, false).is_ok());
    }

    #[test]
    fn two_entries_of_one_name_are_an_error() {
        let (mut builder, _) = root();
        builder.add_file(b"same", 0, false).unwrap();
        assert_eq!(builder.open_directory(b"same"), Err(twice(Path::new("same"))));

        let (mut builder, root) = root();
        let directory = builder.open_directory(b"d").unwrap();
        for name in [b"same".as_slice(), b"other", b"same"] {
            builder.add_file(name, 0, false).unwrap();
        }
        builder.close_directory(directory).unwrap();
        builder.close_directory(root).unwrap();
        assert_eq!(builder.finish().unwrap_err(), twice(Path::new("d/same")));
    }

    #[test]
    fn a_directory_that_is_not_closed_is_an_error() {
        let (mut builder, root) = root();
        builder.open_directory(b"d").unwrap();
        let inner = builder.open_directory(b"inner").unwrap();
        let is_open = |path| {
            Failure::invalid(format!(
                "the directory `{path}` is open; close each directory before the one that it lies in"
            ))
        };
        assert_eq!(builder.close_directory(root), Err(is_open("d/inner")));
        builder.close_directory(inner).unwrap();
        assert_eq!(builder.finish().unwrap_err(), is_open("d"));
    }

    #[test]
    fn a_tree_has_one_root() {
        assert_eq!(TreeBuilder::default().finish().unwrap_err(), not_one_root());
        let (mut builder, root) = root();
        builder.close_directory(root).unwrap();
        assert_eq!(builder.add_file(b"beside", 0, false), Err(not_one_root()));
    }

    #[test]
    fn an_appended_tree_keeps_its_order_and_what_is_added_comes_behind() {
        let (mut store, root_of_store) = root();
        store.add_file(b"b", 0, false).unwrap();
        store.close_directory(root_of_store).unwrap();
        let store = store.finish().unwrap().tree;
        let (mut builder, root) = root();
        let appended = builder.append(b"store", &store).unwrap();
        assert_eq!(builder.add_file(b"b", 0, false), Err(twice(Path::new("store/b"))));
        let links = builder.open_directory(b".links").unwrap();
        builder.close_directory(links).unwrap();
        assert_eq!(builder.open_directory(b".links"), Err(twice(Path::new("store/.links"))));
        builder.close_directory(appended).unwrap();
        builder.add_file(b"another", 0, false).unwrap();
        builder.close_directory(root).unwrap();
        assert_eq!(paths(&builder.finish().unwrap().tree), ["another", "store", "store/b", "store/.links"]);
    }
}
