//! `completions`: what a shell needs to complete this program's options.

use crate::cli::{CompletionsArgs, command};
use crate::streams;

/// Prints the shell's script.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "nix-imagegen", &mut script);
    streams::print(&script)
}
