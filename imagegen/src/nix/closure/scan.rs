//! What is on disk below each path of a closure.

use std::ffi::OsStr;
use std::fs::DirEntry;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::linked::Linked;
use crate::error_kind::{ErrorKind, Failure};
use crate::fs::file_tree::{NodeId, Tree, TreeBuilder};
use crate::job::Job;
use crate::nix::registration::Registration;
use crate::nix::store_path::{StorePath, StoreRoot};

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
    /// The digests of files with several names ([`super::optimise()`]).
    pub linked: Linked,
}

/// Why a closure cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ScanError {
    /// A registered path is not there.
    #[error("{path} is registered but missing: there is no `{}`", physical.display())]
    Missing { path: StorePath, physical: PathBuf },
    /// Something that cannot be in a store.
    #[error("`{}` is a {kind}; a store path holds only files, directories and symbolic links", path.display())]
    Kind { path: PathBuf, kind: &'static str },
    /// A name that only a Nix on macOS gives.
    #[error(
        "`{}` is named as Nix on macOS names files that differ from others only in case; its own name ends before \
         `~nix~case~hack~`, and a guest would not find it. Copy the closure to a store on Linux first \
         (`nix copy --to DIR PATH`)",
        path.display()
    )]
    CaseHack { path: PathBuf },
    /// The file system said no.
    #[error("cannot read `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Too many files.
    #[error(transparent)]
    Tree(#[from] Failure),
}

impl ScanError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Kind { .. } | Self::CaseHack { .. } => ErrorKind::Unsupported,
            Self::Io { source, .. } => ErrorKind::of(source),
            Self::Tree(error) => error.kind(),
        }
    }

    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Walks every store path of the registration. The result does not depend on the number of threads, nor on times, owners
/// or hard links.
pub fn scan(registration: Registration, store: StoreRoot, job: &Job<'_>) -> Result<Closure, ScanError> {
    job.progress.begin("scan", 0);
    let found = Listings::default();
    let mut top = Listing::default();
    for registered in registration.paths() {
        let physical = store.physical(&registered.path);
        let name = registered.path.base_name().as_bytes();
        top.examine(name, || physical.clone(), None).map_err(|error| match error {
            ScanError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ScanError::Missing { path: registered.path.clone(), physical: physical.clone() }
            }
            other => other,
        })?;
    }
    job.on_threads(usize::MAX, || {
        rayon::scope(|scope| found.enter(scope, &mut top, &store.directory()));
    });
    let listings = found.into_listings()?;
    let (tree, roots) = assemble(&top, &listings)?;
    job.progress.end();
    Ok(Closure { registration, tree, roots, store, linked: Linked::default() })
}

/// The entries of a directory. Their names and link targets are in one piece of memory: threads that allocate and free many
/// small pieces wait for one another.
#[derive(Default)]
struct Listing {
    text: Vec<u8>,
    entries: Vec<Entry>,
}

/// A directory entry as it was found.
struct Entry {
    /// Where the name begins in the text; a link's target follows it.
    text: usize,
    name_length: usize,
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
        target_length: usize,
    },
}

/// The listings of all directories so far, filled by many threads.
#[derive(Default)]
struct Listings(Mutex<State>);

#[derive(Default)]
struct State {
    listings: Vec<Listing>,
    failure: Option<ScanError>,
}

impl Listings {
    /// Gives each directory of a listing a number and a task that lists it.
    fn enter<'s>(&'s self, scope: &rayon::Scope<'s>, listing: &mut Listing, directory: &Path) {
        let Listing { text, entries } = listing;
        for entry in entries {
            let What::Directory(number) = &mut entry.what else { continue };
            {
                let mut state = self.0.lock();
                *number = state.listings.len();
                state.listings.push(Listing::default());
            }
            let name = &text[entry.text..][..entry.name_length];
            let (number, path) = (*number, directory.join(OsStr::from_bytes(name)));
            scope.spawn(move |scope| self.list_into(scope, number, &path));
        }
    }

    fn list_into<'s>(&'s self, scope: &rayon::Scope<'s>, number: usize, path: &Path) {
        if self.0.lock().failure.is_some() {
            return;
        }
        match Listing::of(path) {
            Ok(mut listing) => {
                self.enter(scope, &mut listing, path);
                self.0.lock().listings[number] = listing;
            }
            Err(error) => {
                self.0.lock().failure.get_or_insert(error);
            }
        }
    }

    fn into_listings(self) -> Result<Vec<Listing>, ScanError> {
        let state = self.0.into_inner();
        state.failure.map_or(Ok(state.listings), Err)
    }
}

