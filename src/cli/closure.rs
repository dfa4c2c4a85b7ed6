//! The options that name a closure, common to every subcommand that takes one.

use std::path::PathBuf;

use clap::Args;

/// Where a closure and what the store says of it are told; exactly one of these.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct ClosureArgs {
    /// The closure's registration, as `nix-store --dump-db` prints it and `nix-store --load-db` reads it
    #[arg(long, value_name = "FILE")]
    pub registration: Option<PathBuf>,
    /// Files that Nix writes for `exportReferencesGraph`, `.attrs.json` included, or the output of `nix path-info --json
    /// --recursive` in any of its formats
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub references_graph: Vec<PathBuf>,
    /// Store paths, or links to such as ./result, whose closure the store's own database tells
    #[arg(long, value_name = "STORE_PATH", num_args = 1..)]
    pub closure: Vec<PathBuf>,
}
