//! Options of `boot-disk`.

use std::path::{Path, PathBuf};

use clap::builder::ArgPredicate;
use clap::{ArgGroup, Args};
use imagegen::boot::Loader;

use super::words::one_of;
use super::{AutoSize, ImageArgs, LOADERS, MenuArgs, ReportArg, StoreRootArg, auto_size};

/// Arguments of `boot-disk`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").args(["toplevel", "system"]).required(true)))]
#[command(after_help = "Examples:
  nix-imagegen boot-disk ./result -o boot.qcow2
  nix-imagegen boot-disk --toplevel ./result --loader systemd-boot -o boot.qcow2 \\
    --efi-vars-template OVMF_VARS_4M.fd --efi-vars efi-vars.fd
  nix-imagegen boot-disk --toplevel ./result --loader systemd-boot,grub --size 120M -o boot.qcow2")]
pub struct BootDiskArgs {
    /// The same as --toplevel SYSTEM --size auto
    #[arg(value_name = "SYSTEM")]
    pub system: Option<PathBuf>,
    /// The system's toplevel: a store path, or a link to one; it boots by default
    #[arg(long, value_name = "STORE_PATH")]
    pub toplevel: Option<PathBuf>,
    /// The image itself
    #[command(flatten)]
    pub image: ImageArgs,
    /// What the disk boots by; several with commas between them; if not given, those that the toplevel leads to
    #[arg(long, value_name = "LOADER", value_delimiter = ',', value_parser = one_of(&LOADERS))]
    pub loader: Vec<Loader>,
    /// What the loaders show and start
    #[command(flatten)]
    pub menu: MenuArgs,
    /// Where the store is
    #[command(flatten)]
    pub store: StoreRootArg,
    /// The size of the disk, or `auto` for 60M, or more if the files need it
    #[arg(long, value_name = "SIZE", default_value = "60M", value_parser = auto_size)]
    #[arg(default_value_if("system", ArgPredicate::IsPresent, "auto"))]
    pub size: AutoSize,
    /// The firmware's empty store of EFI variables, such as `OVMF_VARS_4M.fd`
    #[arg(long, value_name = "FILE", requires = "efi_vars")]
    pub efi_vars_template: Option<PathBuf>,
    /// The copy of it for the machine to write to
    #[arg(long, value_name = "FILE", requires = "efi_vars_template")]
    pub efi_vars: Option<PathBuf>,
    /// Add the entry `Linux Boot Manager` for systemd-boot to the EFI variables, first in the boot order, as an
    /// installer does that can touch them
    #[arg(long, requires = "efi_vars")]
    pub boot_disk_entry: bool,
    /// Its report
    #[command(flatten)]
    pub report: ReportArg,
}

impl BootDiskArgs {
    /// The system that boots by default; one is always given.
    pub fn toplevel(&self) -> &Path {
        self.system.as_deref().or(self.toplevel.as_deref()).unwrap_or(Path::new(""))
    }

    /// An option of a boot loader that is not among those to be installed, with that loader.
    pub fn option_without_loader(&self, loaders: &[Loader]) -> Option<(&'static str, Loader)> {
        let needs_systemd_boot = self.boot_disk_entry && !loaders.contains(&Loader::SystemdBoot);
        self.menu
            .option_without_loader(loaders)
            .or(needs_systemd_boot.then_some(("--boot-disk-entry", Loader::SystemdBoot)))
    }
}
