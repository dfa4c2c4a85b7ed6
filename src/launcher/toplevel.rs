//! The option `toplevel`.

use std::path::Path;

use anyhow::anyhow;
use imagegen::nix::store_path::StorePath;

use crate::flake_reference;

/// Reads the option, a store path. What else people have for a system is told with what to do.
pub fn store_path(text: &str) -> anyhow::Result<StorePath> {
    StorePath::parse(text).map_err(|error| match flake_reference::advice(text) {
        Some(advice) => anyhow!("{advice}, and name the store path that ./result leads to"),
        None if Path::new(text).is_symlink() => {
            let quoted = shell_words::quote(text);
            anyhow!(
                "`{text}` is a link; name the store path that it leads to, as `readlink {quoted}` prints it"
            )
        }
        None => error.into(),
    })
}
