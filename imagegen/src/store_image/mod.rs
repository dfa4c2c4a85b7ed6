//! The store image: a file system that holds the paths of a closure, and nothing else.

mod copy;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::closure::{Closure, Registered, nar};
use crate::container::Sink;
use crate::ext4::{self, Ext4Error};
use crate::progress::Progress;
use crate::tree::{Kind, NodeId, Tree};
use crate::units::{ByteCount, GuestRange};

use copy::{CopyError, Copying};

/// A store image, laid out to the last block before anything is written.
pub struct Plan<'c> {
    closure: &'c Closure,
    file_system: ext4::Plan<'c>,
    /// The node of the store directory in the file system's tree.
    store: NodeId,
    /// The bytes of all files below each store path.
    sizes: Vec<u64>,
}

/// What is in an image, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Regular files.
    pub files: u64,
    /// Directories below the store, store paths included.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Store paths.
    pub store_paths: u64,
    /// The bytes of all files.
    pub source_bytes: u64,
}

/// How a write went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Store paths whose NAR hash and size were those of the registration.
    pub verified: u64,
    /// Store paths that were not checked.
    pub unverified: u64,
}

/// Why a store image cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum StoreImageError {
    /// The file system cannot be laid out.
    #[error("cannot lay out the file system")]
    FileSystem(#[from] Ext4Error),
    /// The NAR of a path has another length.
    #[error(
        "{path} is not what the registration says: its NAR has {found} bytes, not {expected}; \
         was it changed, or is the registration of another store?"
    )]
    Size {
        /// The store path.
        path: String,
        /// What is on disk.
        found: u64,
        /// What is registered.
        expected: u64,
    },
    /// The NAR of a path has another hash.
    #[error(
        "{path} is not what the registration says: its NAR hash is {found}, not {expected}; \
         run `nix-store --verify-path` on it"
    )]
    Hash {
        /// The store path.
        path: String,
        /// What is on disk.
        found: String,
        /// What is registered.
        expected: String,
    },
    /// A file could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The metadata could not be written.
    #[error("cannot write the file system's metadata to the image")]
    Metadata(#[source] io::Error),
}

/// Lays out the image and, if `verify`, compares the sizes of all NARs with the registration.
pub fn plan<'c>(
    closure: &'c Closure,
    options: &ext4::Options,
    verify: bool,
    progress: &dyn Progress,
) -> Result<Plan<'c>, StoreImageError> {
    plan_within(closure, &closure.tree, NodeId(0), options, verify, progress)
}

/// Lays out a file system that holds more than a store. `tree` is all of it, and the closure's tree was appended to
/// it as the node `store`. [`Plan::write`] then leaves out the contents of the other files; write them with
/// [`ext4::Plan::write_content`].
pub fn plan_within<'c>(
    closure: &'c Closure,
    tree: &'c Tree,
    store: NodeId,
    options: &ext4::Options,
    verify: bool,
    progress: &dyn Progress,
) -> Result<Plan<'c>, StoreImageError> {
    progress.begin("plan", 0);
    if verify {
        let mut paths = closure.registration.paths().iter().zip(&closure.roots);
        paths.try_for_each(|(registered, &root)| check_size(closure, registered, root))?;
    }
    let file_system = ext4::plan(tree, options)?;
    let sizes = closure.roots.iter().map(|&root| contents_size(closure, root)).collect();
    progress.end();
    Ok(Plan { closure, file_system, store, sizes })
}

