//! Options of `registration`.

use std::path::PathBuf;

use clap::Args;

use super::{ClosureArgs, StoreRootArg};

/// Arguments of `registration`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen registration ./result | nix-store --store /mnt --load-db
Hashes that a references graph does not tell are computed from the files.")]
pub struct RegistrationArgs {
    /// Which closure
    #[command(flatten)]
    pub closure: ClosureArgs,
    /// Where the store is
    #[command(flatten)]
    pub store: StoreRootArg,
    /// The file to write; printed if not given, or `-`
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
