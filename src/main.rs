//! The program: parse, dispatch, exit status.

mod cli;
mod closure_file;
mod commands;
mod derivation;
mod digest;
mod endings;
mod events;
mod flake_reference;
mod hints;
mod image_output;
mod input;
mod invocation;
mod json;
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

use cli::CleanupCli;
use invocation::Invocation;
use progress::Reporter;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == CleanupCli::COMMAND) {
        launcher::cleanup::run(&CleanupCli::parse_from(words.into_iter().skip(1)));
        return ExitCode::SUCCESS;
    }
    // What is wrong with the other options is told as it is asked for, too.
    streams::speak_json(invocation::asks_for_json(&words));
    let invocation = match Invocation::parse(&words) {
        Ok(invocation) => invocation,
        Err(answer) => {
            let is_diff = words.iter().any(|word| word == "diff");
            return endings::answer(&answer, commands::failure(is_diff)).into();
        }
    };
    streams::speak_json(invocation.cli.progress == cli::ProgressKind::Json);
    fail_at_file_size_limits();
    clean_up_on_signals();
    let reporter = Reporter::new(&invocation);
    match commands::run(&invocation, &reporter) {
        Ok(status) => {
            reporter.finish(status, None);
            status.into()
        }
        Err(error) => {
            drop(reporter);
            let is_diff = matches!(invocation.cli.command, cli::Command::Diff(_));
            endings::failed(&error, commands::failure(is_diff)).into()
        }
    }
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
            endings::stopped(signal);
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
