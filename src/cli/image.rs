//! The options that commands share which write images.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use imagegen::container::Format;
use imagegen::fs::ext4;
use imagegen::units::{ByteCount, SizeError};

use super::StoreRootArg;
use super::words::one_of;

/// Arguments of every command that writes an image: where it goes, and in which container.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// The image to write; `-` for standard output, raw unless --format says otherwise
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Let the output be a block device, whose contents are lost: with `--format raw` it is overwritten where it is, so
    /// that a failure or a signal leaves a part of the image on it. One that is mounted or in other use is refused
    #[arg(long)]
    pub force: bool,
    /// Whether a crash leaves it
    #[command(flatten)]
    pub sync: SyncArg,
    /// The container of the image; if not given, what the name ends in (.qcow2, .img or .raw), else qcow2
    #[arg(long, value_name = "FORMAT", default_value = "qcow2", hide_default_value = true)]
    #[arg(value_parser = one_of(&FORMATS))]
    pub format: Format,
    /// Print the SHA-256 of the image as a line for `sha256sum --check`; on stderr if the image goes to standard output
    #[arg(long)]
    pub digest: bool,
}

/// The argument of every command that reports what is in its image.
#[derive(Debug, Args)]
pub struct ReportArg {
    /// Write a report as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Where a closure and what the store says of it are told; exactly one of these.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct ClosureArgs {
    /// The closure's registration, as `nix-store --dump-db` prints it and `nix-store --load-db` reads it
    #[arg(long, value_name = "FILE")]
    pub registration: Option<PathBuf>,
    /// Files that Nix writes for `exportReferencesGraph`, `.attrs.json` included, or the output of `nix path-info --json
    /// --recursive` in any of its formats
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub references_graph: Vec<PathBuf>,
    /// Store paths, or links to such as ./result, whose closure the store's own database tells
    #[arg(long, value_name = "STORE_PATH", num_args = 1..)]
    pub closure: Vec<PathBuf>,
    /// The same as `--closure STORE_PATH…`
    #[arg(value_name = "STORE_PATH")]
    pub paths: Vec<PathBuf>,
}

impl ClosureArgs {
    /// The store paths whose closure the store's own database is to tell.
    pub fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        self.closure.iter().chain(&self.paths)
    }
}

/// Arguments of every command that puts files of a store into an ext4 file system.
#[derive(Debug, Args)]
pub struct FromStoreArgs {
    /// Which closure
    #[command(flatten)]
    pub closure: ClosureArgs,
    /// Where the store is
    #[command(flatten)]
    pub store: StoreRootArg,
    /// The size of the image, or `auto` for what the files need and the free space
    #[arg(long, value_name = "SIZE", default_value = "auto", value_parser = auto_size)]
    pub size: AutoSize,
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
    pub jobs: Option<NonZeroUsize>,
}

/// A size in bytes; none if it is to be computed.
pub type AutoSize = Option<ByteCount>;

/// Reads a size in bytes, or `auto` for none.
pub fn auto_size(text: &str) -> Result<AutoSize, SizeError> {
    if text == "auto" { Ok(None) } else { text.parse().map(Some) }
}

impl FromStoreArgs {
    /// The size of the file system, with so much free space if it is to be computed.
    pub fn file_system_size(&self, additional: ByteCount) -> ext4::Size {
        self.size.map_or(ext4::Size::Auto { additional }, ext4::Size::Fixed)
    }
}

/// Whether a crash of the machine leaves the outputs.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct SyncArg {
    /// Flush every output and its directory to the disk before the work counts as done, so that a crash of this machine
    /// leaves it whole
    #[arg(long)]
    pub sync: bool,
}

/// The containers of images.
pub const FORMATS: [(&str, Format, &str); 2] = [
    ("qcow2", Format::Qcow2, "QEMU's copy-on-write format, version 3"),
    ("raw", Format::Raw, "The bytes as the guest sees them; zeros are holes in the file"),
];
