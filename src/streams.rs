//! Standard output and standard error, either of which may be full, closed or read by nobody any more.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, ensure};
use imagegen::text::line as line_of;
use serde::Serialize;

use crate::events::Event;
use crate::json::Versioned;

/// Whether a path is `-`, which stands for standard output.
pub fn is_standard_output(output: &Path) -> bool {
    output == Path::new("-")
}

/// Standard output for bytes that are no text, without a buffer. A terminal is an error, which names the option that leads
/// here.
pub fn for_bytes(option: &str) -> anyhow::Result<File> {
    let stdout = io::stdout();
    ensure!(
        !stdout.is_terminal(),
        "standard output is a terminal, and {option} would write an image to it; redirect it, or name a file"
    );
    Ok(stdout.as_fd().try_clone_to_owned().context("cannot write to standard output")?.into())
}

/// Prints to standard output. A reader that stops reading, as `head` does, is no failure; every other error is.
pub fn print(bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    printed(io::stdout().write_all(bytes.as_ref()))
}

/// Prints a document as indented JSON, with its version.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(serde_json::to_string_pretty(&Versioned::new(value))? + "\n")
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

/// How lines go to standard error, and what its last line is.
#[derive(Default)]
struct StandardError {
    /// Every line is an event of [`Event`].
    json: bool,
    /// The bar that the last line is, which has no end yet.
    bar: Option<Bar>,
}

struct Bar {
    columns: usize,
    redrawn_by: Redrawing,
}

/// How a line that stands there already is drawn anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redrawing {
    /// By a terminal's commands; it can be taken away too.
    Terminal,
    /// By a carriage return, for files, pipes and terminals without commands. The last state of a bar stays.
    Return,
}

static STANDARD_ERROR: Mutex<StandardError> = Mutex::new(StandardError { json: false, bar: None });

fn standard_error() -> MutexGuard<'static, StandardError> {
    STANDARD_ERROR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Erases from the cursor on (ECMA-48's ED). A bar leaves the cursor at its beginning, so that this takes all rows of a
/// bar that a narrower window has broken in two.
const ERASE: &str = "\x1b[J";

/// Whether a terminal goes on in the next row at its right edge (DEC's autowrap mode). A window may have become narrower
/// already when its width was asked for.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

impl StandardError {
    /// A failure is ignored: there is nowhere else to report it. All in one piece, so that lines of several programs do
    /// not mix.
    fn write(text: &str) {
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// What ends the bar, if there is one, so that a line can follow.
    fn end_of_bar(&mut self) -> &'static str {
        match self.bar.take().map(|bar| bar.redrawn_by) {
            None => "",
            Some(Redrawing::Terminal) => ERASE,
            Some(Redrawing::Return) => "\n",
        }
    }

    fn say(&mut self, line: &str) {
        if self.json {
            Self::write(&(Event::message(line).to_line() + "\n"));
        } else {
            let end = self.end_of_bar();
            Self::write(&format!("{end}{}\n", line_of(line)));
        }
    }
}

/// From now on every line is an event as JSON.
pub fn speak_json(json: bool) {
    standard_error().json = json;
}

/// Writes a line to standard error, without characters that command the terminal: names of files and contents of images are
/// somebody else's choice.
pub fn say(line: &str) {
    standard_error().say(line);
}

/// Says an event as JSON if that was asked for, and tells whether it was.
pub fn tell(event: &Event) -> bool {
    let error = standard_error();
    if error.json {
        StandardError::write(&(event.to_line() + "\n"));
    }
    error.json
}

/// Says the last that this program says: whoever else has something to say waits until it has ended.
pub fn say_at_last(line: &str, event: &Event) {
    let mut error = standard_error();
    if error.json {
        StandardError::write(&(event.to_line() + "\n"));
    } else {
        error.say(line);
    }
    std::mem::forget(error);
}

/// Draws a bar, in place of the one that is there. It has no more columns than the window, less one: in the last one a
/// cursor stands in different places.
pub fn draw(bar: &str, redrawn_by: Redrawing) {
    let mut error = standard_error();
    let columns = bar.chars().count();
    match redrawn_by {
        Redrawing::Terminal => StandardError::write(&format!("\r{WRAP_OFF}{bar}{WRAP_ON}{ERASE}\r")),
        Redrawing::Return => {
            let before = error.bar.as_ref().map_or(0, |bar| bar.columns);
            StandardError::write(&format!("\r{bar:before$}"));
        }
    }
    error.bar = Some(Bar { columns, redrawn_by });
}

/// Takes the bar away, or leaves it there as a line.
pub fn end_bar() {
    let end = standard_error().end_of_bar();
    if !end.is_empty() {
        StandardError::write(end);
    }
}
