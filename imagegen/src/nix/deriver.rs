//! The deriver of a path: the derivation that made it, as Nix and its tools write it.

use crate::nix::store_path::{StorePath, StorePathError};

/// What `nix-store --query --deriver` prints where there is none.
const UNKNOWN: &str = "unknown-deriver";

/// Reads a deriver: a store path, its base name (as `.narinfo` files have it), or one of the ways to say that there is
/// none. Anything else is what `nix-store --load-db` refuses, and what a Nix whose database has it fails at.
pub(super) fn parse(text: &str) -> Result<Option<StorePath>, StorePathError> {
    match text {
        "" | UNKNOWN => Ok(None),
        _ => StorePath::parse_any(text).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "s66mzxpvicwk07gjbjfw9izjfa797vsw-a.drv";

    #[test]
    fn a_deriver_is_a_path_a_base_name_or_none() {
        let full = format!("/nix/store/{NAME}");
        for (text, expected) in
            [(full.as_str(), Some(full.as_str())), (NAME, Some(&full)), ("", None), (UNKNOWN, None)]
        {
            let found = parse(text).unwrap().map(|path| path.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        for text in ["unknown", "a.drv", "/tmp/a.drv", "/nix/store/a.drv", " ", "unknown-deriver "] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
