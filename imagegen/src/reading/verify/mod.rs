//! Reading a finished image back: each store path in it is hashed as a NAR and compared with the registration.

mod subtree;

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::container::reader::{ReadError, Source};
use crate::error_kind::ErrorKind;
use crate::fs::ext4::reader::{FileSystem, LOST_FOUND, ROOT};
use crate::fs::file_tree::{Kind, NodeId};
use crate::job::Job;
use crate::nix::store_path::STORE_DIR;
use crate::nix::{NarHash, Registered, Registration, nar};
use crate::text::shown;
use crate::units::{index, length};

pub use subtree::Deviations;

use subtree::Subtree;

/// How much of a file is read and hashed at once.
const PIECE: u64 = 1 << 20;

/// What was found about every path, those of the registration and those of the image, sorted by name.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verification {
    /// What was found.
    pub paths: Vec<VerifiedPath>,
    /// Files whose owner, permissions or time are not a store's. A NAR has none of these.
    pub deviations: Deviations,
}

/// A path and what was found about it.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedPath {
    /// The path in the store; a name out of the image is made fit for a terminal.
    pub path: String,
    /// What was found.
    pub finding: Finding,
}

/// What was found about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Its NAR has the registered hash and size.
    Right,
    /// It is there and can be read, but the registration has no hash or no size.
    Unchecked,
    /// Its NAR has another length.
    WrongSize {
        /// What is in the image.
        found: u64,
        /// What is registered.
        expected: u64,
    },
    /// Its NAR has another hash.
    WrongHash {
        /// What is in the image.
        found: NarHash,
        /// What is registered.
        expected: NarHash,
    },
    /// It cannot be read.
    Unreadable(String),
    /// It is registered but not in the image.
    Missing,
    /// It is in the image but not registered.
    Extra,
}

/// How many paths there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Counts {
    /// With the registered hash.
    pub right: u64,
    /// Without a hash in the registration.
    pub unchecked: u64,
    /// With another hash or size, or unreadable.
    pub wrong: u64,
    /// Not in the image.
    pub missing: u64,
    /// Not in the registration.
    pub extra: u64,
}

/// Why an image cannot be verified at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The file system is damaged above the store paths.
    #[error("cannot read the directory of store paths")]
    Directory(#[from] ReadError),
    /// Changes are still in the journal.
    #[error(
        "the ext4 file system was not unmounted: its journal must be replayed first, with `e2fsck -p` or a mount"
    )]
    Journal,
}

impl VerifyError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Directory(error) => error.kind(),
            Self::Journal => ErrorKind::Unsupported,
        }
    }
}

impl Verification {
    /// How many paths there are of each kind.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for verified in &self.paths {
            match verified.finding {
                Finding::Right => counts.right += 1,
                Finding::Unchecked => counts.unchecked += 1,
                Finding::WrongSize { .. } | Finding::WrongHash { .. } | Finding::Unreadable(_) => {
                    counts.wrong += 1;
                }
                Finding::Missing => counts.missing += 1,
                Finding::Extra => counts.extra += 1,
            }
        }
        counts
    }
}

