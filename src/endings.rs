//! How the program ends: what it says last, and with which exit status.

use imagegen::text::lines;

use crate::events::{Event, Failure};
use crate::{hints, streams};

/// The exit status of wrong usage.
const USAGE: u8 = 2;
/// What shells add to a signal's number.
const OF_SIGNALS: i32 = 128;

/// Tells why the work failed: on one line the whole chain of causes, outermost first.
pub fn failed(error: &anyhow::Error, exit_status: u8) -> u8 {
    let half_written = half_written();
    let mut chain = hints::chain(error).into_iter();
    let event = Event::Error {
        kind: Failure::Failed,
        message: chain.next().unwrap_or_default(),
        causes: chain.collect(),
        exit_status,
        signal: None,
        half_written: half_written.clone(),
    };
    if !streams::tell(&event) {
        streams::say(&format!("error: {}{}", hints::shown(error), lost(&half_written)));
    }
    exit_status
}

/// Tells which signal stops the program. Nothing can be said after that.
pub fn stopped(signal: i32) {
    let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
    let half_written = half_written();
    let line = format!("error: stopped by {name}{}", lost(&half_written));
    let event = Event::Error {
        kind: Failure::Stopped,
        message: format!("stopped by {name}"),
        causes: Vec::new(),
        exit_status: u8::try_from(OF_SIGNALS + signal).unwrap_or(u8::MAX),
        signal: Some(name),
        half_written,
    };
    streams::say_at_last(&line, &event);
}

/// Prints the help or version that was asked for, or what is wrong with the options. `failed` is the status where it
/// cannot be printed.
pub fn answer(answer: &clap::Error, failed_status: u8) -> u8 {
    if !answer.use_stderr() {
        return match streams::printed(answer.print()) {
            Ok(()) => 0,
            Err(error) => failed(&error, failed_status),
        };
    }
    let text = answer.render().to_string();
    let (message, _usage) = text.split_once("\n\nUsage:").unwrap_or((&text, ""));
    let event = Event::Error {
        kind: Failure::Usage,
        message: message.trim_start_matches("error: ").trim_end().to_owned(),
        causes: Vec::new(),
        exit_status: USAGE,
        signal: None,
        half_written: Vec::new(),
    };
    if !streams::tell(&event) {
        let shown = lines(&text);
        // It repeats the arguments as they are, which may command the terminal; else it may be in colours.
        if shown == text {
            let _ = answer.print();
        } else {
            streams::say(shown.trim_end());
        }
    }
    USAGE
}

/// The devices that have lost what was on them, and have no whole image instead.
fn half_written() -> Vec<String> {
    imagegen::output::half_written().iter().map(|device| device.display().to_string()).collect()
}

fn lost(devices: &[String]) -> String {
    devices.iter().fold(String::new(), |said, device| format!("{said}; `{device}` is partly overwritten now"))
}
