//! Options of `store-image`.

use clap::Args;
use imagegen::container::Compression;
use imagegen::guid::Guid;
use imagegen::units::ByteCount;

use super::words::one_of;
use super::{FromStoreArgs, ImageArgs, ReportArg};

/// Arguments of `store-image`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen store-image ./result -o store.qcow2
The same from a registration, without the store's database:
  nix-store --dump-db $(nix-store -qR ./result) > registration
  nix-imagegen store-image --registration registration -o store.qcow2")]
pub struct StoreImageArgs {
    /// Which files
    #[command(flatten)]
    pub from: FromStoreArgs,
    /// The image itself
    #[command(flatten)]
    pub image: ImageArgs,
    /// Compress the clusters of a qcow2 image
    #[arg(long, value_name = "METHOD", default_value = "none", value_parser = one_of(&METHODS))]
    pub compress: Compress,
    /// The file system's label
    #[arg(long, value_name = "TEXT", default_value = imagegen::fixed::STORE_IMAGE_LABEL)]
    pub label: String,
    /// The file system's UUID
    #[arg(long, value_name = "UUID", default_value_t = imagegen::fixed::STORE_IMAGE_UUID)]
    pub uuid: Guid,
    /// Free space to add when the size is computed
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub additional_space: ByteCount,
    /// Give the file system a journal, for a store that the guest writes to
    #[arg(long)]
    pub journal: bool,
    /// Its report
    #[command(flatten)]
    pub report: ReportArg,
}

/// How clusters are compressed, if they are.
pub type Compress = Option<Compression>;

const METHODS: [(&str, Compress, &str); 3] = [
    ("none", None, "Not at all"),
    ("zlib", Some(Compression::Zlib), "Deflate, which every QEMU reads"),
    ("zstd", Some(Compression::Zstd), "Zstandard, for QEMU 5.1 and later: faster and smaller than zlib"),
];
