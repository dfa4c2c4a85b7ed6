//! Standard output and standard error, either of which may be full, closed or read by nobody any more.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// Whether a path is `-`, which stands for standard output.
pub fn is_standard_output(output: &Path) -> bool {
    output == Path::new("-")
}

/// Prints to standard output. A reader that stops reading, as `head` does, is no failure; every other error is.
pub fn print(bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    printed(io::stdout().write_all(bytes.as_ref()))
}

/// Prints a value as indented JSON.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(serde_json::to_string_pretty(value)? + "\n")
}

/// Judges the result of printing in the same way, for text that clap has printed.
pub fn printed(result: io::Result<()>) -> anyhow::Result<()> {
    // What follows the last line feed is kept back until it is flushed, and a failure at the end would be lost.
    match result.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error, without characters that command the terminal: names of files and contents of images are
/// somebody else's choice. A failure is ignored: there is nowhere else to report it.
pub fn say(line: &str) {
    // In one piece, so that lines of several programs do not mix.
    let _ = io::stderr().write_all(format!("{}\n", imagegen::text::line(line)).as_bytes());
}
