//! Options of `run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, ValueEnum};

use super::{BackingArg, StoreRootArg};

/// Arguments of `run`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "one for each flag")]
#[command(group(ArgGroup::new("machine").args(["image", "config"]).required(true)))]
#[command(
    after_help = "A disk that boots by itself needs no config: what is on it decides the firmware and the processor, and its serial console is the
terminal, where Ctrl-A X ends the machine.

Examples:
  nix-imagegen run disk.qcow2
  nix-imagegen run disk.qcow2 --firmware bios --write -- -m 2G -smp 2
  nix-imagegen run --config vm.toml -- -serial file:console.log

The config has the option names of NixOS's virtualisation module, in TOML or, if its name ends in .json, JSON:
  toplevel = \"/nix/store/…-nixos-system\"
  registration = \"registration\"
  useNixStoreImage = true
  useBootLoader = true
  useEFIBoot = true
  graphics = false
docs/launcher.md has every option."
)]
pub struct RunArgs {
    /// A disk that boots by itself, raw or qcow2. What the machine writes goes to a layer that is gone when it ends
    #[arg(value_name = "IMAGE")]
    pub image: Option<PathBuf>,
    /// The virtual machine's options, in TOML or JSON
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What starts IMAGE; if not given, UEFI where the image has a loader for it, else a BIOS
    #[arg(long, value_name = "FIRMWARE", conflicts_with = "config")]
    pub firmware: Option<FirmwareArg>,
    /// Let the machine write to IMAGE itself
    #[arg(long, conflicts_with = "config")]
    pub write: bool,
    /// Show the screen of IMAGE's machine in a window, in place of its serial console on the terminal
    #[arg(long, conflicts_with = "config")]
    pub window: bool,
    /// Prepare all files, then print QEMU's command line instead of starting it
    #[arg(long, conflicts_with = "print_guest")]
    pub print: bool,
    /// Print what the guest has to have: mounts, initrd modules and kernel parameters
    #[arg(long, conflicts_with = "image")]
    pub print_guest: bool,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
    /// Compare all of the images in the cache with their digests; usually that is done once after this machine was started
    #[arg(long, conflicts_with = "image")]
    pub verify_cache: bool,
    /// What runs the guest's code
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub accel: AcceleratorArg,
    /// Which backing files QEMU may open
    #[command(flatten)]
    pub backing: BackingArg,
    /// Where the toplevel's store is
    #[command(flatten)]
    pub store: StoreRootArg,
    /// More arguments for QEMU, behind all others
    #[arg(last = true, value_name = "QEMU_ARGUMENTS")]
    pub qemu_arguments: Vec<OsString>,
}

/// What starts an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FirmwareArg {
    /// SeaBIOS, which comes with QEMU
    Bios,
    /// OVMF, or AAVMF for ARM
    Uefi,
}

/// What runs the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AcceleratorArg {
    /// KVM if a guest truly runs in it, TCG otherwise
    Auto,
    /// The processor, by the kernel's help
    Kvm,
    /// QEMU's translator, which works everywhere
    Tcg,
}

/// The command line of the process that cleans up behind QEMU; only `run` starts it.
#[derive(Debug, Parser)]
pub struct CleanupCli {
    /// A directory to remove
    #[arg(long)]
    pub remove: Option<PathBuf>,
    /// The socket of a TPM to end
    #[arg(long)]
    pub tpm_socket: Option<PathBuf>,
}

impl CleanupCli {
    /// The first word of such a command line. It is none of the commands, so that no help and no shell offers it.
    pub const COMMAND: &str = "cleanup";
}
