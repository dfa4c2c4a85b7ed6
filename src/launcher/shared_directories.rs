//! Directories of this machine that the guest can mount with 9p.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use imagegen::output::Access;

use super::config::{Config, Problems, STORE_TAG, SecurityModel, SharedDirectory};
use super::host::Machine;
use super::new_file::NewFile;
use super::qemu::{concat, option_value};
use super::shell;

/// Where the guest mounts the directory for exchange.
pub const EXCHANGE_TARGET: &str = "/tmp/xchg";
/// The mount tag of the directory with the certificates, and the file in it.
const CERTIFICATES_TAG: &str = "certs";
const CERTIFICATES: &str = "ca-certificates.crt";

/// The shared directories of a machine.
pub struct SharedDirectories {
    /// QEMU's arguments for them.
    pub arguments: Vec<OsString>,
    /// Made in the temporary directory.
    pub files: Vec<NewFile>,
    /// Directories that have to exist, with the options that name them.
    pub directories: Vec<(String, PathBuf)>,
}

/// Plans all shared directories in the order of their tags: the module's own and the config's.
pub fn plan(machine: &Machine<'_>, problems: &mut Problems) -> SharedDirectories {
    let Machine { config, host, .. } = machine;
    let mut files = Vec::new();
    if !config.of_image {
        files.push(NewFile::Directory { path: host.exchange(), access: Access::Private });
    }
    if config.use_host_certs {
        let directory = host.directory.join(CERTIFICATES_TAG);
        let (to, access) = (directory.join(CERTIFICATES), Access::Usual);
        files.push(NewFile::Directory { path: directory, access });
        files.extend(host.certificates.clone().map(|from| NewFile::Copy { from, to, access, fresh: true }));
    }
    let mut shared = SharedDirectories { arguments: Vec::new(), files, directories: Vec::new() };
    for (tag, directory) in all(config) {
        let source = if tag == STORE_TAG && !config.shared_directories.contains_key(&tag) {
            Ok(host.store_directory.clone().into_os_string())
        } else {
            shell::word(&directory.source, machine)
        };
        let option = format!("sharedDirectories.{tag}.source");
        match source {
            Ok(source) if source.is_empty() => {
                problems.add(&option, format_args!("`{}` is empty", directory.source));
            }
            Ok(source) => {
                let source = host.current_directory.join(source);
                let argument = argument(config, &tag, &source, directory.security_model);
                shared.arguments.extend(["-virtfs".into(), argument]);
                shared.directories.push((option, source));
            }
            Err(error) => problems.add(&option, format_args!("`{}`: {error}", directory.source)),
        }
    }
    shared
}

/// Every shared directory by its mount tag.
pub fn all(config: &Config) -> BTreeMap<String, SharedDirectory> {
    let shared = |tag: &str, source: &str, target: &str| {
        let security_model = SecurityModel::None;
        (tag.to_owned(), SharedDirectory { source: source.into(), target: target.into(), security_model })
    };
    if config.of_image {
        return BTreeMap::new();
    }
    let mut all = BTreeMap::from([
        shared("xchg", "\"$TMPDIR\"/xchg", EXCHANGE_TARGET),
        shared("shared", "\"${SHARED_DIR:-$TMPDIR/xchg}\"", "/tmp/shared"),
    ]);
    if config.shares_store() {
        all.extend([shared(STORE_TAG, "/nix/store", "/nix/store")]);
    }
    if config.use_host_certs {
        all.extend([shared(CERTIFICATES_TAG, "\"$TMPDIR\"/certs", "/etc/ssl/certs")]);
    }
    all.extend(config.shared_directories.clone());
    all
}

/// Whether the guest only reads a directory: the store, over which it has a writable layer, and the certificates.
pub fn is_only_read(config: &Config, tag: &str) -> bool {
    let is_own = config.shared_directories.contains_key(tag);
    match tag {
        STORE_TAG => !is_own || config.writable_store,
        CERTIFICATES_TAG => !is_own,
        _ => false,
    }
}

fn argument(config: &Config, tag: &str, source: &Path, model: SecurityModel) -> OsString {
    let model = format!(",security_model={},mount_tag=", model.name());
    let read_only = if is_only_read(config, tag) { ",readonly=on" } else { "" };
    concat(&[&"local,path=", &option_value(source), &model, &option_value(tag), &read_only])
}
