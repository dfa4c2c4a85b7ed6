//! The NAR hashes of paths whose registration has none.

use std::io::{self, Read};
use std::path::Path;

use rayon::prelude::*;

use super::scan::{Closure, ScanError, scan};
use crate::fs::file_source::open_source;
use crate::fs::file_tree::NodeId;
use crate::job::Job;
use crate::nix::nar::{self, Hasher, Step, Walk};
use crate::nix::nar_hash::NarInfo;
use crate::nix::registration::{Registered, Registration};
use crate::nix::store_path::{StorePath, StoreRoot};
use crate::units::{index, length};

/// How many bytes are read and hashed at once.
pub const PIECE: usize = 256 << 10;

/// Fills in the hash and size of every path without, from the files. Gives the number of those paths.
pub fn fill_in_hashes(closure: &mut Closure, job: &Job<'_>) -> Result<usize, ScanError> {
    let paths = closure.registration.paths().iter().zip(&closure.roots).enumerate();
    let missing: Vec<_> = paths.filter(|(_, (registered, _))| registered.nar.is_none()).collect();
    job.progress.begin("hash", 0);
    let hash = |&(i, (registered, &root)): &(usize, (&Registered, &NodeId))| {
        Ok((i, hash(closure, &registered.path, root, job)?))
    };
    let found: Result<Vec<_>, ScanError> =
        job.on_threads(missing.len(), || missing.par_iter().map(hash).collect());
    let found = found?;
    job.progress.end();
    for (i, nar) in &found {
        closure.registration.set_nar(*i, *nar);
    }
    Ok(found.len())
}

/// Fills in the hash and size of every path without, reading no other path than these. Gives their number.
pub fn hash_missing(
    registration: &mut Registration,
    store: StoreRoot,
    job: &Job<'_>,
) -> Result<usize, ScanError> {
    let paths = registration.paths().iter().enumerate();
    let missing = paths.filter(|(_, registered)| registered.nar.is_none());
    let (numbers, missing): (Vec<_>, Vec<_>) =
        missing.map(|(number, registered)| (number, registered.clone())).unzip();
    if numbers.is_empty() {
        return Ok(0);
    }
    let mut closure = scan(Registration::without_references(missing), store, job)?;
    let count = fill_in_hashes(&mut closure, job)?;
    for (number, hashed) in numbers.into_iter().zip(closure.registration.paths()) {
        if let Some(nar) = hashed.nar {
            registration.set_nar(number, nar);
        }
    }
    Ok(count)
}

fn hash(closure: &Closure, path: &StorePath, root: NodeId, job: &Job<'_>) -> Result<NarInfo, ScanError> {
    let mut hasher = Hasher::default();
    let mut walk = Walk::new(&closure.tree, root).at(closure.store.physical(path));
    let mut framing = Vec::new();
    let mut piece = vec![0; PIECE];
    while let Some(step) = walk.next(&mut framing) {
        hasher.update(&framing);
        framing.clear();
        if let Step::Contents { size, .. } = step {
            contents(walk.place(), size, &mut hasher, &mut piece, job)?;
        }
    }
    Ok(NarInfo { hash: hasher.finish(), size: nar::size(&closure.tree, root) })
}

/// Hashes the contents of one file, which must have the size of the scan, and the zeros behind them in a NAR.
pub fn contents(
    path: &Path,
    size: u64,
    hasher: &mut Hasher,
    piece: &mut [u8],
    job: &Job<'_>,
) -> Result<(), ScanError> {
    let error = ScanError::io(path);
    let mut file = open_source(path).map_err(&error)?;
    let mut left = size;
    while left > 0 {
        let wanted = index(left.min(length(piece.len())));
        file.read_exact(&mut piece[..wanted]).map_err(&error)?;
        hasher.update(&piece[..wanted]);
        job.progress.advance(length(wanted));
        left -= length(wanted);
    }
    if file.read(&mut piece[..1]).map_err(&error)? > 0 {
        return Err(error(io::Error::other("it changed while it was read")));
    }
    hasher.update(nar::padding(size));
    Ok(())
}
