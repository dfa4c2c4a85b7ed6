//! What is on disk below each path of a closure.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::optimise::Shared;
use super::registration::Registration;
use crate::progress::Progress;
use crate::store_path::StoreRoot;
use crate::tree::{NodeId, Tree, TreeError};

/// A closure and its files.
#[derive(Debug)]
pub struct Closure {
    /// What the store says of the paths.
    pub registration: Registration,
    /// A directory whose entries are the store paths, in the registration's order.
    pub tree: Tree,
    /// The node of each store path, in the registration's order.
    pub roots: Vec<NodeId>,
    /// Where the files are read from.
    pub store: StoreRoot,
    /// What the files with several names in the tree must hold ([`super::optimise()`]).
    pub shared: Shared,
}

/// Why a closure cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A registered path is not there.
    #[error("{path} is registered but missing: there is no `{physical}` (is --store-root right?)")]
    Missing {
        /// The store path.
        path: String,
        /// Where it should be.
        physical: String,
    },
    /// Something that cannot be in a store.
    #[error("`{path}` is a {kind}; a store path holds only files, directories and symbolic links")]
    Kind {
        /// The file.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// The file system said no.
    #[error("cannot read `{path}`")]
    Io {
        /// The file or directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Too many files.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Walks every store path of the registration on the threads of the current rayon pool. The result does not
/// depend on their number, nor on times, owners or hard links.
pub fn scan(
    registration: Registration,
    store: StoreRoot,
    progress: &dyn Progress,
) -> Result<Closure, ScanError> {
    progress.begin("scan", 0);
    let found = Listings::default();
    let mut entries = Vec::with_capacity(registration.paths().len());
    for registered in registration.paths() {
        let physical = store.physical(&registered.path);
        let name = registered.path.base_name().into();
        entries.push(examine(&physical, name, None).map_err(|error| match error {
            ScanError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ScanError::Missing {
                path: registered.path.to_string(),
                physical: physical.display().to_string(),
            },
            other => other,
        })?);
    }
    rayon::scope(|scope| found.enter(scope, &mut entries, |name| store.directory().join(name)));
    let listings = found.into_listings()?;
    let (tree, roots) = assemble(&entries, &listings)?;
    progress.end();
    Ok(Closure { registration, tree, roots, store, shared: Shared::default() })
}

/// A directory entry as it was found.
struct Entry {
    name: OsString,
    what: What,
}

enum What {
    /// The number of the directory's listing.
    Directory(usize),
    File {
        size: u64,
        executable: bool,
    },
    Symlink {
        target: OsString,
    },
}

/// The listings of all directories so far, filled by many threads.
#[derive(Default)]
struct Listings {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listings: Vec<Vec<Entry>>,
    failure: Option<ScanError>,
}

impl Listings {
    /// Gives each directory among `entries` a number and a task that lists it.
    fn enter<'s>(
        &'s self,
        scope: &rayon::Scope<'s>,
        entries: &mut [Entry],
        physical: impl Fn(&OsString) -> PathBuf,
    ) {
        for entry in entries {
            let What::Directory(number) = &mut entry.what else { continue };
            {
                let mut state = self.lock();
                *number = state.listings.len();
                state.listings.push(Vec::new());
            }
            let (number, path) = (*number, physical(&entry.name));
            scope.spawn(move |scope| self.list_into(scope, number, &path));
        }
    }

    fn list_into<'s>(&'s self, scope: &rayon::Scope<'s>, number: usize, path: &Path) {
        if self.lock().failure.is_some() {
            return;
        }
        match list(path) {
            Ok(mut entries) => {
                self.enter(scope, &mut entries, |name| path.join(name));
                self.lock().listings[number] = entries;
            }
            Err(error) => {
                self.lock().failure.get_or_insert(error);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn into_listings(self) -> Result<Vec<Vec<Entry>>, ScanError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.failure.map_or(Ok(state.listings), Err)
    }
}

/// The entries of a directory, sorted by the bytes of their names.
fn list(directory: &Path) -> Result<Vec<Entry>, ScanError> {
    let io = |source| ScanError::Io { path: directory.display().to_string(), source };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        entries.push(examine(&entry.path(), entry.file_name(), Some(&entry))?);
    }
    entries.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    Ok(entries)
}

/// Finds out what a file is; `entry`, where there is one, saves a system call for all but regular files.
fn examine(path: &Path, name: OsString, entry: Option<&std::fs::DirEntry>) -> Result<Entry, ScanError> {
    let io = |source| ScanError::Io { path: path.display().to_string(), source };
    let metadata = || entry.map_or_else(|| path.symlink_metadata(), std::fs::DirEntry::metadata).map_err(io);
    let kind = match entry {
        Some(entry) => entry.file_type().map_err(io)?,
        None => metadata()?.file_type(),
    };
    let what = if kind.is_dir() {
        What::Directory(usize::MAX)
    } else if kind.is_symlink() {
        What::Symlink { target: path.read_link().map_err(io)?.into_os_string() }
    } else if kind.is_file() {
        let metadata = metadata()?;
        What::File { size: metadata.len(), executable: metadata.mode() & 0o100 != 0 }
    } else {
        let kind = match kind {
            kind if kind.is_socket() => "socket",
            kind if kind.is_fifo() => "fifo",
            kind if kind.is_block_device() => "block device",
            _ => "character device",
        };
        return Err(ScanError::Kind { path: path.display().to_string(), kind });
    };
    Ok(Entry { name, what })
}

/// Puts the listings together in pre-order. No recursion: the depth of a tree is somebody else's choice.
fn assemble(entries: &[Entry], listings: &[Vec<Entry>]) -> Result<(Tree, Vec<NodeId>), ScanError> {
    let mut tree = Tree::default();
    let mut roots = Vec::with_capacity(entries.len());
    let top = tree.open_directory(b"")?;
    let mut open = vec![(top, entries.iter())];
    while let Some((directory, rest)) = open.last_mut() {
        let Some(entry) = rest.next() else {
            tree.close_directory(*directory);
            open.pop();
            continue;
        };
        let is_root = open.len() == 1;
        let name = entry.name.as_bytes();
        let node = match &entry.what {
            What::Directory(number) => {
                let node = tree.open_directory(name)?;
                let listing = listings.get(*number).map(Vec::as_slice).unwrap_or_default();
                open.push((node, listing.iter()));
                node
            }
            What::File { size, executable } => tree.add_file(name, *size, *executable)?,
            What::Symlink { target } => tree.add_symlink(name, target.as_bytes())?,
        };
        if is_root {
            roots.push(node);
        }
    }
    Ok((tree, roots))
}