/// Compares the store paths of a file system with the registration. They are the entries of `/nix/store` or, where there is no such directory, of the root, as in a store image.
pub fn verify(
    file_system: &FileSystem<'_>,
    registration: &Registration,
    job: &Job<'_>,
) -> Result<Verification, VerifyError> {
    if file_system.superblock().needs_recovery() {
        return Err(VerifyError::Journal);
    }
    let mut there = store_entries(file_system)?;
    let mut paths = Vec::new();
    let mut work = Vec::new();
    for registered in registration.paths() {
        match there.remove(registered.path.base_name().as_bytes()) {
            Some(inode) => work.push((registered, inode)),
            None => paths.push(VerifiedPath { path: registered.path.to_string(), finding: Finding::Missing }),
        }
    }
    paths.extend(
        there.keys().map(|name| VerifiedPath {
            path: format!("{STORE_DIR}/{}", shown(name)),
            finding: Finding::Extra,
        }),
    );
    // The largest first, so that all threads have work to the end.
    work.sort_by_key(|(registered, _)| std::cmp::Reverse(registered.nar.map_or(0, |nar| nar.size)));

    // A registration may claim anything.
    let sizes = work.iter().map(|(registered, _)| registered.nar.map_or(0, |nar| nar.size));
    job.progress.begin("verify", sizes.fold(0, u64::saturating_add));
    let examine = |(registered, inode): &(&Registered, u32)| {
        let found = examine(file_system, *inode, registered, job);
        let unreadable = |error: ReadError| (Finding::Unreadable(error.to_string()), Deviations::default());
        (registered.path.to_string(), found.unwrap_or_else(unreadable))
    };
    let mut examined: Vec<_> = job.on_threads(work.len(), || work.iter().par_bridge().map(examine).collect());
    job.progress.end();
    examined.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut all = Vec::with_capacity(examined.len());
    for (path, (finding, deviations)) in examined {
        paths.push(VerifiedPath { path, finding });
        all.push(deviations);
    }
    paths.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Verification { paths, deviations: Deviations::sum(all.into_iter()) })
}

/// The names and inodes of all store paths.
fn store_entries(file_system: &FileSystem<'_>) -> Result<BTreeMap<Vec<u8>, u32>, ReadError> {
    let directory = file_system.store_directory()?;
    let is_root = directory.number == ROOT;
    let entries = file_system.entries(&directory)?.into_iter();
    let entries =
        entries.filter(|entry| if is_root { entry.name != LOST_FOUND } else { entry.name != b".links" });
    Ok(entries.map(|entry| (entry.name, entry.inode)).collect())
}

fn examine(
    file_system: &FileSystem<'_>,
    inode: u32,
    registered: &Registered,
    job: &Job<'_>,
) -> Result<(Finding, Deviations), ReadError> {
    let subtree = Subtree::read(file_system, inode, registered.path.base_name().as_bytes())?;
    let Some(registered) = registered.nar else { return Ok((Finding::Unchecked, subtree.deviations)) };
    let size = nar::size(&subtree.tree, NodeId(0));
    if size != registered.size {
        // Before anything is hashed: a damaged inode may claim any size.
        let finding = Finding::WrongSize { found: size, expected: registered.size };
        return Ok((finding, subtree.deviations));
    }
    let found = hash(file_system, &subtree, job)?;
    let finding = if found == registered.hash {
        Finding::Right
    } else {
        Finding::WrongHash { found, expected: registered.hash }
    };
    Ok((finding, subtree.deviations))
}

fn hash(file_system: &FileSystem<'_>, subtree: &Subtree, job: &Job<'_>) -> Result<NarHash, ReadError> {
    let mut hasher = nar::Hasher::default();
    let mut walk = nar::Walk::new(&subtree.tree, NodeId(0));
    let mut framing = Vec::with_capacity(nar::FRAMING_MAX);
    let mut buffer = Vec::new();
    while let Some(step) = walk.next(&mut framing) {
        hasher.update(&framing);
        job.progress.advance(length(framing.len()));
        framing.clear();
        let nar::Step::Contents { file, size } = step else { continue };
        debug_assert!(matches!(subtree.tree.kind(file), Kind::File { .. }), "only files have contents");
        let contents = file_system.file(&file_system.inode(subtree.inode(file))?)?;
        let mut offset = 0;
        while offset < size {
            let count = PIECE.min(size - offset);
            buffer.resize(index(count), 0);
            contents.read_at(&mut buffer, offset)?;
            hasher.update(&buffer);
            job.progress.advance(count);
            offset += count;
        }
        hasher.update(nar::padding(size));
    }
    // The walk may have ended with framing.
    hasher.update(&framing);
    Ok(hasher.finish())
}
