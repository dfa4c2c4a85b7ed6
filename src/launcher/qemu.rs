//! QEMU itself: where it is, whether it is new enough, and how its options are written.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::config::{Config, Problems};
use super::environment::Environment;
use super::platform::{Hardware, Platform};
use super::search::program;

/// The oldest QEMU that reads every image this program writes: zstd in qcow2 came with it.
const OLDEST: (u32, u32) = (5, 1);

/// The config's QEMU, or the one on `PATH`. It is a problem if there is none or it is too old.
pub fn find(
    config: &Config,
    environment: &Environment,
    platform: Platform,
    problems: &mut Problems,
) -> Option<PathBuf> {
    let Hardware { qemu: name, qemu_package, .. } = *platform.hardware();
    let install = format!("install QEMU {}.{} or newer (Debian: {qemu_package})", OLDEST.0, OLDEST.1);
    let package = config.qemu.package.as_deref().and_then(|package| std::path::absolute(package).ok());
    // nixpkgs' smallest QEMU emulates only this machine's platform, and has another name too.
    let other = if Platform::of_this_machine() == Some(platform) { "qemu-kvm" } else { name };
    let found = program(environment, package.as_deref(), name)
        .or_else(|| package.as_deref().and_then(|package| program(environment, Some(package), other)));
    let shown = found.as_deref().unwrap_or(Path::new(name)).display();
    let problem = match (found.as_deref().map(version), package) {
        (None, Some(package)) => {
            Some(format!("there is no program `{}`", package.join("bin").join(name).display()))
        }
        (None, None) => {
            let or = if config.of_image { "" } else { " or set qemu.package" };
            Some(format!("there is no {name} on PATH; {install}{or}"))
        }
        (Some(Err(error)), _) => Some(format!("cannot start `{shown} --version`: {error}")),
        (Some(Ok(None)), _) => {
            Some(format!("`{shown} --version` does not tell a version of QEMU; {install}"))
        }
        (Some(Ok(Some(version))), _) => (version < OLDEST)
            .then(|| format!("`{shown}` is QEMU {}.{}, which is too old; {install}", version.0, version.1)),
    };
    if let Some(problem) = problem {
        problems.add("qemu.package", problem);
    }
    found
}

/// Major and minor version, from a line such as `QEMU emulator version 7.2.22 (Debian …)`.
fn version(qemu: &Path) -> std::io::Result<Option<(u32, u32)>> {
    let output = Command::new(qemu).arg("--version").stdin(Stdio::null()).output()?;
    Ok(parse_version(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.split_once("version ")?;
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Escapes a value for QEMU's comma-separated options: a comma is written twice (QEMU's manual, "-drive"). No value can
/// then become another option.
pub fn option_value(value: impl AsRef<OsStr>) -> OsString {
    let bytes = value.as_ref().as_bytes().iter();
    OsString::from_vec(bytes.flat_map(|&byte| vec![byte; if byte == b',' { 2 } else { 1 }]).collect())
}

/// `key=value,…` with the keys in order, as Nix orders attribute sets.
pub fn option_list<'a>(pairs: impl IntoIterator<Item = (&'a str, OsString)>) -> OsString {
    let sorted: BTreeMap<&str, OsString> = pairs.into_iter().collect();
    let options = sorted.iter().map(|(key, value)| concat(&[key, &"=", &option_value(value)]));
    options.collect::<Vec<_>>().join(OsStr::new(","))
}

/// One argument of several parts.
pub fn concat(parts: &[&dyn AsRef<OsStr>]) -> OsString {
    parts.iter().map(AsRef::as_ref).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_of_several_builds() {
        for (text, version) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright", Some((7, 2))),
            ("QEMU emulator version 10.0.50 (v10.0.0-1)", Some((10, 0))),
            ("QEMU emulator version 2.5.0, Copyright (c)", Some((2, 5))),
            ("GNU bash", None),
            ("version x", None),
        ] {
            assert_eq!(super::parse_version(text), version, "{text}");
        }
    }
}
