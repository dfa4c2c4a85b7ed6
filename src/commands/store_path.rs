//! Store paths on the command line.

use std::path::Path;

use anyhow::Context;
use imagegen::store_path::{STORE_DIR, StorePath};

/// Takes `/nix/store/…-nixos-system`, with or without slashes at its end, or a link to such a path.
pub fn store_path(path: &Path, store_root: &Path) -> anyhow::Result<StorePath> {
    let shown = path.display();
    if let Ok(rest) = path.strip_prefix(STORE_DIR) {
        let text = format!("{STORE_DIR}/{}", rest.display());
        return StorePath::parse(text.trim_end_matches('/')).with_context(|| {
            format!("`{shown}` is not a store path; name the whole of it and nothing inside")
        });
    }
    let found = path.canonicalize().with_context(|| format!("cannot find `{shown}`"))?;
    let root = store_root
        .canonicalize()
        .with_context(|| format!("cannot find the store's root `{}`", store_root.display()))?;
    let logical = found.strip_prefix(&root).ok().map(|rest| Path::new("/").join(rest));
    let logical = logical.as_deref().and_then(Path::to_str).unwrap_or_default();
    StorePath::parse(logical).with_context(|| format!("`{shown}` is not a store path, nor a link to one"))
}
