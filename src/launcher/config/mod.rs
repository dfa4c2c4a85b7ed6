//! The config file: the module's option names, and what the module knows from its own evaluation.

mod read;
mod reader;
mod rules;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::platform::Platform;

#[cfg(test)]
pub use read::every_option;
pub use reader::Problems;

/// A virtual machine's options. Where a field says nothing of a default, `read.rs` has the module's.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the module, under its name")]
pub struct Config {
    /// The machine's name; `config.system.name` in the module.
    pub name: String,
    /// The guest's platform; the toplevel's, else this machine's, if not given.
    pub system: Option<Platform>,
    /// Memory in MiB.
    pub memory_size: u64,
    /// The largest packet of 9p file systems in bytes.
    pub msize: u64,
    /// The size of a new root disk in MiB; without one the root disk has to be there.
    pub disk_size: Option<u64>,
    /// The root disk.
    pub disk_image: DiskImage,
    /// What the guest has as its root; its first disk if not given.
    pub boot_device: Option<String>,
    /// Sizes in MiB of more disks, which begin empty.
    pub empty_disk_images: Vec<u64>,
    /// A window, or the serial console on the terminal.
    pub graphics: bool,
    /// The display's resolution; the guest's business.
    pub resolution: Resolution,
    /// Virtual processors.
    pub cores: u64,
    /// Directories that the guest can mount with 9p, by their mount tag.
    pub shared_directories: BTreeMap<String, SharedDirectory>,
    /// More file systems that the guest mounts, by their mount point; its own business.
    pub file_systems: BTreeMap<String, FileSystem>,
    /// Store paths that have to be in the guest's store.
    pub additional_paths: Vec<String>,
    /// Ports that lead into or out of the user network.
    pub forward_ports: Vec<ForwardPort>,
    /// Keep the guest from reaching this machine and the rest of the world.
    pub restrict_network: bool,
    /// Networks that the machine shares with others.
    pub vlans: Vec<u64>,
    /// Network cards by name, each in one of these networks.
    pub interfaces: BTreeMap<String, Interface>,
    /// Which of the machines in these networks it is.
    pub node_number: u64,
    /// A writable layer lies over the store.
    pub writable_store: bool,
    /// That layer is in memory.
    pub writable_store_use_tmpfs: bool,
    /// Options of QEMU as such.
    pub qemu: Qemu,
    /// The store comes as an image rather than as a shared directory.
    pub use_nix_store_image: bool,
    /// The store of this machine is shared with the guest; `useNixStoreImage` decides if not given.
    pub mount_host_nix_store: Option<bool>,
    /// The boot disk's loader boots, rather than QEMU the kernel itself.
    pub use_boot_loader: bool,
    /// A boot disk that is made just in time has a loader for BIOSes too.
    pub use_bios_boot: bool,
    /// The firmware is UEFI; counts only where firmware boots.
    pub use_efi_boot: bool,
    /// The UEFI firmware.
    pub efi: Efi,
    /// The machine's own EFI variables; `./NAME-efi-vars.fd` if not given. Made when they are missing.
    pub efi_vars: Option<PathBuf>,
    /// A directory with `bios.bin`, in the place of QEMU's own BIOS.
    pub bios: Option<PathBuf>,
    /// QEMU loads the kernel itself.
    pub direct_boot: DirectBoot,
    /// A TPM.
    pub tpm: Tpm,
    /// The guest gets the certificates that `NIX_SSL_CERT_FILE` names.
    pub use_host_certs: bool,
    /// The store image, or a directory with `nixos.qcow2`.
    pub store_image: Option<PathBuf>,
    /// The boot disk, or a directory with `disk.img` and `efi-vars.fd`.
    pub boot_disk: Option<PathBuf>,
    /// The system's toplevel.
    pub toplevel: Option<String>,
    /// The closure's registration.
    pub registration: Option<PathBuf>,
}

/// `diskImage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskImage {
    /// `./NAME.qcow2`.
    ByName,
    /// This file, which is made when it is missing.
    File(PathBuf),
    /// No disk: the guest's root is in memory.
    None,
}

