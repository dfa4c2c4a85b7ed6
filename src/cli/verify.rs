//! Options of `verify`, and how images are opened for reading.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use imagegen::container::Format;
use imagegen::container::reader::Backing;
use imagegen::fixed::STORE_DIR;

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if every registered path is there and right and there is no other; 1 otherwise.

Example:
  nix-imagegen verify store.qcow2 --registration registration"
)]
pub struct VerifyArgs {
    /// The image: raw or qcow2, compressed or not, with or without a backing file
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// The closure's registration, as `nix-store --dump-db` prints it
    #[arg(long, value_name = "FILE")]
    pub registration: PathBuf,
    /// The container of the image
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub format: ImageFormatArg,
    /// Which backing files are opened
    #[command(flatten)]
    pub backing: BackingArg,
    /// The partition that holds the store; needed only where several are ext4
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// Take other owners, permissions and times than a store's for errors too
    #[arg(long)]
    pub strict: bool,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
    /// How many threads to use; one for each processor if not given, and no more than can have something to do
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
}

/// Which backing files of an image are opened.
#[derive(Debug, Clone, Copy, Args)]
pub struct BackingArg {
    /// Open the backing files that an image names wherever they lie. Without this, only those in the image's own directory,
    /// below it and in /nix/store: an image that somebody else made could name any file
    #[arg(long)]
    pub follow_backing: bool,
}

impl From<BackingArg> for Backing {
    fn from(arg: BackingArg) -> Self {
        if arg.follow_backing { Self::Anywhere } else { Self::Near(vec![STORE_DIR.into()]) }
    }
}

/// The container of an image that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImageFormatArg {
    /// What the first bytes say
    Auto,
    /// QEMU's copy-on-write format
    Qcow2,
    /// The bytes as the guest sees them, even if they look like qcow2
    Raw,
}

impl From<ImageFormatArg> for Option<Format> {
    fn from(arg: ImageFormatArg) -> Self {
        match arg {
            ImageFormatArg::Auto => None,
            ImageFormatArg::Qcow2 => Some(Format::Qcow2),
            ImageFormatArg::Raw => Some(Format::Raw),
        }
    }
}
