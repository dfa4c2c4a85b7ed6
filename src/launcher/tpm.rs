//! The TPM: swtpm, a process of its own to which QEMU connects.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use rustix::fs::Mode;

use super::qemu::concat;

/// The emulator of a machine's TPM.
pub struct Swtpm {
    /// The program.
    pub program: PathBuf,
    /// Where it keeps its state.
    pub directory: PathBuf,
}

impl Swtpm {
    /// Where QEMU connects.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// swtpm's arguments: it keeps its state in the directory, goes into the background when QEMU can connect, and ends
    /// when QEMU does.
    pub fn arguments(&self) -> Vec<OsString> {
        let directory = &self.directory;
        vec![
            "socket".into(),
            "--tpmstate".into(),
            concat(&[&"dir=", directory, &",mode=0600"]),
            "--ctrl".into(),
            concat(&[&"type=unixio,path=", &self.socket(), &",mode=0600"]),
            // Before swtpm 0.8, --ctrl has no such option.
            "--terminate".into(),
            "--pid".into(),
            concat(&[&"file=", &directory.join("pid")]),
            "--daemon".into(),
            "--tpm2".into(),
            "--log".into(),
            concat(&[&"file=", &self.log(), &",level=6"]),
        ]
    }

    /// Starts swtpm, whose files only this user can read.
    pub fn start(&self) -> anyhow::Result<()> {
        let program = self.program.display();
        let umask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let status = Command::new(&self.program)
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        rustix::process::umask(umask);
        let status = status.with_context(|| format!("cannot start `{program}`"))?;
        if !status.success() {
            bail!("`{program}` ended ({status}); `{}` may say why", self.log().display());
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.directory.join("stdout")
    }
}
