//! Options of `completions` and `man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nix-imagegen completions bash > ~/.local/share/bash-completion/completions/nix-imagegen
  nix-imagegen completions zsh > ~/.zfunc/_nix-imagegen
  nix-imagegen completions fish > ~/.config/fish/completions/nix-imagegen.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nix-imagegen man | man -l -
  nix-imagegen man -o ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Write a page for every subcommand too, into this directory
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
}
