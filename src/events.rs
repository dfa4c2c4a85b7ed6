//! What `--progress json` writes to stderr, an event a line; docs/progress.md tells it to people.

use std::fmt::Write;

use imagegen::text::is_unseen;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use crate::json;

/// Raised when a key goes away or changes its meaning. New keys and new types of events may come without that.
pub const VERSION: u32 = 1;

/// A line of `--progress json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Line {
    /// [`VERSION`].
    version: u32,
    /// What happened.
    #[serde(flatten)]
    event: Event,
}

/// What a line tells. The last line of a run is a `summary` or an `error`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// A phase has begun or goes on.
    Progress {
        /// Its name, such as `write`.
        phase: &'static str,
        /// How many bytes are done.
        bytes: u64,
        /// How many there are to do; zero where nobody knows yet.
        total: u64,
        /// The time since it began.
        elapsed_seconds: f64,
        /// How fast it is, smoothed.
        bytes_per_second: u64,
        /// How long it will go on at that speed, if the total is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        remaining_seconds: Option<u64>,
    },
    /// A phase is over.
    Phase {
        /// Its name.
        phase: &'static str,
        /// How many bytes it went through.
        bytes: u64,
        /// How many there were to do; zero where nobody knew.
        total: u64,
        /// How long it took.
        seconds: f64,
    },
    /// Something for people to know.
    Message {
        /// How much it matters.
        level: Level,
        /// The words.
        text: String,
    },
    /// The work is done: the last line.
    Summary {
        /// The program's exit status.
        exit_status: u8,
        /// How long the program ran.
        seconds: f64,
        /// The phases, in order.
        phases: Vec<Phase>,
        /// The program that goes on in this one's place, as QEMU does. What stderr gets from then on is its own.
        #[serde(skip_serializing_if = "Option::is_none")]
        becomes: Option<String>,
    },
    /// The work failed: the last line.
    Error {
        /// What kind of failure it is.
        kind: Failure,
        /// What failed.
        message: String,
        /// Why, each the cause of the one before.
        causes: Vec<String>,
        /// The program's exit status; after a signal that which shells make of it.
        exit_status: u8,
        /// The signal that stopped the program.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<&'static str>,
        /// The block devices that have lost what was on them and have no whole image instead.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        half_written: Vec<String>,
    },
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Something may not be as it is meant.
    Warning,
    /// What was done.
    Note,
    /// What was decided, as `--verbose` tells it.
    Detail,
}

/// A kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// The command line is wrong.
    Usage,
    /// The work failed.
    Failed,
    /// A signal stopped the program.
    Stopped,
}

/// A finished phase, as reports name it too.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Phase {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub seconds: f64,
    /// How many bytes it went through.
    pub bytes: u64,
}

/// The schema of a line.
pub fn schema() -> Schema {
    json::schema::<Line>("nix-imagegen --progress json, a line")
}

impl Event {
    /// A message as people read it, taken apart: what it begins with says how much it matters.
    pub fn message(text: &str) -> Self {
        let (level, text) = match text.strip_prefix("warning: ") {
            Some(text) => (Level::Warning, text),
            None => (Level::Note, text.strip_prefix("note: ").unwrap_or(text)),
        };
        Self::Message { level, text: text.to_owned() }
    }

    /// The line without its end. What a terminal would not show, or obey, is escaped as JSON escapes it.
    pub fn to_line(&self) -> String {
        // Fails only for maps whose keys are no text, of which there are none.
        let json = serde_json::to_string(&Line { version: VERSION, event: self.clone() });
        let mut line = String::new();
        for c in json.unwrap_or_default().chars() {
            if is_unseen(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(line, "\\u{unit:04x}");
                }
            } else {
                line.push(c);
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_line_has_a_version_and_a_type() {
        let line = Event::message("warning: 2 paths were not checked").to_line();
        let read: Value = serde_json::from_str(&line).unwrap();
        let text = "2 paths were not checked";
        assert_eq!(read, json!({"version": 1, "type": "message", "level": "warning", "text": text}));
    }

    #[test]
    fn what_commands_a_terminal_is_escaped_and_read_back() {
        let text = "a\u{9b}31m\u{202e}b\u{e0041}\x1b\n";
        let line = Event::message(text).to_line();
        assert!(line.is_ascii(), "{line}");
        assert!(!line.chars().any(is_unseen), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["text"], text);
    }
}
