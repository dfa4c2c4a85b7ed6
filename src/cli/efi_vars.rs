//! Options of `efi-vars`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use imagegen::boot::Architecture;
use imagegen::firmware::efi_vars::{Attributes, EfiText};
use imagegen::guid::Guid;
use imagegen::text::TextError;
use imagegen::units::ByteCount;

use super::SyncArg;
use super::words::one_of;

/// The subcommands of `efi-vars`.
#[derive(Debug, Subcommand)]
pub enum EfiVarsCommand {
    /// Make a flash image from the template that comes with the firmware
    Create(EfiVarsCreateArgs),
    /// Put a machine's variables into the layout of another build of its firmware
    Convert(EfiVarsConvertArgs),
    /// Show the variables
    List(EfiVarsListArgs),
    /// Set a variable
    Set(EfiVarsSetArgs),
    /// Remove a variable
    Delete(EfiVarsDeleteArgs),
    /// Set the variables of a JSON document, as virt-fw-vars --output-json writes it
    Import(EfiVarsImportArgs),
    /// Write the variables as a JSON document, which virt-fw-vars --set-json reads
    Export(EfiVarsExportArgs),
}

/// Arguments of `efi-vars create`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen efi-vars create --template OVMF_VARS_4M.fd -o vars.fd --boot-disk-entry")]
pub struct EfiVarsCreateArgs {
    /// The firmware's own flash image of variables, such as `OVMF_VARS_4M.fd` or `AAVMF_VARS.fd`
    #[arg(long, value_name = "FILE")]
    pub template: PathBuf,
    /// The flash image to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Whether a crash leaves it
    #[command(flatten)]
    pub sync: SyncArg,
    /// Add the entry `Linux Boot Manager` for systemd-boot on the boot disk, first in the boot order
    #[arg(long)]
    pub boot_disk_entry: bool,
    /// The machine that is to boot
    #[arg(long, value_name = "NAME", default_value = "x86-64", requires = "boot_disk_entry")]
    #[arg(value_parser = one_of(&ARCHITECTURES))]
    pub architecture: Architecture,
    /// The size of the boot disk, which the entry's partition follows from
    #[arg(long, value_name = "SIZE", default_value = "60M", requires = "boot_disk_entry")]
    pub boot_disk_size: ByteCount,
}

/// Arguments of `efi-vars convert`.
#[derive(Debug, Args)]
#[command(after_help = "Example, for a machine that was made with OVMF's 2 MiB build:
  nix-imagegen efi-vars convert nixos-efi-vars.fd --template OVMF_VARS_4M.fd -o nixos-efi-vars-4M.fd")]
pub struct EfiVarsConvertArgs {
    /// The machine's flash image
    #[arg(value_name = "OLD")]
    pub image: PathBuf,
    /// The flash image of variables that comes with the firmware that is to use them; what it has besides stays
    #[arg(long, value_name = "FILE")]
    pub template: PathBuf,
    /// The flash image to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Whether a crash leaves it
    #[command(flatten)]
    pub sync: SyncArg,
}

/// Machines that UEFI runs on.
const ARCHITECTURES: [(&str, Architecture, &str); 3] = [
    ("x86-64", Architecture::X64, "PCs of 64 bits; boot loaders are called *x64.efi"),
    ("x86_64", Architecture::X64, ""),
    ("aarch64", Architecture::Aa64, "ARM machines of 64 bits; boot loaders are called *aa64.efi"),
];

