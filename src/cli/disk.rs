//! Options of `disk`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use imagegen::units::ByteCount;

use super::{ForceArg, FormatArg, SyncArg};

/// The subcommands of `disk`.
#[derive(Debug, Subcommand)]
pub enum DiskCommand {
    /// Make an empty disk, or an overlay on another image
    Create(DiskCreateArgs),
}

/// Arguments of `disk create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nix-imagegen disk create -o root.qcow2 --size 1G
  nix-imagegen disk create -o overlay.qcow2 --backing store.qcow2 --backing-format qcow2")]
pub struct DiskCreateArgs {
    /// The disk to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Whether it may be a device
    #[command(flatten)]
    pub force: ForceArg,
    /// Whether a crash leaves it
    #[command(flatten)]
    pub sync: SyncArg,
    /// The size of the disk; that of the backing file if not given
    #[arg(long, value_name = "SIZE", required_unless_present = "backing")]
    pub size: Option<ByteCount>,
    /// The container of the disk
    #[arg(long, value_name = "FORMAT", default_value = "qcow2")]
    pub format: FormatArg,
    /// Show the contents of this image until the guest writes; a relative path is taken from the disk's directory
    #[arg(long, value_name = "FILE", requires = "backing_format")]
    pub backing: Option<PathBuf>,
    /// The container of the backing file
    #[arg(long, value_name = "FORMAT", requires = "backing")]
    pub backing_format: Option<FormatArg>,
}
