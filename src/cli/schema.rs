//! Options of `schema`.

use clap::{Args, ValueEnum};

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(after_help = "The documents are in docs/schemas too.

Example:
  nix-imagegen schema inspect > inspect.schema.json")]
pub struct SchemaArgs {
    /// Which document
    #[arg(value_name = "NAME")]
    pub name: SchemaName,
}

/// A document in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaName {
    /// `bench --json`
    Bench,
    /// `boot-disk --report`
    BootDiskReport,
    /// `diff --json`
    Diff,
    /// `efi-vars list --json`
    EfiVarsList,
    /// `inspect --json`
    Inspect,
    /// `ls --json`
    Ls,
    /// A line of `--progress json`
    Progress,
    /// `root-disk --report`
    RootDiskReport,
    /// `run --print --json`
    RunCommand,
    /// `run --print-guest --json`
    RunGuest,
    /// `store-image --report`
    StoreImageReport,
    /// `verify --json`
    Verify,
}
