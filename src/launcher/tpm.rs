//! The TPM: a process of its own, swtpm, to which QEMU connects.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use rustix::fs::Mode;

use super::host::TpmFacts;

/// swtpm's arguments: it keeps its state in the directory, goes into the background when QEMU can connect, and ends
/// when QEMU does.
pub fn arguments(tpm: &TpmFacts) -> Vec<OsString> {
    let directory = &tpm.directory;
    let at = |option: &str, path: &Path, more: &str| {
        let mut text = OsString::from(option);
        text.push(path);
        text.push(more);
        text
    };
    vec![
        "socket".into(),
        "--tpmstate".into(),
        at("dir=", directory, ",mode=0600"),
        "--ctrl".into(),
        at("type=unixio,path=", &tpm.socket(), ",mode=0600"),
        // As an option of --ctrl it is not known before swtpm 0.8.
        "--terminate".into(),
        "--pid".into(),
        at("file=", &directory.join("pid"), ""),
        "--daemon".into(),
        "--tpm2".into(),
        "--log".into(),
        at("file=", &directory.join("stdout"), ",level=6"),
    ]
}

/// Starts swtpm, whose files are for this user alone.
pub fn start(tpm: &TpmFacts) -> anyhow::Result<()> {
    let program = tpm.program.display();
    let umask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let output = Command::new(&tpm.program)
        .args(arguments(tpm))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    rustix::process::umask(umask);
    let output = output.with_context(|| format!("cannot start `{program}`"))?;
    if !output.success() {
        bail!("`{program}` ended ({output}); `{}` may say why", tpm.directory.join("stdout").display());
    }
    Ok(())
}
