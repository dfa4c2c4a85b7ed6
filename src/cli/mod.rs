//! Every option of the program, and nothing else: one file for each subcommand.

mod bench;
mod boot_disk;
mod diff;
mod disk;
mod efi_vars;
mod files;
mod help;
mod image;
mod image_name;
mod inspect;
mod loader;
mod registration;
mod root_disk;
mod run;
mod schema;
mod shell;
mod store_image;
mod verify;
mod words;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use bench::*;
pub use boot_disk::*;
pub use diff::*;
pub use disk::*;
pub use efi_vars::*;
pub use files::*;
pub use help::{Behind, GLOBAL_OPTIONS, command, usage_error};
pub use image::*;
pub use inspect::*;
pub use loader::*;
pub use registration::*;
pub use root_disk::*;
pub use run::*;
pub use schema::*;
pub use shell::*;
pub use store_image::*;
pub use verify::*;

/// Reproducible boot disks and Nix store images, without a helper VM.
#[derive(Debug, Parser)]
#[command(
    name = "nix-imagegen",
    version,
    propagate_version = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct Cli {
    /// What to tell about the work on stderr
    #[arg(long, global = true, value_name = "KIND", default_value = "auto", help_heading = GLOBAL_OPTIONS)]
    pub progress: ProgressKind,

    /// Print errors only
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = GLOBAL_OPTIONS)]
    pub quiet: bool,

    /// Tell what is decided: sizes, loaders, threads, what the cache has; twice: also how long each phase took
    #[arg(long, short, global = true, action = ArgAction::Count, help_heading = GLOBAL_OPTIONS)]
    pub verbose: u8,

    /// Print help: all of it with --help, a line for each option with -h
    #[arg(long, short, global = true, action = ArgAction::Help, help_heading = GLOBAL_OPTIONS)]
    help: Option<bool>,

    /// Print the version
    #[arg(long, short = 'V', global = true, action = ArgAction::Version, help_heading = GLOBAL_OPTIONS)]
    version: Option<bool>,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// A bar on a terminal, nothing elsewhere
    Auto,
    /// A bar, wherever stderr goes
    Bar,
    /// One JSON object a line
    Json,
    /// Nothing
    None,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the store image of a closure: an ext4 file system that holds its store paths
    StoreImage(StoreImageArgs),
    /// Write the boot disk of a NixOS system: partition table, EFI system partition and boot loader
    BootDisk(BootDiskArgs),
    /// Write a root disk whose Nix database knows a closure, with the closure itself if asked for
    RootDisk(RootDiskArgs),
    /// Print the registration of a closure, as `nix-store --load-db` reads it
    Registration(RegistrationArgs),
    /// Build a derivation of nix/default.nix: the builder that Nix starts, with the derivation's attributes
    Builder,
    /// Make empty disks and overlays
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Make, read and change the EFI variables in OVMF's and AAVMF's flash images
    #[command(subcommand)]
    EfiVars(EfiVarsCommand),
    /// Show what an image consists of, as tables, JSON or a picture
    Inspect(InspectArgs),
    /// List the files of a file system in an image
    Ls(LsArgs),
    /// Print a file of a file system in an image
    Cat(CatArgs),
    /// Copy files out of a file system in an image
    Extract(ExtractArgs),
    /// Say in words how two images differ
    Diff(DiffArgs),
    /// Read an image back and compare each store path in it with the registration
    Verify(VerifyArgs),
    /// Start a virtual machine in QEMU: an image that boots by itself, or what a config describes
    Run(RunArgs),
    /// Compare the speed of this program with that of other tools, on this machine
    Bench(BenchArgs),
    /// Print what a shell needs to complete the options
    Completions(CompletionsArgs),
    /// Print the JSON Schema of what a command writes as JSON
    Schema(SchemaArgs),
    /// Print the manual page, or write one for every subcommand
    Man(ManArgs),
}

/// Where the store is.
#[derive(Debug, Clone, Args)]
pub struct StoreRootArg {
    /// Read `/nix/store/…` from DIR/nix/store
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub store_root: PathBuf,
}
