//! The store image: a file system that holds the paths of a closure, and nothing else.
//!
//! ```text
//! One byte's way through a store image, on one thread:
//!
//!   file of the store
//!        |  read        reads a path in the order of its NAR; `holes` and `reflink` say what need not be read or written
//!        v
//!   buffer              the bytes as they lie in the image, and the framing of the NAR beside them
//!        |  block_stream    one block whenever the worker asks for one
//!        v
//!   worker              hashes the block, with a block of another path at once if it can
//!        |         \
//!        |          `-> helper      a second thread for one large path
//!        v
//!   write_queue         writes the block if no other thread writes; otherwise leaves it to that thread
//!        |
//!        v
//!   container::Sink     raw or qcow2
//! ```
//!
//! `work` is what all threads have in common, `idle_threads` lets them help each other, and `write` starts them. Where the
//! image is compressed, one worker reads, and the other threads take its blocks to the sink.

mod block_stream;
mod buffer;
mod helper;
mod holes;
mod idle_threads;
mod read;
mod read_error;
mod reflink;
mod work;
mod worker;
mod write;
mod write_queue;

use std::io;

use crate::container::Sink;
use crate::error_kind::ErrorKind;
use crate::fs::ext4::{self, Ext4Error, SavedByLinks};
use crate::fs::file_tree::{Counts, Kind, NodeId, Tree};
use crate::job::Job;
use crate::nix::closure::Closure;
use crate::nix::store_path::StorePath;
use crate::nix::{NarHash, Registered, nar};
use crate::units::{ByteCount, GuestRange, length};

pub use read_error::ReadError;

/// A store image, laid out to the last block before anything is written.
#[must_use]
pub struct Plan<'c> {
    closure: &'c Closure,
    file_system: ext4::Plan<'c>,
    /// The node of the store directory in the file system's tree.
    store: NodeId,
    /// Of each store path.
    sizes: Vec<PathSize>,
}

/// The bytes of all files of a store path.
struct PathSize {
    contents: u64,
    /// With the zeros behind each file.
    aligned: u64,
}

/// How a write went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Store paths whose NAR hash and size were those of the registration.
    pub verified: u64,
    /// Store paths that were not checked.
    pub unverified: u64,
}

/// Why a store image cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum StoreImageError {
    /// The file system cannot be laid out.
    #[error("cannot lay out the file system")]
    FileSystem(#[from] Ext4Error),
    /// The NAR of a path has another length.
    #[error(
        "{path} is not what the registration says: its NAR has {found} bytes, not {expected}; \
         was it changed, or is the registration of another store?"
    )]
    Size { path: StorePath, found: u64, expected: u64 },
    /// The NAR of a path has another hash.
    #[error(
        "{path} is not what the registration says: its NAR hash is {found}, not {expected}; \
         run `nix-store --verify-path` on it"
    )]
    Hash { path: StorePath, found: NarHash, expected: NarHash },
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The metadata could not be written.
    #[error("cannot write the file system's metadata to the image")]
    Metadata(#[source] io::Error),
    /// The contents of files could not be written.
    #[error("cannot write the files' contents to the image")]
    Contents(#[source] io::Error),
}

impl StoreImageError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::FileSystem(error) => error.kind(),
            Self::Size { .. } | Self::Hash { .. } => ErrorKind::Mismatch,
            Self::Read(error) => error.kind(),
            Self::Metadata(source) | Self::Contents(source) => ErrorKind::of(source),
        }
    }
}

/// Lays out the image and, if the job verifies, compares the sizes of all NARs with the registration.
pub fn plan<'c>(
    closure: &'c Closure,
    options: &ext4::Options,
    job: &Job<'_>,
) -> Result<Plan<'c>, StoreImageError> {
    plan_within(closure, &closure.tree, NodeId(0), options, job)
}

/// Lays out a file system that holds more than a store. `tree` is all of it, and the closure's tree was appended to
/// it as the node `store`. [`Plan::write`] then leaves out the contents of the other files; write them with
/// [`ext4::Plan::write_content`].
pub fn plan_within<'c>(
    closure: &'c Closure,
    tree: &'c Tree,
    store: NodeId,
    options: &ext4::Options,
    job: &Job<'_>,
) -> Result<Plan<'c>, StoreImageError> {
    job.progress.begin("plan", 0);
    if job.verify {
        let mut paths = closure.registration.paths().iter().zip(&closure.roots);
        paths.try_for_each(|(registered, &root)| check_size(closure, registered, root))?;
    }
    let file_system = ext4::plan(tree, options)?;
    let sizes = closure.roots.iter().map(|&root| path_size(closure, root)).collect();
    job.progress.end();
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

    /// What is in the store paths.
    pub fn counts(&self) -> Counts {
        let tree = &self.closure.tree;
        tree.counts(self.closure.roots.iter().flat_map(|&root| tree.subtree(root)).map(NodeId))
    }

    /// What hard links save in it.
    pub fn saved_by_links(&self) -> SavedByLinks {
        ext4::saved_by_links(&self.closure.tree)
    }

    /// Writes the image, several store paths at once. Every source byte is read once: the same buffer goes to the NAR hash
    /// and to the image.
    pub fn write(&self, sink: &impl Sink, job: &Job<'_>) -> Result<Verified, StoreImageError> {
        job.progress.begin("write", self.sizes.iter().map(|size| size.contents).sum());
        let verified = write::write(self, sink, job)?;
        job.progress.end();
        Ok(verified)
    }
}

fn check_size(closure: &Closure, registered: &Registered, root: NodeId) -> Result<(), StoreImageError> {
    let Some(registered_nar) = registered.nar else { return Ok(()) };
    let found = nar::size(&closure.tree, root);
    if found == registered_nar.size {
        return Ok(());
    }
    let path = registered.path.clone();
    Err(StoreImageError::Size { path, found, expected: registered_nar.size })
}

fn path_size(closure: &Closure, root: NodeId) -> PathSize {
    let mut size = PathSize { contents: 0, aligned: 0 };
    for node in closure.tree.subtree(root).map(NodeId) {
        if let Kind::File { size: bytes, .. } = closure.tree.kind(node) {
            size.contents += bytes;
            size.aligned += bytes.next_multiple_of(length(buffer::ALIGNMENT));
        }
    }
    size
}
