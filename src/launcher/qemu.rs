//! QEMU itself: where it is, whether it is new enough, and how its options are written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::config::{Config, Problems};
use super::environment::Environment;
use super::platform::Platform;
use super::search::program;

/// The oldest QEMU that reads every image this program writes: zstd in qcow2 came with it.
const OLDEST: (u32, u32) = (5, 1);

/// The config's QEMU, or the one on `PATH`; a problem if there is none or it is too old.
pub fn find(
    config: &Config,
    environment: &Environment,
    platform: Platform,
    problems: &mut Problems,
) -> Option<PathBuf> {
    let name = platform.hardware().qemu;
    let install = format!(
        "install QEMU {}.{} or newer (Debian: {})",
        OLDEST.0,
        OLDEST.1,
        platform.hardware().qemu_package
    );
    let package = config.qemu.package.as_deref().and_then(|package| std::path::absolute(package).ok());
    // nixpkgs' smallest QEMU has only the one for this machine, under another name too.
    let other = if Platform::of_this_machine() == Some(platform) { "qemu-kvm" } else { name };
    let found = program(environment, package.as_deref(), name)
        .or_else(|| package.as_deref().and_then(|package| program(environment, Some(package), other)));
    let Some(qemu) = found else {
        match package {
            Some(package) => {
                let place = package.join("bin").join(name);
                problems.add("qemu.package", format_args!("there is no program `{}`", place.display()));
            }
            None => problems.add(
                "qemu.package",
                format_args!("there is no {name} on PATH; {install} or set qemu.package"),
            ),
        }
        return None;
    };
    match version(&qemu) {
        Err(error) => {
            let what = format!("cannot start `{} --version`: {error}", qemu.display());
            problems.add("qemu.package", what);
        }
        Ok(Some(version)) if version < OLDEST => {
            let (major, minor) = version;
            let what = format!("`{}` is QEMU {major}.{minor}, which is too old; {install}", qemu.display());
            problems.add("qemu.package", what);
        }
        Ok(Some(_)) => {}
        Ok(None) => {
            let what = format!("`{} --version` does not tell a version of QEMU; {install}", qemu.display());
            problems.add("qemu.package", what);
        }
    }
    Some(qemu)
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

/// Escapes a value for QEMU's comma-separated options: a comma is written twice (QEMU's manual, "-drive"). Whatever
/// the value is, it cannot become another option.
pub fn option_value(value: impl Into<OsString>) -> OsString {
    let value = value.into();
    let mut escaped = Vec::with_capacity(value.len());
    for &byte in value.as_bytes() {
        escaped.push(byte);
        if byte == b',' {
            escaped.push(byte);
        }
    }
    OsString::from_vec(escaped)
}

/// `key=value,…` with the keys in order, as Nix orders attribute sets.
pub fn option_list<'a>(pairs: impl IntoIterator<Item = (&'a str, OsString)>) -> OsString {
    let sorted: BTreeMap<&str, OsString> = pairs.into_iter().collect();
    let mut out = OsString::new();
    for (key, value) in sorted {
        if !out.is_empty() {
            out.push(",");
        }
        out.push(key);
        out.push("=");
        out.push(option_value(value));
    }
    out
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
