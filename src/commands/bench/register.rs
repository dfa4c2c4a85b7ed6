//! The registration of a made closure, with the hashes that Nix would find.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use imagegen::fs::file_tree::NodeId;
use imagegen::nix::closure::{self, Closure};
use imagegen::nix::nar::{self, Hasher, Step, Walk};
use imagegen::nix::store_path::{STORE_DIR, StoreRoot};
use imagegen::nix::{NarHash, Registered, Registration};
use imagegen::progress::Silent;
use rayon::prelude::*;

use crate::threads::Threads;

/// How much of a file is read at once.
const BLOCK: usize = 1 << 20;

/// Writes the registration of store paths that lie below `root`, sorted by name.
pub fn write(root: &Path, names: &[String], file: &Path) -> anyhow::Result<()> {
    let mut unhashed = String::new();
    for name in names {
        writeln!(unhashed, "{STORE_DIR}/{name}\n\n0\n\n0")?;
    }
    let registration = Registration::parse(file, unhashed.as_bytes())?;
    let threads = Threads::start(None, usize::MAX)?;
    let closure = threads.install(|| closure::scan(registration, StoreRoot::new(root), &Silent))?;
    let paths: Vec<_> = closure.registration.paths().iter().zip(&closure.roots).collect();
    let record = |(registered, root): &(&Registered, &NodeId)| {
        let physical = closure.store.physical(&registered.path);
        let hash = nar_hash(&closure, **root, physical)?;
        let size = nar::size(&closure.tree, **root);
        Ok(format!("{}\n{hash}\n{size}\n\n0\n", registered.path))
    };
    let records: anyhow::Result<Vec<String>> = threads.install(|| paths.par_iter().map(record).collect());
    fs::write(file, records?.concat()).with_context(|| format!("cannot write `{}`", file.display()))
}

/// Hashes a store path that lies at `physical`.
fn nar_hash(closure: &Closure, root: NodeId, physical: PathBuf) -> anyhow::Result<NarHash> {
    let mut hasher = Hasher::default();
    let mut block = vec![0; BLOCK];
    let mut framing = Vec::new();
    let mut walk = Walk::new(&closure.tree, root);
    // The parent of the store path, so that every node is named the same way.
    let mut directory = physical;
    directory.pop();
    while let Some(step) = walk.next(&mut framing) {
        hasher.update(&framing);
        framing.clear();
        let below = |node| directory.join(std::ffi::OsStr::from_bytes(closure.tree.name(node)));
        match step {
            Step::Framing => {}
            Step::Enter(node) => directory = below(node),
            Step::Leave => {
                directory.pop();
            }
            Step::Contents { file, size } => hash_file(&mut hasher, &below(file), size, &mut block)?,
        }
    }
    hasher.update(&framing);
    Ok(hasher.finish())
}

fn hash_file(hasher: &mut Hasher, path: &Path, size: u64, block: &mut [u8]) -> anyhow::Result<()> {
    let context = || format!("cannot read `{}`", path.display());
    let mut file = File::open(path).with_context(context)?;
    let mut found = 0;
    loop {
        let read = file.read(block).with_context(context)?;
        if read == 0 {
            break;
        }
        hasher.update(&block[..read]);
        found += u64::try_from(read)?;
    }
    ensure!(found == size, "`{}` changed while it was read", path.display());
    hasher.update(nar::padding(size));
    Ok(())
}