impl Listing {
    /// The entries of a directory, sorted by the bytes of their names.
    fn of(directory: &Path) -> Result<Self, ScanError> {
        let io = ScanError::io(directory);
        let mut listing = Self::default();
        for entry in std::fs::read_dir(directory).map_err(&io)? {
            let entry = entry.map_err(&io)?;
            listing.examine(entry.file_name().as_bytes(), || entry.path(), Some(&entry))?;
        }
        let Self { text, entries } = &mut listing;
        let name = |entry: &Entry| &text[entry.text..][..entry.name_length];
        entries.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        Ok(listing)
    }

    /// Finds out what a file is and adds it; `entry`, where there is one, saves a system call for all but regular files.
    fn examine(
        &mut self,
        name: &[u8],
        path: impl Fn() -> PathBuf,
        entry: Option<&DirEntry>,
    ) -> Result<(), ScanError> {
        let io = |source| ScanError::Io { path: path(), source };
        let metadata = || entry.map_or_else(|| path().symlink_metadata(), DirEntry::metadata).map_err(io);
        let kind = match entry {
            Some(entry) => entry.file_type().map_err(io)?,
            None => metadata()?.file_type(),
        };
        if is_case_hack(name) {
            return Err(ScanError::CaseHack { path: path() });
        }
        let text = self.text.len();
        self.text.extend_from_slice(name);
        let what = if kind.is_dir() {
            What::Directory(usize::MAX)
        } else if kind.is_symlink() {
            let target = path().read_link().map_err(io)?;
            self.text.extend_from_slice(target.as_os_str().as_bytes());
            What::Symlink { target_length: target.as_os_str().len() }
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
            return Err(ScanError::Kind { path: path(), kind });
        };
        self.entries.push(Entry { text, name_length: name.len(), what });
        Ok(())
    }
}

/// What Nix's option `use-case-hack`, the default on macOS, puts behind a name, with a number after it.
const CASE_HACK: &[u8] = b"~nix~case~hack~";

fn is_case_hack(name: &[u8]) -> bool {
    // Most names have no tilde.
    name.contains(&b'~')
        && name.windows(CASE_HACK.len()).enumerate().any(|(at, window)| {
            let number = &name[at + CASE_HACK.len()..];
            window == CASE_HACK && !number.is_empty() && number.iter().all(u8::is_ascii_digit)
        })
}

/// Puts the listings together in pre-order. No recursion: the input decides how deep a tree is.
fn assemble(top: &Listing, listings: &[Listing]) -> Result<(Tree, Vec<NodeId>), ScanError> {
    let mut tree = TreeBuilder::default();
    let mut roots = Vec::with_capacity(top.entries.len());
    let nothing = Listing::default();
    let mut open = vec![(tree.open_directory(b"")?, &top.text, top.entries.iter())];
    while let Some((directory, text, rest)) = open.last_mut() {
        let Some(entry) = rest.next() else {
            tree.close_directory(*directory)?;
            open.pop();
            continue;
        };
        let (name, rest) = text[entry.text..].split_at(entry.name_length);
        let is_root = open.len() == 1;
        let node = match entry.what {
            What::Directory(number) => {
                let node = tree.open_directory(name)?;
                let listing = listings.get(number).unwrap_or(&nothing);
                open.push((node, &listing.text, listing.entries.iter()));
                node
            }
            What::File { size, executable } => tree.add_file(name, size, executable)?,
            What::Symlink { target_length } => tree.add_symlink(name, &rest[..target_length])?,
        };
        if is_root {
            roots.push(node);
        }
    }
    let built = tree.finish()?;
    let roots = roots.into_iter().map(|root| built.node(root)).collect();
    Ok((built.tree, roots))
}
