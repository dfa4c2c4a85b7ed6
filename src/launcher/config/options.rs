//! Every option: its field, type, name, default and meaning. The names and defaults are the module's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::problems::Problems;
use super::table::{Group, Table, options, words};
use super::value::{Positive, Read, ShellText, expected, one_of};
use crate::launcher::platform::Platform;

/// `vmTools.default9PMsizeBytes` of nixpkgs at the end of 2021 (its pull request 146783).
const MSIZE: Positive = Positive(128 << 10);

options! {
    /// A virtual machine's options.
    pub struct Config {
        /// The machine's name; `config.system.name` in the module.
        pub name: String = or("name", "nixos".to_owned()),
        /// The guest's platform. By default the toplevel's, else this machine's.
        pub system: Option<Platform> = maybe("system"),
        /// Memory in MiB.
        pub memory_size: Positive = or("memorySize", Positive(384)),
        /// The largest packet of 9p file systems in bytes.
        pub msize: Positive = or("msize", MSIZE),
        /// The size of a new root disk in MiB. If it is null, the root disk must exist.
        pub disk_size: Option<Positive> = or("diskSize", Some(Positive(1024))),
        /// The root disk.
        pub disk_image: DiskImage = or("diskImage", DiskImage::ByName),
        /// The guest's root device. By default its first drive.
        pub boot_device: Option<String> = maybe("bootDevice"),
        /// Sizes in MiB of more disks, which are empty at first.
        pub empty_disk_images: Vec<Positive> = take("emptyDiskImages"),
        /// A window, or the serial console on the terminal.
        pub graphics: bool = or("graphics", true),
        /// The display's resolution, which only the guest sets.
        pub resolution: Resolution = group("resolution"),
        /// Virtual processors.
        pub cores: Positive = or("cores", Positive(1)),
        /// Directories that the guest can mount with 9p, by their mount tag.
        pub shared_directories: BTreeMap<String, SharedDirectory> = take("sharedDirectories"),
        /// More file systems that the guest mounts, by their mount point. Only the guest uses them.
        pub file_systems: BTreeMap<String, FileSystem> = take("fileSystems"),
        /// Store paths that have to be in the guest's store.
        pub additional_paths: Vec<String> = take("additionalPaths"),
        /// The module's older name for the same.
        pub(super) paths_in_nix_db: Vec<String> = take("pathsInNixDB"),
        /// Ports that lead into or out of the user network.
        pub forward_ports: Vec<ForwardPort> = take("forwardPorts"),
        /// Keep the guest from reaching this machine and the rest of the world.
        pub restrict_network: bool = take("restrictNetwork"),
        /// Networks that the machine shares with others.
        pub vlans: Vec<u64> = take("vlans"),
        /// Network cards by name, each in one of these networks.
        pub interfaces: BTreeMap<String, Interface> = take("interfaces"),
        /// The machine's number in these networks.
        pub node_number: Positive = or("nodeNumber", Positive(1)),
        /// A writable layer lies over the store.
        pub writable_store: bool = or("writableStore", true),
        /// That layer is in memory.
        pub writable_store_use_tmpfs: bool = or("writableStoreUseTmpfs", true),
        /// QEMU itself.
        pub qemu: QemuOptions = group("qemu"),
        /// The store comes as an image rather than as a shared directory.
        pub use_nix_store_image: bool = take("useNixStoreImage"),
        /// The guest shares the store of this machine. By default where `useNixStoreImage` is off.
        pub mount_host_nix_store: Option<bool> = maybe("mountHostNixStore"),
        /// The boot disk's loader boots. Otherwise QEMU loads the kernel itself.
        pub use_boot_loader: bool = take("useBootLoader"),
        /// A boot disk that is made just in time has a loader for BIOSes too.
        pub use_bios_boot: bool = take("useBIOSBoot"),
        /// The firmware is UEFI. Ignored where QEMU loads the kernel.
        pub use_efi_boot: bool = take("useEFIBoot"),
        /// The UEFI firmware.
        pub efi: EfiOptions = group("efi"),
        /// The machine's own EFI variables, made if they are missing. By default `./NAME-efi-vars.fd`.
        pub efi_vars: Option<PathBuf> = maybe("efiVars"),
        /// A directory with `bios.bin`, which replaces QEMU's own BIOS.
        pub bios: Option<PathBuf> = take("bios"),
        /// QEMU loads the kernel itself.
        pub direct_boot: DirectBootOptions = group("directBoot"),
        /// A TPM.
        pub tpm: TpmOptions = group("tpm"),
        /// The guest gets the certificates that `NIX_SSL_CERT_FILE` names.
        pub use_host_certs: bool = take("useHostCerts"),
        /// The store image, or a directory with `nixos.qcow2`.
        pub store_image: Option<PathBuf> = take("storeImage"),
        /// The boot disk, or a directory with `disk.img` and `efi-vars.fd`.
        pub boot_disk: Option<PathBuf> = take("bootDisk"),
        /// The system's toplevel.
        pub toplevel: Option<String> = take("toplevel"),
        /// The closure's registration.
        pub registration: Option<PathBuf> = take("registration"),
        /// There is no config: an image is the machine's only disk. Such a machine shares no directories, and its EFI
        /// variables go when it ends.
        pub of_image: bool = no_option(false),
    }

    /// `resolution`, in pixels.
    #[derive(Copy, Serialize, JsonSchema)]
    pub struct Resolution {
        pub x: Positive = or("x", Positive(1024)),
        pub y: Positive = or("y", Positive(768)),
    }

    /// `efi`.
    pub struct EfiOptions {
        /// The firmware's code. By default found by the size of the variables.
        pub firmware: Option<PathBuf> = take("firmware"),
        /// What new EFI variables are copied from. By default those that come with the firmware.
        pub variables: Option<PathBuf> = take("variables"),
        /// New EFI variables are copied from the boot disk's.
        pub keep_variables: Option<bool> = maybe("keepVariables"),
    }

    /// `directBoot`.
    pub struct DirectBootOptions {
        /// QEMU loads the kernel. By default where no boot loader does.
        pub enable: Option<bool> = maybe("enable"),
        /// The initrd. By default the toplevel's.
        pub initrd: Option<PathBuf> = take("initrd"),
    }

    /// `tpm`.
    pub struct TpmOptions {
        /// The machine has one.
        pub enable: bool = take("enable"),
        /// A directory with `bin/swtpm`. By default swtpm is searched for on `PATH`.
        pub package: Option<PathBuf> = take("package"),
        /// QEMU's device. By default the platform's usual one.
        pub device_model: Option<String> = maybe("deviceModel"),
    }

    /// An entry of `sharedDirectories`.
    pub struct SharedDirectory {
        /// The directory on this machine. The shell's variables in it are expanded.
        pub source: String = require("source", "/".to_owned()),
        /// Where the guest mounts it.
        pub target: String = require("target", "/".to_owned()),
        /// How QEMU keeps owners and modes.
        pub security_model: SecurityModel = or("securityModel", SecurityModel::None),
    }

    /// An entry of `fileSystems`.
    pub struct FileSystem {
        /// What else NixOS's evaluated file systems have: the entry's name once more, and what only NixOS's initrd does.
        _nixos_only: () = ignore(&[
            "mountPoint", "enable", "depends", "autoFormat", "autoResize", "formatOptions", "encrypted", "overlay", "stratis",
        ]),
        /// The device that is mounted.
        pub device: Option<String> = take("device"),
        /// The label of the device.
        pub label: Option<String> = take("label"),
        /// The file system's type.
        pub fs_type: String = or("fsType", "auto".to_owned()),
        /// Options of the mount.
        pub options: Vec<String> = take("options"),
        /// The initrd mounts it.
        pub needed_for_boot: bool = take("neededForBoot"),
        /// It is not checked first.
        pub no_check: bool = take("noCheck"),
    }

    /// An entry of `forwardPorts`.
    pub struct ForwardPort {
        /// The side that connects.
        pub from: Side = or("from", Side::Host),
        /// The protocol.
        pub proto: Protocol = or("proto", Protocol::Tcp),
        /// This machine's end.
        pub host: Endpoint = group("host"),
        /// The guest's end.
        pub guest: Endpoint = group("guest"),
    }

    /// An end of a forwarded port.
    pub struct Endpoint {
        /// An IPv4 address; empty for any.
        pub address: String = take("address"),
        /// The port.
        pub port: u16 = require("port", 1),
    }

    /// An entry of `interfaces`.
    #[derive(Copy)]
    pub struct Interface {
        /// The network that the card is in.
        pub vlan: u64 = require("vlan", 0),
        /// The guest gives it an address.
        pub assign_ip: bool = take("assignIP"),
    }

    /// `qemu`.
    pub struct QemuOptions {
        /// The guest's agent.
        pub guest_agent: GuestAgent = group("guestAgent"),
        /// A directory with `bin/qemu-system-…`. By default QEMU is searched for on `PATH`.
        pub package: Option<PathBuf> = take("package"),
        /// More arguments.
        pub options: Vec<ShellText> = take("options"),
        /// The guest's consoles, the preferred one last. By default in the order that `graphics` asks for.
        pub consoles: Option<Vec<String>> = maybe("consoles"),
        /// Arguments that replace those of the user network.
        pub networking_options: Option<Vec<ShellText>> = maybe("networkingOptions"),
        /// More drives behind the module's own. They are the whole list if one of them is named `root`.
        pub drives: Vec<Drive> = take("drives"),
        /// What the drives are attached to.
        pub disk_interface: DiskInterface = or("diskInterface", DiskInterface::Virtio),
        /// A virtio keyboard.
        pub virtio_keyboard: bool = take("virtioKeyboard"),
    }

    /// `qemu.guestAgent`.
    #[derive(Copy)]
    pub struct GuestAgent {
        /// The guest runs QEMU's agent. Only the guest uses it.
        pub enable: bool = or("enable", true),
    }

    /// An entry of `qemu.drives`.
    pub struct Drive {
        /// The image. The shell's variables in it are expanded.
        pub file: String = require("file", "/".to_owned()),
        /// Its name, which no other drive may have.
        pub name: Option<String> = take("name"),
        /// More options of `-drive`.
        pub drive_extra_opts: BTreeMap<String, String> = take("driveExtraOpts"),
        /// More options of `-device`.
        pub device_extra_opts: BTreeMap<String, String> = take("deviceExtraOpts"),
        /// The module's evaluated list has the guest's name of the disk here. It follows from the order.
        pub(in crate::launcher) _device: Option<String> = maybe("device"),
    }
}

