//! Files of equal contents as hard links, as in a store after `nix-store --optimise` (the Nix manual,
//! "auto-optimise-store").
//!
//! Only files with the size and permissions of another one are read, and each inode of the source once. Contents alone
//! decide which files become one: a source that was optimised gives the same image.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use parking_lot::Mutex;
use rayon::prelude::*;

use super::hash::{PIECE, contents};
use super::linked::{Digest, Linked};
use super::scan::{Closure, ScanError};
use crate::fs::file_tree::{Kind, NodeId, Tree};
use crate::job::Job;
use crate::nix::nar::Hasher;
use crate::units::index;

/// Makes files of equal contents and permissions the names of one file. Of more than `names_max` equal ones, each further `names_max` in the order of the tree are names of another file.
pub fn optimise(closure: &mut Closure, names_max: u32, job: &Job<'_>) -> Result<(), ScanError> {
    job.progress.begin("compare", 0);
    let candidates = job.on_threads(usize::MAX, || hashed_candidates(closure, job))?;
    let names: Vec<NodeId> = candidates.iter().map(|file| file.node).collect();
    let mut rest = names.as_slice();
    let mut sets = Vec::new();
    let mut digests = Vec::new();
    for equal in candidates.chunk_by(|a, b| (a.kind, a.digest) == (b.kind, b.digest)) {
        let (names, later) = rest.split_at(equal.len());
        rest = later;
        for set in names.chunks(index(names_max.into())) {
            if let [first, _, ..] = set {
                sets.push(set);
                digests.push((*first, equal[0].digest));
            }
        }
    }
    closure.tree.set_names(sets);
    digests.sort_unstable();
    closure.linked = Linked(digests);
    job.progress.end();
    Ok(())
}

/// The files that may be equal to others, equal ones next to each other.
fn hashed_candidates(closure: &Closure, job: &Job<'_>) -> Result<Vec<Candidate>, ScanError> {
    let mut candidates = candidates(&closure.tree);
    let places = Places::new(closure);
    find_links(&mut candidates, &places)?;
    hash(&mut candidates, &places, job)?;
    candidates.par_sort_unstable_by_key(|file| (file.kind, file.digest, file.node));
    Ok(candidates)
}

/// What files that become one have in common before they are read: their size, and whether they are executable.
type FileKind = (u64, bool);

/// A file with the size and permissions of another one.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    kind: FileKind,
    node: NodeId,
    /// The device and inode of a source with several names.
    inode: Option<(u64, u64)>,
    digest: Digest,
}

impl Candidate {
    /// Whether both are names of one file of the source.
    fn is_link_of(&self, other: &Self) -> bool {
        self.kind == other.kind && self.inode.is_some() && self.inode == other.inode
    }
}

/// The files that are not the only ones of their kind.
fn candidates(tree: &Tree) -> Vec<Candidate> {
    let mut files: Vec<(FileKind, NodeId)> = Vec::new();
    for node in tree.nodes() {
        if let Kind::File { size, executable } = tree.kind(node) {
            files.push(((size, executable), node));
        }
    }
    files.par_sort_unstable();
    let several = files.chunk_by(|a, b| a.0 == b.0).filter(|files| files.len() > 1);
    several
        .flatten()
        .map(|&(kind, node)| Candidate { kind, node, inode: None, digest: Digest::default() })
        .collect()
}

/// Finds out which files are already one in the source.
fn find_links(candidates: &mut [Candidate], places: &Places<'_>) -> Result<(), ScanError> {
    candidates.par_iter_mut().filter(|file| file.kind.0 > 0).try_for_each(|file| {
        let path = places.path(file.node);
        let metadata = path.symlink_metadata().map_err(ScanError::io(&path))?;
        // Some file systems give different files the same number; they have no hard links.
        file.inode = (metadata.nlink() > 1).then(|| (metadata.dev(), metadata.ino()));
        Ok(())
    })
}

/// Hashes the contents of all files, the largest first, and those with several names once. All empty files are equal.
fn hash(candidates: &mut [Candidate], places: &Places<'_>, job: &Job<'_>) -> Result<(), ScanError> {
    candidates.par_sort_unstable_by_key(|file| (Reverse(file.kind), file.inode, file.node));
    let todo = Mutex::new(candidates.chunk_by_mut(Candidate::is_link_of));
    let outcomes = rayon::broadcast(|_| {
        let mut piece = vec![0; PIECE];
        loop {
            let next = todo.lock().next();
            let Some([first, further @ ..]) = next else { return Ok(()) };
            if first.kind.0 == 0 {
                // Only empty files are left.
                return Ok(());
            }
            let mut hasher = Hasher::default();
            let read = contents(&places.path(first.node), first.kind.0, &mut hasher, &mut piece, job);
            if read.is_err() {
                // The others need not go on.
                todo.lock().by_ref().for_each(drop);
            }
            read?;
            first.digest = hasher.finish().0;
            for file in further {
                file.digest = first.digest;
            }
        }
    });
    outcomes.into_iter().collect()
}

/// Tells where the files of a closure are.
struct Places<'c> {
    closure: &'c Closure,
    /// The directory that each node is in.
    parents: Vec<NodeId>,
}

impl<'c> Places<'c> {
    fn new(closure: &'c Closure) -> Self {
        let tree = &closure.tree;
        let mut parents = Vec::with_capacity(tree.len());
        let mut open: Vec<NodeId> = Vec::new();
        for node in tree.nodes() {
            while open.last().is_some_and(|&directory| tree.subtree(directory).end <= node.0) {
                open.pop();
            }
            parents.push(open.last().copied().unwrap_or(NodeId(0)));
            if tree.kind(node) == Kind::Directory {
                open.push(node);
            }
        }
        Self { closure, parents }
    }

    /// The physical path of a node below the store directory, which is node 0.
    fn path(&self, node: NodeId) -> PathBuf {
        let mut names = Vec::new();
        let mut at = node;
        while at != NodeId(0) {
            names.push(OsStr::from_bytes(self.closure.tree.name(at)));
            at = self.parents[index(at.0.into())];
        }
        let mut path = self.closure.store.directory();
        path.extend(names.into_iter().rev());
        path
    }
}