/// Arguments of `efi-vars list`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen efi-vars list vars.fd")]
pub struct EfiVarsListArgs {
    /// The flash image
    #[arg(value_name = "FILE")]
    pub image: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Which variable.
#[derive(Debug, Args)]
pub struct VariableArg {
    /// The variable's name
    #[arg(long, value_name = "NAME")]
    pub name: EfiText,
    /// The variable's vendor: a GUID, or a name as `list` shows it
    #[arg(long, value_name = "GUID", default_value = "EfiGlobalVariable", value_parser = vendor)]
    pub guid: Guid,
}

/// Where a changed flash image goes.
#[derive(Debug, Args)]
pub struct ChangedImageArg {
    /// The flash image to write; the one that is read if not given
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Whether a crash leaves it
    #[command(flatten)]
    pub sync: SyncArg,
}

/// Arguments of `efi-vars set`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen efi-vars set vars.fd --name Timeout --data-hex 0500")]
pub struct EfiVarsSetArgs {
    /// The flash image
    #[arg(value_name = "FILE")]
    pub image: PathBuf,
    /// Which variable
    #[command(flatten)]
    pub variable: VariableArg,
    /// Who may see and change the variable; as it was, or NV,BS,RT for a new one, if not given
    #[arg(long, value_name = "LIST", value_parser = stored_attributes)]
    pub attributes: Option<Attributes>,
    /// What to set it to
    #[command(flatten)]
    pub data: VariableDataArg,
    /// Where to
    #[command(flatten)]
    pub changed: ChangedImageArg,
}

/// A variable's value.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct VariableDataArg {
    /// The value in hexadecimal digits
    #[arg(long, value_name = "DIGITS", value_parser = hexadecimal)]
    pub data_hex: Option<Box<[u8]>>,
    /// A file that holds the value
    #[arg(long, value_name = "FILE")]
    pub data_file: Option<PathBuf>,
}

/// Arguments of `efi-vars delete`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen efi-vars delete vars.fd --name BootNext")]
pub struct EfiVarsDeleteArgs {
    /// The flash image
    #[arg(value_name = "FILE")]
    pub image: PathBuf,
    /// Which variable
    #[command(flatten)]
    pub variable: VariableArg,
    /// Where to
    #[command(flatten)]
    pub changed: ChangedImageArg,
}

/// Arguments of `efi-vars import`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen efi-vars import OVMF_VARS_4M.fd variables.json -o vars.fd")]
pub struct EfiVarsImportArgs {
    /// The flash image
    #[arg(value_name = "FILE")]
    pub image: PathBuf,
    /// The JSON document; variables that it does not name stay as they are
    #[arg(value_name = "JSON")]
    pub document: PathBuf,
    /// Where to
    #[command(flatten)]
    pub changed: ChangedImageArg,
}

/// Arguments of `efi-vars export`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen efi-vars export vars.fd -o variables.json")]
pub struct EfiVarsExportArgs {
    /// The flash image
    #[arg(value_name = "FILE")]
    pub image: PathBuf,
    /// The JSON document to write; stdout if not given, or `-`
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Whether a crash leaves it
    #[command(flatten)]
    pub sync: SyncArg,
}

/// Reads a vendor, by GUID or by name.
fn vendor(text: &str) -> Result<Guid, TextError> {
    imagegen::firmware::efi_vars::vendor_by_name(text).map_or_else(|| text.parse(), Ok)
}

/// Reads attributes, and refuses those that the firmware would not have stored.
fn stored_attributes(text: &str) -> Result<Attributes, String> {
    let attributes: Attributes = text.parse().map_err(|error: TextError| error.to_string())?;
    let has = |other| attributes.contains(other);
    if !has(Attributes::NON_VOLATILE) {
        Err("only non-volatile variables are stored: add NV".to_owned())
    } else if has(Attributes::RUNTIME_ACCESS) && !has(Attributes::BOOTSERVICE_ACCESS) {
        Err("what the running system sees, boot loaders see too: add BS".to_owned())
    } else if has(Attributes::APPEND_WRITE) {
        Err("AP asks for appending and is never stored: leave it out".to_owned())
    } else {
        Ok(attributes)
    }
}

fn hexadecimal(digits: &str) -> Result<Box<[u8]>, data_encoding::DecodeError> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map(Vec::into_boxed_slice)
}
