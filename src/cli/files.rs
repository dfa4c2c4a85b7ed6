//! Options of `ls`, `cat` and `extract`, which read files out of images.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::words::one_of;
use super::{BackingArg, IMAGE_FORMATS, ImageFormat};

/// Which file system of which image.
#[derive(Debug, Args)]
pub struct VolumeArgs {
    /// The image, raw or qcow2; where several of its partitions have files, with the number or name of one
    #[arg(value_name = "IMAGE[:PARTITION]", value_hint = ValueHint::FilePath)]
    pub image: OsString,
    /// The container of the image
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = one_of(&IMAGE_FORMATS))]
    pub format: ImageFormat,
    /// Which backing files are opened
    #[command(flatten)]
    pub backing: BackingArg,
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
#[command(
    after_help = "Permissions, owner and group, size, time in UTC, and name. A disk with several file systems shows its partitions.

Example:
  nix-imagegen ls disk.qcow2
  nix-imagegen ls disk.qcow2:1 /loader/entries
  nix-imagegen ls store.qcow2 --recursive --json"
)]
pub struct LsArgs {
    /// Which file system
    #[command(flatten)]
    pub volume: VolumeArgs,
    /// What to list: what is in a directory, or one file
    #[arg(value_name = "PATH", default_value = "/")]
    pub path: OsString,
    /// List what is in all directories below it, too
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Print a JSON array (docs/reading-images.md)
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `cat`.
#[derive(Debug, Args)]
#[command(after_help = "Symbolic links are followed within the image.

Example:
  nix-imagegen cat disk.qcow2:1 /loader/loader.conf
  nix-imagegen cat store.qcow2 /nix/store/…-nixos-system/nixos-version")]
pub struct CatArgs {
    /// Which file system
    #[command(flatten)]
    pub volume: VolumeArgs,
    /// The file to print
    #[arg(value_name = "PATH")]
    pub path: OsString,
}

/// Arguments of `extract`.
#[derive(Debug, Args)]
#[command(
    after_help = "What PATH names gets its own name in DIR; `/` becomes DIR itself. It appears whole or not at all, and nothing outside of DIR
is written, whatever the image holds. Kept are contents, holes, names, symbolic links, hard links, times and permissions;
the owner is who calls. Devices, pipes and sockets are left out, with a warning.

Example:
  nix-imagegen extract store.qcow2 / -o store
  nix-imagegen extract disk.qcow2:1 /EFI -o ."
)]
pub struct ExtractArgs {
    /// Which file system
    #[command(flatten)]
    pub volume: VolumeArgs,
    /// A file, directory or link; links on the way to it are followed within the image
    #[arg(value_name = "PATH", default_value = "/")]
    pub path: OsString,
    /// The directory to put it in; it is created if it is missing
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// How many threads read and write; one for each processor if not given
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
}
