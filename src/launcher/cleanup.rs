//! The process that cleans up when a machine has ended.
//!
//! The launcher becomes QEMU, so it cannot clean up itself. Before that, it starts this program once more, with a pipe
//! whose other end only QEMU has: the pipe closes when QEMU ends, however it ends.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use imagegen::output::removal::{self, Left};

use crate::cli::CleanupCli;
use crate::streams;

/// Starts the process. It cleans up when the returned file and all copies of it are closed. It reports what it cannot
/// remove on stderr, unless stderr is to be closed while the machine runs.
pub fn start(
    directory: Option<&Path>,
    tpm_socket: Option<&Path>,
    keeps_stderr: bool,
) -> anyhow::Result<OwnedFd> {
    let context = "cannot start the process that cleans up behind QEMU";
    let (reader, writer) = io::pipe().context(context)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(CleanupCli::COMMAND);
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

/// Waits for the end of the pipe, and cleans up.
pub fn run(args: &CleanupCli) {
    // In a session of its own, it outlives the terminal. The call fails only if it has such a session already.
    let _ = rustix::process::setsid();
    // Nothing is ever written to the pipe.
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
    let named = left.named.iter();
    let named = named.map(|(path, error)| format!(" cannot remove `{}` ({error})", path.display()));
    let more = (left.more > 0).then(|| format!(" and {} more", left.more));
    let reasons = named.chain(more).collect::<Vec<_>>().join(";");
    streams::say(&format!("warning: the machine's directory `{}` stays:{reasons}", directory.display()));
}

/// swtpm's command to end, `CMD_SHUTDOWN` (`swtpm_ioctls(3)`).
const SHUTDOWN: [u8; 4] = 3_u32.to_be_bytes();

/// Ends swtpm. It ends by itself when QEMU disconnects, but if QEMU never connected it would wait for ever.
fn end_tpm(socket: &Path) {
    // Most often it has ended by now.
    let Ok(mut connection) = UnixStream::connect(socket) else { return };
    let _ = connection.write_all(&SHUTDOWN);
    // Without waiting for the answer, the command might be lost with the connection.
    let _ = connection.set_read_timeout(Some(Duration::from_secs(5)));
    let _ = connection.read(&mut [0; 4]);
}
