//! `completions`: what a shell needs to complete this program's options.

use std::io::Write;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};

/// Prints the shell's script.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nix-imagegen", &mut script);
    std::io::stdout().write_all(&script).context("cannot print the completions")
}
