//! Directories of this machine that the guest can mount with 9p.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::config::Config;
use super::option_value;
use super::prepare::Files;

/// The arguments of all shares, in the order of their tags: the module's own and the config's.
pub fn arguments(config: &Config, files: &Files) -> Vec<OsString> {
    let mut shares: BTreeMap<&str, PathBuf> =
        BTreeMap::from([("xchg", files.exchange.clone()), ("shared", files.shared.clone())]);
    if !config.use_nix_store_image {
        shares.insert("nix-store", files.store_directory.clone());
    }
    for (tag, share) in &config.shared_directories {
        shares.insert(tag, share.source.clone());
    }
    shares.into_iter().flat_map(|(tag, source)| ["-virtfs".into(), share(tag, source)]).collect()
}

fn share(tag: &str, source: PathBuf) -> OsString {
    let mut option = OsString::from("local,path=");
    option.push(option_value(source));
    option.push(",security_model=none,mount_tag=");
    option.push(option_value(tag));
    option
}