/// `resolution`, in pixels.
#[derive(Debug, Clone, Copy)]
pub struct Resolution {
    /// The width.
    pub x: u64,
    /// The height.
    pub y: u64,
}

/// `efi`.
#[derive(Debug, Clone)]
pub struct Efi {
    /// The firmware's code; found by the size of the variables if not given.
    pub firmware: Option<PathBuf>,
    /// What new EFI variables are copied from; those that come with the firmware if not given.
    pub variables: Option<PathBuf>,
    /// New EFI variables are copied from the boot disk's; `useBootLoader` decides if not given.
    pub keep_variables: Option<bool>,
}

/// `directBoot`.
#[derive(Debug, Clone)]
pub struct DirectBoot {
    /// Whether QEMU loads the kernel; where there is no boot loader if not given.
    pub enable: Option<bool>,
    /// The initrd; the toplevel's if not given.
    pub initrd: Option<PathBuf>,
}

/// `tpm`.
#[derive(Debug, Clone)]
pub struct Tpm {
    /// Whether the machine has one.
    pub enable: bool,
    /// A directory with `bin/swtpm`; from `PATH` if not given.
    pub package: Option<PathBuf>,
    /// QEMU's device; the platform's usual one if not given.
    pub device_model: Option<String>,
}

/// An entry of `sharedDirectories`.
#[derive(Debug, Clone)]
pub struct SharedDirectory {
    /// The directory on this machine, in which the shell's variables may stand.
    pub source: String,
    /// Where the guest mounts it.
    pub target: String,
    /// How QEMU keeps owners and modes.
    pub security_model: SecurityModel,
}

/// `sharedDirectories.<tag>.securityModel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityModel {
    /// As they are.
    Passthrough,
    /// In extended attributes.
    MappedXattr,
    /// In hidden files.
    MappedFile,
    /// As they are, as far as QEMU may.
    None,
}

impl SecurityModel {
    /// Every model with QEMU's name of it.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("passthrough", Self::Passthrough),
        ("mapped-xattr", Self::MappedXattr),
        ("mapped-file", Self::MappedFile),
        ("none", Self::None),
    ];

    /// QEMU's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::MappedXattr => "mapped-xattr",
            Self::MappedFile => "mapped-file",
            Self::None => "none",
        }
    }
}

/// An entry of `fileSystems`, of which NixOS knows more than has a meaning here.
#[derive(Debug, Clone)]
pub struct FileSystem {
    /// What is mounted.
    pub device: Option<String>,
    /// The label of what is mounted.
    pub label: Option<String>,
    /// Its kind.
    pub fs_type: String,
    /// Options of the mount.
    pub options: Vec<String>,
    /// The initrd mounts it.
    pub needed_for_boot: bool,
    /// It is not checked before.
    pub no_check: bool,
}

impl FileSystem {
    /// What is mounted, by NixOS's rules; nothing if that is not said.
    pub fn source(&self) -> Option<String> {
        let by_label = || self.label.as_ref().map(|label| format!("/dev/disk/by-label/{label}"));
        let of_memory = || MEMORY_FILE_SYSTEMS.contains(&self.fs_type.as_str()).then(|| self.fs_type.clone());
        self.device.clone().or_else(by_label).or_else(of_memory)
    }
}

/// File systems of no device; NixOS names them by their kind.
const MEMORY_FILE_SYSTEMS: [&str; 6] = ["proc", "sysfs", "tmpfs", "ramfs", "devtmpfs", "devpts"];

/// An entry of `forwardPorts`.
#[derive(Debug, Clone)]
pub struct ForwardPort {
    /// Which side the connections come from.
    pub from: Side,
    /// The protocol.
    pub proto: Protocol,
    /// This machine's end.
    pub host: Endpoint,
    /// The guest's end.
    pub guest: Endpoint,
}

/// A side of a forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This machine.
    Host,
    /// The guest.
    Guest,
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// QEMU's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// An end of a forwarded port.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// An IPv4 address; empty for any.
    pub address: String,
    /// The port.
    pub port: u16,
}

/// An entry of `interfaces`.
#[derive(Debug, Clone, Copy)]
pub struct Interface {
    /// The network it is in.
    pub vlan: u64,
    /// Whether the guest gives it an address.
    pub assign_ip: bool,
}

