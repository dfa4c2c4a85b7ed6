//! Options of `root-disk`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use imagegen::guid::Guid;
use imagegen::units::ByteCount;

use super::{ClosureArgs, ForceArg, FormatArg, SizeArg, StoreRootArg};

/// Arguments of `root-disk`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen root-disk --closure ./result --toplevel ./result -o root.qcow2
The same with the store in it:
  nix-imagegen root-disk --closure ./result --toplevel ./result --with-store -o nixos.qcow2")]
pub struct RootDiskArgs {
    /// Which closure the guest's Nix is to know
    #[command(flatten)]
    pub closure: ClosureArgs,
    /// The system of the profile /nix/var/nix/profiles/system: a store path, or a link to one
    #[arg(long, value_name = "STORE_PATH")]
    pub toplevel: Option<PathBuf>,
    /// Put the closure itself on the disk too, instead of directories to mount a store image on
    #[arg(long)]
    pub with_store: bool,
    /// The disk to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Whether it may be a device
    #[command(flatten)]
    pub force: ForceArg,
    /// Where the store is
    #[command(flatten)]
    pub store: StoreRootArg,
    /// The container of the disk
    #[arg(long, value_name = "FORMAT", default_value = "qcow2")]
    pub format: FormatArg,
    /// The file system's label
    #[arg(long, value_name = "TEXT", default_value = imagegen::fixed::ROOT_DISK_LABEL)]
    pub label: String,
    /// The file system's UUID
    #[arg(long, value_name = "UUID", default_value_t = imagegen::fixed::ROOT_DISK_UUID)]
    pub uuid: Guid,
    /// The file system's size, or `auto` for what the files need and the free space
    #[arg(long, value_name = "SIZE", default_value = "auto")]
    pub size: SizeArg,
    /// Free space to add when the size is computed
    #[arg(long, value_name = "SIZE", default_value = "512M")]
    pub additional_space: ByteCount,
    /// Do not compare the files with the hashes and sizes of the registration
    #[arg(long)]
    pub no_verify: bool,
    /// How many threads to use; one for each processor if not given
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
}
