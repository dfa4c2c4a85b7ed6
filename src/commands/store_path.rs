//! Store paths on the command line.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use imagegen::nix::store_path::{STORE_DIR, StorePath, StoreRoot};

use crate::flake_reference;
use crate::hints::STORE_ROOT;

/// How many symbolic links may be followed; Linux has the same limit (`path_resolution(7)`).
const LINKS_MAX: usize = 40;

/// Takes `/nix/store/…-nixos-system`, with or without slashes at its end, or a link to such a path, as `nix build` makes
/// them. The link may lie anywhere; where it leads into the store, that is the one below `store_root`.
pub fn store_path(path: &Path, store_root: &Path) -> anyhow::Result<StorePath> {
    let shown = path.display();
    if let Ok(rest) = path.strip_prefix(STORE_DIR) {
        let text = format!("{STORE_DIR}/{}", rest.display());
        return StorePath::parse(text.trim_end_matches('/')).with_context(|| {
            format!("`{shown}` is not a store path; name the whole of it and nothing inside")
        });
    }
    let logical = logical_place(path, store_root)?;
    let store = StoreRoot::new(store_root);
    let in_store = logical.strip_prefix(STORE_DIR).unwrap_or(&logical);
    let is_whole = in_store.components().count() == 1;
    if is_whole && let Some(found) = logical.to_str().and_then(|text| StorePath::parse(text).ok()) {
        // A store path that is itself a link is that store path, as it is for Nix.
        let physical = store.physical(&found);
        ensure!(
            physical.symlink_metadata().is_ok(),
            "`{shown}` leads to {found}, and there is no `{}`{STORE_ROOT}; if it was deleted, build it again",
            physical.display()
        );
        return Ok(found);
    }
    let found =
        store.resolve(&logical).with_context(|| format!("`{shown}` leads to `{}`", logical.display()))?;
    ensure!(
        found.inner.as_os_str().is_empty(),
        "`{shown}` leads into the store path {}, to `{}`; name the whole of it and nothing inside",
        found.store_path,
        found.inner.display()
    );
    Ok(found.store_path)
}

/// Follows a path through its links up to the point where it is in the store, and gives it as the guest names it. Links in
/// the store itself are left for [`StoreRoot::resolve`].
fn logical_place(path: &Path, store_root: &Path) -> anyhow::Result<PathBuf> {
    let shown = path.display();
    let root = store_root
        .canonicalize()
        .with_context(|| format!("cannot find the store's root `{}`", store_root.display()))?;
    // The store directory may be a link, or below one.
    let directory = StoreRoot::new(&root).directory();
    let directory = directory.canonicalize().unwrap_or(directory);

    let start = std::path::absolute(path).with_context(|| format!("cannot find `{shown}`"))?;
    let mut todo = components(&start);
    let mut done = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            done.pop();
            continue;
        }
        done.push(&part);
        if let Ok(below) = done.strip_prefix(&directory)
            && below.components().next().is_some()
        {
            let rest: PathBuf = todo.iter().collect();
            return Ok(Path::new(STORE_DIR).join(below).join(rest).components().collect());
        }
        let found = done.symlink_metadata().map_err(|error| not_found(path, links > 0, &done, error))?;
        if !found.is_symlink() {
            continue;
        }
        links += 1;
        ensure!(links <= LINKS_MAX, "`{shown}` leads through more than {LINKS_MAX} symbolic links");
        let target =
            done.read_link().with_context(|| format!("cannot read the link `{}`", done.display()))?;
        done.pop();
        if target.strip_prefix(STORE_DIR).is_ok_and(|below| below.components().next().is_some()) {
            // For whoever made the link, this is the store, wherever it physically is.
            let rest: PathBuf = todo.iter().collect();
            return Ok(target.join(rest).components().collect());
        }
        if target.is_absolute() {
            done = PathBuf::from("/");
        }
        let rest = std::mem::replace(&mut todo, components(&target));
        todo.extend(rest);
    }
    if done == start {
        bail!("`{shown}` is not a store path, nor a link to one");
    }
    let place = done.display();
    if let Some(root) = root_of_other_store(&done) {
        bail!(
            "`{shown}` leads to `{place}`, which is in another store; give --store-root {}",
            root.display()
        );
    }
    bail!("`{shown}` is not a store path, nor a link to one: it leads to `{place}`")
}

/// What to say of a path that ends at `place`, where the system has said no; a link may have led there.
fn not_found(path: &Path, through_link: bool, place: &Path, error: io::Error) -> anyhow::Error {
    let shown = path.display();
    let through =
        if through_link { format!(", which leads to `{}`", place.display()) } else { String::new() };
    let problem = format!("cannot find `{shown}`{through}");
    if error.kind() != io::ErrorKind::NotFound {
        return anyhow::Error::new(error).context(problem);
    }
    if through_link {
        return anyhow!("{problem}; nothing is there: make the link anew, as `nix build` does");
    }
    if let Some(advice) = path.to_str().and_then(flake_reference::advice) {
        return anyhow!("{advice}, and give ./result");
    }
    anyhow!(
        "{problem}; a store path is wanted, or a link to one, such as the ./result that `nix build` makes"
    )
}

/// The root of the store in which a place lies on this machine, by the names of its directories.
fn root_of_other_store(place: &Path) -> Option<&Path> {
    place.ancestors().find_map(|object| {
        StorePath::parse_any(object.file_name()?.to_str()?).ok()?;
        let root = object.parent()?.to_str()?.strip_suffix(STORE_DIR)?;
        Some(Path::new(if root.is_empty() { "/" } else { root }))
    })
}

/// The components of a path in order, without roots and single dots.
fn components(path: &Path) -> VecDeque<OsString> {
    let parts = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    parts.map(|part| part.as_os_str().to_owned()).collect()
}
