//! Every option of the program, and nothing else.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use imagegen::boot::systemd_boot::{ConsoleMode, Timeout};
use imagegen::container::Format;
use imagegen::efi_vars::{Attributes, AttributesError, EfiText};
use imagegen::guid::{Guid, GuidError};
use imagegen::units::ByteCount;

/// Reproducible boot disks and Nix store images, without a helper VM.
#[derive(Debug, Parser)]
#[command(name = "nix-imagegen", version, propagate_version = true)]
pub struct Cli {
    /// What to tell about the work on stderr
    #[arg(long, global = true, value_name = "KIND", default_value = "auto")]
    pub progress: ProgressKind,

    /// Print errors only
    #[arg(long, short, global = true)]
    pub quiet: bool,

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
    /// Make empty disks and overlays
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Make, read and change the EFI variables in OVMF's and AAVMF's flash images
    #[command(subcommand)]
    EfiVars(EfiVarsCommand),
    /// Start a virtual machine in QEMU from a config file
    Run(RunArgs),
}

/// Where the store is.
#[derive(Debug, Clone, Args)]
pub struct StoreRootArg {
    /// Read `/nix/store/…` from DIR/nix/store
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub store_root: PathBuf,
}

/// The container of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// QEMU's copy-on-write format, version 3
    Qcow2,
    /// The bytes as the guest sees them; zeros are holes in the file
    Raw,
}

impl From<FormatArg> for Format {
    fn from(arg: FormatArg) -> Self {
        match arg {
            FormatArg::Qcow2 => Self::Qcow2,
            FormatArg::Raw => Self::Raw,
        }
    }
}

/// Arguments of `store-image`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-store --dump-db $(nix-store -qR ./result) > registration
  nix-imagegen store-image --registration registration -o store.qcow2")]
pub struct StoreImageArgs {
    /// The closure's registration, as `nix-store --dump-db` prints it and `nix-store --load-db` reads it
    #[arg(long, value_name = "FILE")]
    pub registration: PathBuf,
    /// The image to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Where the store is
    #[command(flatten)]
    pub store: StoreRootArg,
    /// The container of the image
    #[arg(long, value_name = "FORMAT", default_value = "qcow2")]
    pub format: FormatArg,
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
    /// Do not compare the files with the hashes and sizes of the registration
    #[arg(long)]
    pub no_verify: bool,
    /// How many threads to use; one for each processor if not given
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Write a report as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// A size, or the wish to have it computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeArg {
    /// Just enough.
    Auto,
    /// This many bytes.
    Fixed(ByteCount),
}

impl std::str::FromStr for SizeArg {
    type Err = imagegen::units::SizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Fixed) }
    }
}

/// Arguments of `boot-disk`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen boot-disk --toplevel $(readlink -f ./result) --loader systemd-boot -o boot.qcow2 \\
    --efi-vars-template OVMF_VARS.fd --efi-vars efi-vars.fd")]
pub struct BootDiskArgs {
    /// The system's toplevel: a store path, or a link to one; it boots by default
    #[arg(long, value_name = "STORE_PATH")]
    pub toplevel: PathBuf,
    /// The disk to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// What the disk boots by; several with commas between them
    #[arg(long, value_name = "LOADER", value_delimiter = ',', required = true)]
    pub loader: Vec<LoaderArg>,
    /// The systemd whose systemd-boot to install; the one that the toplevel links to if not given
    #[arg(long, value_name = "STORE_PATH")]
    pub systemd: Option<PathBuf>,
    /// Where the store is
    #[command(flatten)]
    pub store: StoreRootArg,
    /// The container of the disk
    #[arg(long, value_name = "FORMAT", default_value = "qcow2")]
    pub format: FormatArg,
    /// The size of the disk
    #[arg(long, value_name = "SIZE", default_value = "60M")]
    pub size: ByteCount,
    /// How long the menu waits: seconds, menu-force, menu-hidden or menu-disabled
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    pub timeout: Timeout,
    /// Add a parameter to the kernel's command line in every entry
    #[arg(long, value_name = "PARAM", allow_hyphen_values = true)]
    pub kernel_param: Vec<String>,
    /// Offer this system too, as generation N; the toplevel gets the next number if it is not among them
    #[arg(long, value_name = "N=STORE_PATH")]
    pub generation: Vec<GenerationArg>,
    /// Boot this specialisation of the toplevel by default
    #[arg(long, value_name = "NAME")]
    pub default_specialisation: Option<String>,
    /// Do not let the kernel's command line be edited in the menu
    #[arg(long)]
    pub no_editor: bool,
    /// The resolution of the menu: keep, auto, max or a mode's number
    #[arg(long, value_name = "MODE", default_value = "keep")]
    pub console_mode: ConsoleMode,
    /// The machine's ID, to be named in every entry
    #[arg(long, value_name = "ID")]
    pub machine_id: Option<MachineIdArg>,
    /// Install initrds without the secrets that a script of the system would add to them
    #[arg(long)]
    pub ignore_initrd_secrets: bool,
    /// The firmware's empty store of EFI variables, such as `OVMF_VARS.fd`
    #[arg(long, value_name = "FILE", requires = "efi_vars")]
    pub efi_vars_template: Option<PathBuf>,
    /// The copy of it for the machine to write to
    #[arg(long, value_name = "FILE", requires = "efi_vars_template")]
    pub efi_vars: Option<PathBuf>,
}

