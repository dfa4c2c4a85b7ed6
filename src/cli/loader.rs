//! The options of boot loaders, common to every subcommand that installs one.

use std::path::PathBuf;

use clap::Args;
use imagegen::boot::{ConsoleMode, Loader, MachineId, Resolution, Serial, Timeout};
use imagegen::fs::fat::Fat;

use super::words::one_of;

/// What is installed, and what its menu shows.
#[derive(Debug, Args)]
pub struct MenuArgs {
    /// The systemd whose systemd-boot to install; the one that the toplevel links to if not given
    #[arg(long, value_name = "STORE_PATH")]
    pub systemd: Option<PathBuf>,
    /// The GRUB to install; the one that the toplevel refers to, itself or through its installer, if not given
    #[arg(long, value_name = "STORE_PATH")]
    pub grub: Option<PathBuf>,
    /// The EFI system partition's file system: FAT16, or FAT32, which needs 33 MiB; if not given, what mkfs.fat would make:
    /// FAT32 from 512 MiB on
    #[arg(long, value_name = "BITS", value_parser = one_of(&FATS))]
    pub fat: Option<Fat>,
    /// How long the menu waits: seconds, menu-force, menu-hidden or menu-disabled
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    pub timeout: Timeout,
    /// Add a parameter to the kernel's command line in every entry
    #[arg(long, value_name = "PARAM", allow_hyphen_values = true)]
    pub kernel_param: Vec<String>,
    /// Offer this system too, as generation N; the toplevel gets the next number if it is not among them
    #[arg(long, value_name = "N=STORE_PATH", value_parser = generation)]
    pub generation: Vec<(u32, PathBuf)>,
    /// Boot this specialisation of the toplevel by default
    #[arg(long, value_name = "NAME")]
    pub default_specialisation: Option<String>,
    /// systemd-boot: do not let the kernel's command line be edited in the menu
    #[arg(long)]
    pub no_editor: bool,
    /// systemd-boot: the resolution of the menu: keep, auto, max or a mode's number
    #[arg(long, value_name = "MODE", default_value = "keep")]
    pub console_mode: ConsoleMode,
    /// systemd-boot: the machine's ID, to be named in every entry
    #[arg(long, value_name = "ID")]
    pub machine_id: Option<MachineId>,
    /// GRUB: show the menu in graphics of this size, with the package's font; in text if not given
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub resolution: Option<Resolution>,
    /// GRUB: show the menu on a serial port too, named as Linux does, as in ttyS0,115200
    #[arg(long, value_name = "PORT")]
    pub serial_console: Option<Serial>,
    /// Install initrds without the secrets that a script of the system would add to them: that of generation N, several
    /// if repeated, or all if no N is given
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = ALL)]
    #[arg(value_parser = ignored)]
    pub ignore_initrd_secrets: Vec<Option<u32>>,
}

impl MenuArgs {
    /// An option of a boot loader that is not among those to be installed, with that loader.
    pub fn option_without_loader(&self, loaders: &[Loader]) -> Option<(&'static str, Loader)> {
        use Loader::{Grub, SystemdBoot};
        let options = [
            (self.systemd.is_some(), "--systemd", SystemdBoot),
            (self.no_editor, "--no-editor", SystemdBoot),
            (self.console_mode != ConsoleMode::Keep, "--console-mode", SystemdBoot),
            (self.machine_id.is_some(), "--machine-id", SystemdBoot),
            (self.grub.is_some(), "--grub", Grub),
            (self.resolution.is_some(), "--resolution", Grub),
            (self.serial_console.is_some(), "--serial-console", Grub),
        ];
        let unused = options.into_iter().find(|(given, _, loader)| *given && !loaders.contains(loader));
        unused.map(|(_, option, loader)| (option, loader))
    }

    /// An option that was given and needs a boot loader, whichever it is.
    pub fn option_of_any_loader(&self) -> Option<&'static str> {
        let options = [
            (!self.kernel_param.is_empty(), "--kernel-param"),
            (!self.generation.is_empty(), "--generation"),
            (self.default_specialisation.is_some(), "--default-specialisation"),
            (!self.ignore_initrd_secrets.is_empty(), "--ignore-initrd-secrets"),
        ];
        options.into_iter().find(|(given, _)| *given).map(|(_, option)| option)
    }
}

/// Boot loaders.
pub const LOADERS: [(&str, Loader, &str); 2] =
    [("systemd-boot", Loader::SystemdBoot, "For UEFI"), ("grub", Loader::Grub, "For BIOSes")];

/// How wide the entries of an EFI system partition's allocation table are.
const FATS: [(&str, Fat, &str); 2] =
    [("16", Fat::Fat16, "FAT16: up to 4 GiB"), ("32", Fat::Fat32, "FAT32: from 33 MiB on")];

/// Reads a generation's number and its toplevel, as `--toplevel` takes it.
fn generation(text: &str) -> Result<(u32, PathBuf), String> {
    let (number, toplevel) =
        text.split_once('=').ok_or("write N=STORE_PATH, as in `3=/nix/store/…-nixos-system`")?;
    let number = positive(number).ok_or("the number must be one from 1 to 4294967295")?;
    if toplevel.is_empty() {
        return Err(format!("generation {number} has no store path behind the `=`"));
    }
    Ok((number, toplevel.into()))
}

/// The generations meant by `--ignore-initrd-secrets` without a number.
const ALL: &str = "all";

/// Reads the number of a generation; none stands for all of them.
fn ignored(text: &str) -> Result<Option<u32>, &'static str> {
    if text == ALL {
        return Ok(None);
    }
    positive(text).map(Some).ok_or("write the number of a generation, from 1 on, or no value for all")
}

fn positive(number: &str) -> Option<u32> {
    number.parse().ok().filter(|number| *number > 0)
}
