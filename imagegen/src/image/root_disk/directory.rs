//! A directory tree that is put together by path, in any order, before it becomes a [`Tree`].

use std::collections::{BTreeMap, BTreeSet};

use crate::fs::file_source::FileSource;
use crate::fs::file_tree::{Added, NodeId, Permissions, Tree, TreeBuilder, TreeError};

/// What a directory has if nobody says otherwise.
const USUAL: Permissions = Permissions::new(0o755);

/// A directory and all below it.
#[derive(Debug)]
pub struct Directory<'t> {
    permissions: Permissions,
    /// By name, in the order of its bytes.
    directories: BTreeMap<String, Self>,
    /// What is not a directory that was made here.
    others: BTreeMap<String, Other<'t>>,
}

#[derive(Debug)]
enum Other<'t> {
    File(Permissions, FileSource),
    Symlink(String),
    /// The store: a tree of its own, whose root this entry is.
    Store(Permissions, &'t Tree),
}

/// A [`Tree`] and what is in its files.
#[derive(Debug, Default)]
pub struct Files {
    /// All of it.
    pub tree: Tree,
    /// The contents of the files, but for those of the store.
    pub contents: Vec<(NodeId, FileSource)>,
    /// Where the store was put.
    pub store: Option<NodeId>,
}

/// The same while the tree is built.
#[derive(Default)]
struct Adding {
    tree: TreeBuilder,
    contents: Vec<(Added, FileSource)>,
    store: Option<Added>,
}

impl Default for Directory<'_> {
    fn default() -> Self {
        Self { permissions: USUAL, directories: BTreeMap::new(), others: BTreeMap::new() }
    }
}

impl<'t> Directory<'t> {
    /// Makes a directory, or changes its permissions. Those above it are made too.
    pub fn directory(&mut self, path: &str, mode: u16) {
        self.at(path).permissions = Permissions::new(mode);
    }

    /// Puts a file at a path.
    pub fn file(&mut self, path: &str, mode: u16, content: FileSource) {
        self.put(path, Other::File(Permissions::new(mode), content));
    }

    /// Puts a symbolic link at a path.
    pub fn symlink(&mut self, path: &str, target: impl Into<String>) {
        self.put(path, Other::Symlink(target.into()));
    }

    /// Puts a tree of its own at a path.
    pub fn store(&mut self, path: &str, mode: u16, tree: &'t Tree) {
        self.put(path, Other::Store(Permissions::new(mode), tree));
    }

    /// The same as a tree, as its root directory.
    pub fn into_files(self) -> Result<Files, TreeError> {
        let mut adding = Adding::default();
        self.add_to(&mut adding, "")?;
        let built = adding.tree.finish()?;
        let contents = adding.contents.into_iter().map(|(added, content)| (built.node(added), content));
        let contents = contents.collect();
        let store = adding.store.map(|added| built.node(added));
        Ok(Files { tree: built.tree, contents, store })
    }

    /// Puts something in the place of whatever has its name.
    fn put(&mut self, path: &str, other: Other<'t>) {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = self.at(directory);
        directory.directories.remove(name);
        directory.others.insert(name.to_owned(), other);
    }

    fn at(&mut self, path: &str) -> &mut Self {
        path.split('/').filter(|name| !name.is_empty()).fold(self, |directory, name| {
            directory.others.remove(name);
            directory.directories.entry(name.to_owned()).or_default()
        })
    }

    fn add_to(mut self, adding: &mut Adding, name: &str) -> Result<(), TreeError> {
        let directory = adding.tree.open_directory(name.as_bytes())?;
        adding.tree.set_permissions(directory, self.permissions);
        let names = self.directories.keys().chain(self.others.keys()).cloned();
        for name in names.collect::<BTreeSet<_>>() {
            if let Some(directory) = self.directories.remove(&name) {
                directory.add_to(adding, &name)?;
            }
            match self.others.remove(&name) {
                None => {}
                Some(Other::Symlink(target)) => {
                    adding.tree.add_symlink(name.as_bytes(), target.as_bytes())?;
                }
                Some(Other::File(permissions, content)) => {
                    let node = adding.tree.add_file(name.as_bytes(), content.size(), false)?;
                    adding.tree.set_permissions(node, permissions);
                    adding.contents.push((node, content));
                }
                Some(Other::Store(permissions, tree)) => {
                    let node = adding.tree.append(name.as_bytes(), tree)?;
                    adding.tree.set_permissions(node, permissions);
                    // Where Nix keeps its hard links. It makes the directory whenever it opens a store, also one that it
                    // may only read.
                    let links = adding.tree.open_directory(b".links")?;
                    adding.tree.set_permissions(links, USUAL);
                    adding.tree.close_directory(links)?;
                    adding.tree.close_directory(node)?;
                    adding.store = Some(node);
                }
            }
        }
        adding.tree.close_directory(directory)?;
        Ok(())
    }
}