/// A boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LoaderArg {
    /// For UEFI
    SystemdBoot,
    /// For BIOSes
    Grub,
}

/// A generation on the command line.
#[derive(Debug, Clone)]
pub struct GenerationArg {
    /// Its number.
    pub number: u32,
    /// The toplevel, as `--toplevel` takes it.
    pub toplevel: PathBuf,
}

impl std::str::FromStr for GenerationArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, toplevel) =
            text.split_once('=').ok_or("write N=STORE_PATH, as in `3=/nix/store/…-nixos-system`")?;
        let number =
            number.parse().ok().filter(|number| *number > 0).ok_or("the number must be one from 1 on")?;
        Ok(Self { number, toplevel: toplevel.into() })
    }
}

/// A machine ID as in `/etc/machine-id`.
#[derive(Debug, Clone)]
pub struct MachineIdArg(pub String);

impl std::str::FromStr for MachineIdArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 32 && text.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a machine ID has 32 hexadecimal digits in lower case (machine-id(5))")
        }
    }
}

/// The subcommands of `disk`.
#[derive(Debug, Subcommand)]
pub enum DiskCommand {
    /// Make an empty disk, or an overlay on another image
    Create(DiskCreateArgs),
}

/// Arguments of `disk create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nix-imagegen disk create -o root.qcow2 --size 1G
  nix-imagegen disk create -o overlay.qcow2 --backing store.qcow2 --backing-format qcow2")]
pub struct DiskCreateArgs {
    /// The disk to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// The size of the disk; that of the backing file if not given
    #[arg(long, value_name = "SIZE", required_unless_present = "backing")]
    pub size: Option<ByteCount>,
    /// The container of the disk
    #[arg(long, value_name = "FORMAT", default_value = "qcow2")]
    pub format: FormatArg,
    /// Show the contents of this image until the guest writes; a relative path is taken from the disk's directory
    #[arg(long, value_name = "FILE", requires = "backing_format")]
    pub backing: Option<PathBuf>,
    /// The container of the backing file
    #[arg(long, value_name = "FORMAT", requires = "backing")]
    pub backing_format: Option<FormatArg>,
}

/// The subcommands of `efi-vars`.
#[derive(Debug, Subcommand)]
pub enum EfiVarsCommand {
    /// Make a flash image from the template that comes with the firmware
    Create(EfiVarsCreateArgs),
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
  nix-imagegen efi-vars create --template OVMF_VARS.fd -o vars.fd --boot-disk-entry")]
pub struct EfiVarsCreateArgs {
    /// The firmware's own flash image of variables, such as `OVMF_VARS.fd` or `AAVMF_VARS.fd`
    #[arg(long, value_name = "FILE")]
    pub template: PathBuf,
    /// The flash image to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Add the entry `Linux Boot Manager` for systemd-boot on the boot disk, first in the boot order
    #[arg(long)]
    pub boot_disk_entry: bool,
    /// The machine that is to boot
    #[arg(long, value_name = "NAME", default_value = "x86-64", requires = "boot_disk_entry")]
    pub architecture: ArchitectureArg,
    /// The size of the boot disk, which the entry's partition follows from
    #[arg(long, value_name = "SIZE", default_value = "60M", requires = "boot_disk_entry")]
    pub boot_disk_size: ByteCount,
}

/// A machine that UEFI runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArchitectureArg {
    /// PCs of 64 bits; boot loaders are called *x64.efi
    #[value(name = "x86-64", alias = "x86_64")]
    X86_64,
    /// ARM machines of 64 bits; boot loaders are called *aa64.efi
    Aarch64,
}

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
  nix-imagegen efi-vars import OVMF_VARS.fd variables.json -o vars.fd")]
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
    /// The JSON document to write; stdout if not given
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Reads a vendor, by GUID or by name.
fn vendor(text: &str) -> Result<Guid, GuidError> {
    imagegen::efi_vars::vendor_by_name(text).map_or_else(|| text.parse(), Ok)
}

/// Reads attributes, and refuses those that the firmware would not have stored.
fn stored_attributes(text: &str) -> Result<Attributes, String> {
    let attributes: Attributes = text.parse().map_err(|error: AttributesError| error.to_string())?;
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

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nix-imagegen run --config vm.toml -- -serial file:console.log

The config has the option names of NixOS's virtualisation module, in TOML or, if its name ends in .json, JSON:
  useNixStoreImage = true
  storeImage = \"store.qcow2\"
  useBootLoader = true
  useEFIBoot = true
  bootDisk = \"disk.qcow2\"
  efi.variables = \"/usr/share/OVMF/OVMF_VARS.fd\"
  graphics = false")]
pub struct RunArgs {
    /// The virtual machine's options, in TOML or JSON
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Prepare all files, then print QEMU's command line instead of starting it
    #[arg(long)]
    pub print: bool,
    /// What runs the guest's code
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub accel: AcceleratorArg,
    /// Where the toplevel's store is
    #[command(flatten)]
    pub store: StoreRootArg,
    /// More arguments for QEMU, behind all others
    #[arg(last = true, value_name = "QEMU_ARGUMENTS")]
    pub qemu_arguments: Vec<OsString>,
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