words! {
    /// `sharedDirectories.<tag>.securityModel`.
    pub enum SecurityModel {
        /// As they are.
        Passthrough = "passthrough",
        /// In extended attributes.
        MappedXattr = "mapped-xattr",
        /// In hidden files.
        MappedFile = "mapped-file",
        /// As they are, as far as QEMU's permissions go.
        None = "none",
    }

    /// A side of a forwarded port.
    pub enum Side {
        /// This machine.
        Host = "host",
        /// The guest.
        Guest = "guest",
    }

    /// A protocol with ports.
    pub enum Protocol {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }

    /// `qemu.diskInterface`.
    pub enum DiskInterface {
        /// virtio-blk.
        Virtio = "virtio",
        /// A SCSI controller for each disk.
        Scsi = "scsi",
        /// The module knows the name and attaches virtio-blk.
        Ide = "ide",
    }
}

impl Read for Platform {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        one_of(&Self::ALL, Self::name, &value, at, problems)
    }
}

/// `diskImage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskImage {
    /// `./NAME.qcow2`.
    ByName,
    /// This file, which is made if it is missing.
    File(PathBuf),
    /// No disk: the guest's root is in memory.
    None,
}

impl Read for DiskImage {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        match value {
            // TOML has no null.
            Value::Null | Value::Bool(false) => Some(Self::None),
            Value::String(_) => Read::read(value, at, problems).map(Self::File),
            other => problems.none(at, expected("a file name, or null or false for none", &other)),
        }
    }
}
