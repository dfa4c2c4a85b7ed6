//! Options of `diff`.

use std::path::PathBuf;

use clap::Args;

use super::words::one_of;
use super::{BackingArg, IMAGE_FORMATS, ImageFormat};

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 if the images are the same, 1 if they differ, 2 on trouble.

Example:
  nix-imagegen diff monday.qcow2 tuesday.qcow2")]
pub struct DiffArgs {
    /// One image
    #[arg(value_name = "IMAGE")]
    pub left: PathBuf,
    /// The other
    #[arg(value_name = "IMAGE")]
    pub right: PathBuf,
    /// The container of both images
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = one_of(&IMAGE_FORMATS))]
    pub format: ImageFormat,
    /// Which backing files are opened
    #[command(flatten)]
    pub backing: BackingArg,
    /// Compare only what a guest sees: not the format, header and allocation of the files
    #[arg(long)]
    pub ignore_container: bool,
    /// Print the differences as JSON
    #[arg(long)]
    pub json: bool,
}
