//! Options of `verify`, and how images are opened for reading.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use imagegen::container::Format;
use imagegen::container::reader::Backing;
use imagegen::fixed::STORE_DIR;

use super::words::one_of;
use super::{ClosureArgs, StoreRootArg};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(
    override_usage = "nix-imagegen verify [OPTIONS] <IMAGE> <STORE_PATH…|--closure <STORE_PATH>…|--registration <FILE>|\
                      --references-graph <FILE>…>",
    after_help = "Exit status: 0 if every registered path is there and right and there is no other; 1 otherwise.

Example:
  nix-imagegen verify store.qcow2 ./result
The same from a registration, where the store is not:
  nix-imagegen verify store.qcow2 --registration registration"
)]
pub struct VerifyArgs {
    /// The image: raw or qcow2, compressed or not, with or without a backing file
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// What is to be in it
    #[command(flatten)]
    pub closure: ClosureArgs,
    /// Where the store is whose database tells the closure
    #[command(flatten)]
    pub store: StoreRootArg,
    /// The container of the image
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = one_of(&IMAGE_FORMATS))]
    pub format: ImageFormat,
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

/// The container of an image that is read; none if its first bytes decide.
pub type ImageFormat = Option<Format>;

/// What can be said of it.
pub const IMAGE_FORMATS: [(&str, ImageFormat, &str); 3] = [
    ("auto", None, "What the first bytes say"),
    ("qcow2", Some(Format::Qcow2), "QEMU's copy-on-write format"),
    ("raw", Some(Format::Raw), "The bytes as the guest sees them, even if they look like qcow2"),
];
