//! Options of `store-image`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use imagegen::container::Compression;
use imagegen::guid::Guid;
use imagegen::units::ByteCount;

use super::{ClosureArgs, ForceArg, FormatArg, StoreRootArg, SyncArg};

/// Arguments of `store-image`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-store --dump-db $(nix-store -qR ./result) > registration
  nix-imagegen store-image --registration registration -o store.qcow2
The same without a file, from the store's database:
  nix-imagegen store-image --closure ./result -o store.qcow2")]
pub struct StoreImageArgs {
    /// Which closure
    #[command(flatten)]
    pub closure: ClosureArgs,
    /// The image to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Whether it may be a device
    #[command(flatten)]
    pub force: ForceArg,
    /// Whether a crash leaves it
    #[command(flatten)]
    pub sync: SyncArg,
    /// Where the store is
    #[command(flatten)]
    pub store: StoreRootArg,
    /// The container of the image
    #[arg(long, value_name = "FORMAT", default_value = "qcow2")]
    pub format: FormatArg,
    /// Compress the clusters of a qcow2 image
    #[arg(long, value_name = "METHOD", default_value = "none")]
    pub compress: CompressArg,
    /// The file system's label
    #[arg(long, value_name = "TEXT", default_value = imagegen::fixed::STORE_IMAGE_LABEL)]
    pub label: String,
    /// The file system's UUID
    #[arg(long, value_name = "UUID", default_value_t = imagegen::fixed::STORE_IMAGE_UUID)]
    pub uuid: Guid,
    /// The file system's size, or `auto` for just enough
    #[arg(long, value_name = "SIZE", default_value = "auto")]
    pub size: SizeArg,
    /// Free space to add when the size is computed
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub additional_space: ByteCount,
    /// Give the file system a journal, for a store that the guest writes to
    #[arg(long)]
    pub journal: bool,
    /// Store files of equal contents and permissions once, as hard links; the source need not be optimised
    #[arg(long)]
    pub optimise: bool,
    /// Do not compare the files with the hashes and sizes of the registration; on Btrfs and XFS the image then shares the
    /// blocks of large files
    #[arg(long)]
    pub no_verify: bool,
    /// How many threads read files, hash and write them; one for each processor if not given. Where the image is
    /// compressed, so many compress, and one more reads and hashes. The bytes are the same with any number, and no more
    /// are started than can have something to do
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Write a report as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// How clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompressArg {
    /// Not at all
    None,
    /// Deflate, which every QEMU reads
    Zlib,
    /// Zstandard, for QEMU 5.1 and later: faster and smaller than zlib
    Zstd,
}

impl From<CompressArg> for Option<Compression> {
    fn from(arg: CompressArg) -> Self {
        match arg {
            CompressArg::None => None,
            CompressArg::Zlib => Some(Compression::Zlib),
            CompressArg::Zstd => Some(Compression::Zstd),
        }
    }
}

/// A size, or the wish to have it computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeArg {
    /// Just enough.
    Auto,
    /// This many bytes.
    Fixed(ByteCount),
}

impl SizeArg {
    /// The size of a file system, with so much free space if it is to be computed.
    pub const fn of_file_system(self, additional: ByteCount) -> imagegen::fs::ext4::Size {
        match self {
            Self::Auto => imagegen::fs::ext4::Size::Auto { additional },
            Self::Fixed(size) => imagegen::fs::ext4::Size::Fixed(size),
        }
    }
}

impl std::str::FromStr for SizeArg {
    type Err = imagegen::units::SizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Fixed) }
    }
}
