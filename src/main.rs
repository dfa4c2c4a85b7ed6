//! The program: parse, dispatch, exit status.

mod cli;
mod commands;
mod launcher;
mod progress;
mod report;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    clean_up_on_signals();
    match commands::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: the whole chain of causes, outermost first.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// On SIGINT, SIGTERM and SIGHUP: removes what is half written, then ends as the signal would have.
fn clean_up_on_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    // Without a handler the program works as well; only a file system without O_TMPFILE would keep a hidden file.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            imagegen::output::remove_unfinished();
            // Fails only for signals that do not exist.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
}
