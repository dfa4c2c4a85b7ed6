//! Standard output and standard error, either of which may be full, closed or read by nobody any more.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// Whether a command that prints text is asked to do so by the word that stands for standard output.
pub fn is_standard_output(output: &Path) -> bool {
    output == Path::new("-")
}

/// Prints what was asked for. A reader that has read enough, as `head` does, is no failure; whatever else keeps a byte
/// from being written is.
pub fn print(bytes: &[u8]) -> anyhow::Result<()> {
    printed(io::stdout().write_all(bytes))
}

/// The same as JSON for people and programs.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print((serde_json::to_string_pretty(value)? + "\n").as_bytes())
}

/// The same for what others have printed.
pub fn printed(result: io::Result<()>) -> anyhow::Result<()> {
    // What follows the last line feed is kept back until it is flushed, and a failure at the end would be lost.
    match result.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Says a line on standard error, without what would command the terminal: names of files and what is in images are somebody
/// else's choice. Where it cannot be said, nobody is left to tell, and the work is none the worse.
pub fn say(line: &str) {
    // In one piece, so that lines of several programs do not mix.
    let _ = io::stderr().write_all(format!("{}\n", imagegen::text::line(line)).as_bytes());
}
