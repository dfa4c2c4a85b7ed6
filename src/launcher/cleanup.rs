//! What is left to do when a machine has ended, by a process that outlives it.
//!
//! The launcher becomes QEMU, so it cannot clean up behind it. Before, it starts this program once more, with a pipe
//! whose other end only QEMU keeps: the pipe closes when QEMU ends, however it ends.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::removal::{self, Left};
use crate::cli::CleanupArgs;
use crate::streams;

/// Starts the caretaker; it does its work when the file it gives, and all copies of it, are closed. What it cannot remove
/// it tells on stderr, unless that is to be closed while the machine runs.
pub fn start(
    directory: Option<&Path>,
    tpm_socket: Option<&Path>,
    keeps_stderr: bool,
) -> anyhow::Result<OwnedFd> {
    let context = "cannot start the process that cleans up behind QEMU";
    let (reader, writer) = io::pipe().context(context)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg("cleanup");
    for (option, path) in [("--remove", directory), ("--tpm-socket", tpm_socket)] {
        if let Some(path) = path {
            command.arg(option).arg(path);
        }
    }
    command
        .stdin(reader)
        .stdout(Stdio::null())
        .stderr(if keeps_stderr { Stdio::inherit() } else { Stdio::null() })
        .current_dir("/")
        // Ctrl-C is meant for QEMU.
        .process_group(0);
    let _running = command.spawn().context(context)?;
    Ok(writer.into())
}

/// The caretaker's own life.
pub fn run(args: &CleanupArgs) {
    // A terminal that closes is no reason to go before QEMU. Fails only where there is such a session already.
    let _ = rustix::process::setsid();
    // Nothing is ever written; what is awaited is the end.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    if let Some(socket) = &args.tpm_socket {
        end_tpm(socket);
    }
    if let Some(directory) = &args.remove {
        tell(directory, &removal::remove(directory));
    }
}

fn tell(directory: &Path, left: &Left) {
    if left.named.is_empty() {
        return;
    }
    let mut text = format!("warning: the machine's directory `{}` stays:", directory.display());
    for (path, error) in &left.named {
        // Writing to a string cannot fail.
        let _ = write!(text, " cannot remove `{}` ({error});", path.display());
    }
    if left.more > 0 {
        let _ = write!(text, " and {} more;", left.more);
    }
    streams::say(text.trim_end_matches(';'));
}

/// swtpm's command to end, `CMD_SHUTDOWN` (`swtpm_ioctls(3)`).
const SHUTDOWN: [u8; 4] = 3_u32.to_be_bytes();

/// swtpm ends when QEMU's connection does. Where QEMU failed before it connected, it would wait for ever.
fn end_tpm(socket: &Path) {
    // Most often it is gone by now.
    let Ok(mut connection) = UnixStream::connect(socket) else { return };
    let _ = connection.write_all(&SHUTDOWN);
    // Its answer; the command might be lost with the connection otherwise.
    let _ = connection.set_read_timeout(Some(Duration::from_secs(5)));
    let _ = connection.read(&mut [0; 4]);
}
