//! Files that are put together by path, in any order, before they become a [`Tree`].

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error_kind::Failure;
use crate::fs::file_source::FileSource;
use crate::fs::file_tree::{NodeId, Permissions, Tree, TreeBuilder};

/// What a directory has if nobody says otherwise.
const USUAL: u16 = 0o755;

/// The root directory and all below it, by path. A path comes before those below it, and these before its siblings.
#[derive(Debug, Default)]
pub struct Directory<'t>(BTreeMap<PathBuf, (Permissions, Content<'t>)>);

#[derive(Debug)]
enum Content<'t> {
    Directory,
    File(FileSource),
    Symlink(String),
    /// The store: a tree of its own, whose root this entry is.
    Store(&'t Tree),
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

impl<'t> Directory<'t> {
    /// Makes a directory, or changes its permissions. Those above it are made too.
    pub fn directory(&mut self, path: &str, mode: u16) {
        self.put(path, mode, Content::Directory);
    }

    /// Puts a file at a path.
    pub fn file(&mut self, path: &str, mode: u16, content: FileSource) {
        self.put(path, mode, Content::File(content));
    }

    /// Puts a symbolic link at a path.
    pub fn symlink(&mut self, path: &str, target: impl Into<String>) {
        self.put(path, Permissions::SYMLINK.bits(), Content::Symlink(target.into()));
    }

    /// Puts a tree of its own at a path.
    pub fn store(&mut self, path: &str, mode: u16, tree: &'t Tree) {
        self.put(path, mode, Content::Store(tree));
    }

    /// Puts something in the place of whatever has its name.
    fn put(&mut self, path: &str, mode: u16, content: Content<'t>) {
        let path = Path::new(path.trim_start_matches('/'));
        for above in path.ancestors().skip(1) {
            if !matches!(self.0.get(above), Some((_, Content::Directory))) {
                self.0.insert(above.to_owned(), (Permissions::new(USUAL), Content::Directory));
            }
        }
        if !matches!(content, Content::Directory) {
            self.0.retain(|other, _| !other.starts_with(path));
        }
        self.0.insert(path.to_owned(), (Permissions::new(mode), content));
    }

    /// The same as a tree, as its root directory.
    pub fn into_files(self) -> Result<Files, Failure> {
        let mut tree = TreeBuilder::default();
        let (mut contents, mut store) = (Vec::new(), None);
        let mut open: Vec<(PathBuf, _)> = Vec::new();
        for (path, (permissions, content)) in self.0 {
            while let Some((_, directory)) = open.pop_if(|(directory, _)| !path.starts_with(directory)) {
                tree.close_directory(directory)?;
            }
            let name = path.file_name().unwrap_or_default().as_bytes();
            let stays_open = matches!(content, Content::Directory | Content::Store(_));
            let added = match content {
                Content::Directory => tree.open_directory(name)?,
                Content::Symlink(target) => tree.add_symlink(name, target.as_bytes())?,
                Content::File(content) => {
                    let file = tree.add_file(name, content.size(), false)?;
                    contents.push((file, content));
                    file
                }
                Content::Store(paths) => {
                    let node = tree.append(name, paths)?;
                    // Where Nix keeps its hard links. It makes the directory whenever it opens a store, also one that it
                    // may only read.
                    let links = tree.open_directory(b".links")?;
                    tree.set_permissions(links, Permissions::new(USUAL));
                    tree.close_directory(links)?;
                    store = Some(node);
                    node
                }
            };
            tree.set_permissions(added, permissions);
            if stays_open {
                open.push((path, added));
            }
        }
        while let Some((_, directory)) = open.pop() {
            tree.close_directory(directory)?;
        }
        let built = tree.finish()?;
        let contents = contents.into_iter().map(|(added, content)| (built.node(added), content)).collect();
        let store = store.map(|added| built.node(added));
        Ok(Files { tree: built.tree, contents, store })
    }
}