/// `qemu`.
#[derive(Debug, Clone)]
pub struct Qemu {
    /// A directory with `bin/qemu-system-x86_64`; from `PATH` if not given.
    pub package: Option<PathBuf>,
    /// More arguments, each text as the shell would take it.
    pub options: Vec<String>,
    /// The guest's consoles, the preferred one last; `graphics` decides if not given.
    pub consoles: Option<Vec<String>>,
    /// Arguments in the place of the user network's.
    pub networking_options: Option<Vec<String>>,
    /// More drives behind the module's own; all of them if one is named `root`.
    pub drives: Vec<Drive>,
    /// What the drives are attached to.
    pub disk_interface: DiskInterface,
    /// The guest runs QEMU's agent; the guest's business.
    pub guest_agent: bool,
    /// A virtio keyboard.
    pub virtio_keyboard: bool,
}

/// An entry of `qemu.drives`.
#[derive(Debug, Clone)]
pub struct Drive {
    /// Its name, which no other drive may have.
    pub name: Option<String>,
    /// The image, in which the shell's variables may stand.
    pub file: String,
    /// More options of `-drive`.
    pub drive_extra_opts: BTreeMap<String, String>,
    /// More options of `-device`.
    pub device_extra_opts: BTreeMap<String, String>,
}

/// `qemu.diskInterface`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskInterface {
    /// virtio-blk.
    Virtio,
    /// A SCSI controller for each disk.
    Scsi,
    /// The module knows the name and attaches virtio-blk.
    Ide,
}

/// The drive that makes `qemu.drives` the whole list.
pub const ROOT_DRIVE: &str = "root";
/// The store image's drive.
pub const STORE_DRIVE: &str = "nix-store";
/// The boot disk's drive.
pub const BOOT_DRIVE: &str = "boot";
/// The mount tag of the shared store.
pub const STORE_TAG: &str = "nix-store";

impl Config {
    /// QEMU loads the kernel itself.
    pub fn boots_directly(&self) -> bool {
        self.direct_boot.enable.unwrap_or(!self.use_boot_loader)
    }

    /// UEFI firmware boots. The module ignores `useEFIBoot` where QEMU loads the kernel.
    pub fn boots_by_efi(&self) -> bool {
        self.use_efi_boot && (self.use_boot_loader || !self.boots_directly())
    }

    /// The store of this machine is shared.
    pub fn shares_store(&self) -> bool {
        self.mount_host_nix_store.unwrap_or(!self.use_nix_store_image)
    }

    /// `qemu.drives` has every drive, as the module's own evaluated list does.
    pub fn lists_every_drive(&self) -> bool {
        self.qemu.drives.iter().any(|drive| drive.name.as_deref() == Some(ROOT_DRIVE))
    }

    /// Every network card in the machine's own networks: those of `vlans`, then those of `interfaces`.
    pub fn network_cards(&self) -> Vec<NetworkCard> {
        let unnamed = (1..).zip(&self.vlans).map(|(i, &vlan)| (format!("eth{i}"), vlan, true));
        let named = self.interfaces.iter().map(|(name, card)| (name.clone(), card.vlan, card.assign_ip));
        unnamed
            .chain(named)
            .map(|(name, vlan, assign_ip)| NetworkCard { name, vlan, node: self.node_number, assign_ip })
            .collect()
    }
}

/// A network card in one of the machine's own networks.
#[derive(Debug, Clone)]
pub struct NetworkCard {
    /// The guest's name of it.
    pub name: String,
    /// The network.
    pub vlan: u64,
    /// The machine's number in it.
    pub node: u64,
    /// Whether the guest gives it an address.
    pub assign_ip: bool,
}

impl NetworkCard {
    /// Its MAC address, which follows from network and machine as in NixOS's test driver.
    pub fn mac(&self) -> String {
        format!("52:54:00:12:{:02x}:{:02x}", self.vlan, self.node)
    }

    /// The address that the guest gives it.
    pub fn address(&self) -> Option<String> {
        self.assign_ip.then(|| format!("192.168.{}.{}", self.vlan, self.node))
    }
}
