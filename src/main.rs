//! The program: parse, dispatch, exit status.

mod cli;
mod closure_file;
mod commands;
mod derivation;
mod digest;
mod flake_reference;
mod hints;
mod image_output;
mod input;
mod invocation;
mod launcher;
mod outputs;
mod progress;
mod report;
mod small_file;
mod streams;
mod svg;
mod table;

use std::process::ExitCode;
use std::sync::{Arc, mpsc};

use clap::Parser;
use imagegen::text::lines;

use cli::CleanupCli;
use invocation::Invocation;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == CleanupCli::COMMAND) {
        launcher::cleanup::run(&CleanupCli::parse_from(std::env::args_os().skip(1)));
        return ExitCode::SUCCESS;
    }
    let invocation = match Invocation::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(answer) => return answer_in_words(&answer),
    };
    fail_at_file_size_limits();
    clean_up_on_signals();
    match commands::run(&invocation) {
        Ok(status) => status,
        Err(error) => {
            // One line: the whole chain of causes, outermost first.
            tell(&error);
            commands::failure(matches!(invocation.cli.command, cli::Command::Diff(_)))
        }
    }
}

/// Prints the help or version that was asked for, or what is wrong with the options.
fn answer_in_words(answer: &clap::Error) -> ExitCode {
    if answer.use_stderr() {
        let text = answer.render().to_string();
        let shown = lines(&text);
        // It repeats the arguments as they are, which may command the terminal; else it may be in colours.
        if shown == text {
            let _ = answer.print();
        } else {
            streams::say(shown.trim_end());
        }
        return ExitCode::from(2);
    }
    match streams::printed(answer.print()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            commands::failure(std::env::args_os().any(|word| word == "diff"))
        }
    }
}

fn tell(error: &anyhow::Error) {
    streams::say(&format!("error: {}{}", hints::shown(error), lost()));
}

/// Says which devices have lost what was on them, and have no whole image instead.
fn lost() -> String {
    let devices = imagegen::output::half_written();
    devices.iter().fold(String::new(), |said, device| {
        format!("{said}; `{}` is partly overwritten now", device.display())
    })
}

/// Lets a write beyond `ulimit -f` fail as on a full disk, instead of ending the program without a word.
fn fail_at_file_size_limits() {
    use signal_hook::consts::SIGXFSZ;
    // Without the handler the program ends; nothing half written stays either way.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// On SIGINT, SIGTERM and SIGHUP: removes what is half written, says so, and ends as the signal would have.
fn clean_up_on_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let (ready, waits) = mpsc::channel::<()>();
    let clean_up = move || {
        // Not before there is somebody to hear of signals: they would be lost.
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]) else { return };
        drop(ready);
        if let Some(signal) = signals.forever().next() {
            imagegen::output::remove_unfinished();
            commands::clean_up();
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
            streams::say(&format!("error: stopped by {name}{}", lost()));
            // Fails only for signals that do not exist.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    // Without the thread the program works too, and signals end it as usual. Only a file system without O_TMPFILE would
    // keep a temporary file until the next run.
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(clean_up);
    // Wait until the thread receives signals, or has failed to.
    let _ = waits.recv();
}