impl Plan<'_> {
    /// The size of the file system, which is that of the disk: there is no partition table.
    pub fn size(&self) -> ByteCount {
        self.file_system.size()
    }

    /// Where bytes other than zeros may come to lie; for the container to plan its own layout.
    pub fn allocated(&self) -> Vec<GuestRange> {
        self.file_system.allocated()
    }

    /// The file system.
    pub fn file_system(&self) -> &ext4::Plan<'_> {
        &self.file_system
    }

    /// How much of a closure is in it.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for &root in &self.closure.roots {
            counts.store_paths += 1;
            for node in self.closure.tree.subtree(root).map(NodeId) {
                match self.closure.tree.kind(node) {
                    Kind::Directory => counts.directories += 1,
                    Kind::Symlink { .. } => counts.symlinks += 1,
                    Kind::File { size, .. } => {
                        counts.files += 1;
                        counts.source_bytes += size;
                    }
                }
            }
        }
        counts
    }

    /// Writes the image with the threads of the current rayon pool, several store paths at once. Every source
    /// byte is read once: the same buffer goes to the NAR hash and to the image.
    pub fn write(
        &self,
        sink: &impl Sink,
        verify: bool,
        progress: &dyn Progress,
    ) -> Result<Verified, StoreImageError> {
        progress.begin("write", self.sizes.iter().sum());
        self.file_system.write_metadata(sink).map_err(StoreImageError::Metadata)?;
        let mut work: Vec<usize> = (0..self.sizes.len()).collect();
        // The largest first, so that all threads have work to the end.
        work.sort_by_key(|&i| std::cmp::Reverse(self.sizes[i]));

        let copying = Copying::new(self.closure, &self.file_system, self.store, sink, progress);
        let next = AtomicUsize::new(0);
        let outcome = Mutex::new(Outcome::default());
        // A queue, since rayon's own splitting would give one thread all the large paths.
        rayon::broadcast(|_| {
            while let Some(&i) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = self.write_path(i, verify, &copying);
                if result.is_err() {
                    copying.stop();
                }
                outcome.lock().unwrap_or_else(PoisonError::into_inner).add(i, result);
            }
        });
        progress.end();
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner).into_result()
    }

    fn write_path(
        &self,
        i: usize,
        verify: bool,
        copying: &Copying<'_, impl Sink>,
    ) -> Result<Checked, StoreImageError> {
        let registered = &self.closure.registration.paths()[i];
        let root = self.closure.roots[i];
        let Some(nar) = registered.nar.filter(|_| verify) else {
            copying.copy(&registered.path, root)?;
            return Ok(Checked::No);
        };
        let found = copying.copy_and_hash(&registered.path, root, self.sizes[i])?;
        if found != nar.hash {
            return Err(StoreImageError::Hash {
                path: registered.path.to_string(),
                found: found.to_string(),
                expected: nar.hash.to_string(),
            });
        }
        Ok(Checked::Yes)
    }
}

/// Whether a path that was written was compared with its hash.
#[derive(Debug, Clone, Copy)]
enum Checked {
    Yes,
    No,
}

/// What all threads found together.
#[derive(Default)]
struct Outcome {
    verified: Verified,
    /// Of several failures, that of the first path: which one came first in time is chance.
    failure: Option<(usize, StoreImageError)>,
}

impl Outcome {
    fn add(&mut self, i: usize, result: Result<Checked, StoreImageError>) {
        match result {
            Ok(Checked::Yes) => self.verified.verified += 1,
            Ok(Checked::No) => self.verified.unverified += 1,
            Err(StoreImageError::Copy(CopyError::Stopped)) => {}
            Err(error) => {
                if self.failure.as_ref().is_none_or(|(first, _)| i < *first) {
                    self.failure = Some((i, error));
                }
            }
        }
    }

    fn into_result(self) -> Result<Verified, StoreImageError> {
        self.failure.map_or(Ok(self.verified), |(_, error)| Err(error))
    }
}

fn check_size(closure: &Closure, registered: &Registered, root: NodeId) -> Result<(), StoreImageError> {
    let Some(registered_nar) = registered.nar else { return Ok(()) };
    let found = nar::size(&closure.tree, root);
    if found == registered_nar.size {
        return Ok(());
    }
    let path = registered.path.to_string();
    Err(StoreImageError::Size { path, found, expected: registered_nar.size })
}

fn contents_size(closure: &Closure, root: NodeId) -> u64 {
    let nodes = closure.tree.subtree(root).map(NodeId);
    nodes.map(|node| if let Kind::File { size, .. } = closure.tree.kind(node) { size } else { 0 }).sum()
}
