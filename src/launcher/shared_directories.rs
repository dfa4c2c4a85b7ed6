//! Directories of this machine that the guest can mount with 9p.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use imagegen::output::Access;

use super::config::{Config, Problems, STORE_TAG, SecurityModel, SharedDirectory};
use super::host::{Host, ScriptVariables};
use super::new_file::NewFile;
use super::qemu::option_value;
use super::shell;

/// Where the guest mounts the directory for exchange.
pub const EXCHANGE_TARGET: &str = "/tmp/xchg";
/// The share with the certificates, and the file in it.
const CERTIFICATES_TAG: &str = "certs";
const CERTIFICATES: &str = "ca-certificates.crt";

/// The shares of a machine.
pub struct Shares {
    /// QEMU's arguments for them.
    pub arguments: Vec<OsString>,
    /// What is made in the temporary directory.
    pub files: Vec<NewFile>,
    /// Directories that have to be there, with the options that name them.
    pub directories: Vec<(String, PathBuf)>,
}

/// Plans all shares, in the order of their tags: the module's own and the config's.
pub fn plan(
    config: &Config,
    host: &Host,
    variables: &ScriptVariables<'_>,
    problems: &mut Problems,
) -> Shares {
    let mut files = vec![NewFile::Directory(host.exchange())];
    if config.use_host_certs {
        let directory = host.directory.join(CERTIFICATES_TAG);
        let to = directory.join(CERTIFICATES);
        files.push(NewFile::OpenDirectory(directory));
        files.extend(host.certificates.clone().map(|from| NewFile::FreshCopy {
            from,
            to,
            access: Access::Usual,
        }));
    }
    let mut shares = Shares { arguments: Vec::new(), files, directories: Vec::new() };
    for (tag, share) in all(config) {
        let source = if tag == STORE_TAG && !config.shared_directories.contains_key(&tag) {
            Ok(host.store_directory.clone().into_os_string())
        } else {
            shell::word(&share.source, variables)
        };
        let option = format!("sharedDirectories.{tag}.source");
        let source = match source {
            Ok(source) if source.is_empty() => {
                problems.add(&option, format_args!("`{}` is empty", share.source));
                continue;
            }
            Ok(source) => host.current_directory.join(source),
            Err(error) => {
                problems.add(&option, format_args!("`{}`: {error}", share.source));
                continue;
            }
        };
        shares.arguments.extend(["-virtfs".into(), argument(config, &tag, &source, share.security_model)]);
        shares.directories.push((option, source));
    }
    shares
}

/// Every share by its tag.
pub fn all(config: &Config) -> BTreeMap<String, SharedDirectory> {
    let share = |tag: &str, source: &str, target: &str| {
        let security_model = SecurityModel::None;
        (tag.to_owned(), SharedDirectory { source: source.into(), target: target.into(), security_model })
    };
    let mut shares = BTreeMap::from([
        share("xchg", "\"$TMPDIR\"/xchg", EXCHANGE_TARGET),
        share("shared", "\"${SHARED_DIR:-$TMPDIR/xchg}\"", "/tmp/shared"),
    ]);
    if config.shares_store() {
        shares.extend([share(STORE_TAG, "/nix/store", "/nix/store")]);
    }
    if config.use_host_certs {
        shares.extend([share(CERTIFICATES_TAG, "\"$TMPDIR\"/certs", "/etc/ssl/certs")]);
    }
    shares.extend(config.shared_directories.clone());
    shares
}

/// Whether the guest has no reason to write to a share: the store, over which it has a layer to write to, and the
/// certificates.
pub fn is_only_read(config: &Config, tag: &str) -> bool {
    let is_own = config.shared_directories.contains_key(tag);
    match tag {
        STORE_TAG => !is_own || config.writable_store,
        CERTIFICATES_TAG => !is_own,
        _ => false,
    }
}

fn argument(config: &Config, tag: &str, source: &std::path::Path, model: SecurityModel) -> OsString {
    let mut option = OsString::from("local,path=");
    option.push(option_value(source));
    option.push(format!(",security_model={},mount_tag=", model.name()));
    option.push(option_value(tag));
    if is_only_read(config, tag) {
        option.push(",readonly=on");
    }
    option
}
