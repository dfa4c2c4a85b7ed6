//! Options of `inspect`.

use std::path::PathBuf;

use clap::Args;

use super::words::one_of;
use super::{BackingArg, IMAGE_FORMATS, ImageFormat};

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen inspect disk.qcow2
  nix-imagegen inspect store.qcow2 --json | jq .contents.usage
  nix-imagegen inspect disk.qcow2 --svg disk.svg")]
pub struct InspectArgs {
    /// The image: raw or qcow2, a disk, a file system or a firmware's variables
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// The container of the image
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = one_of(&IMAGE_FORMATS))]
    pub format: ImageFormat,
    /// Which backing files are opened
    #[command(flatten)]
    pub backing: BackingArg,
    /// Leave nothing out: all store paths, and each of many files of one kind
    #[arg(long)]
    pub all: bool,
    /// Print everything as JSON (docs/reading-images.md)
    #[arg(long)]
    pub json: bool,
    /// Draw the disk to scale
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}
