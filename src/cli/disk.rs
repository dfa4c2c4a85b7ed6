//! Options of `disk`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use imagegen::container::Format;
use imagegen::units::ByteCount;

use super::words::one_of;
use super::{FORMATS, ImageArgs};

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
    /// The image itself
    #[command(flatten)]
    pub image: ImageArgs,
    /// The size of the disk; that of the backing file if not given
    #[arg(long, value_name = "SIZE", required_unless_present = "backing")]
    pub size: Option<ByteCount>,
    /// Show the contents of this image until the guest writes; a relative path is taken from the disk's directory
    #[arg(long, value_name = "FILE", requires = "backing_format")]
    pub backing: Option<PathBuf>,
    /// The container of the backing file
    #[arg(long, value_name = "FORMAT", requires = "backing", value_parser = one_of(&FORMATS))]
    pub backing_format: Option<Format>,
}
