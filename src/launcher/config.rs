//! The config file: the module's option names, and what the module knows from its own evaluation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

/// A virtual machine's options. Those without a comment on a default have the module's.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the module, under its name")]
pub struct Config {
    /// The machine's name; `config.system.name` in the module.
    pub name: String,
    /// Memory in MiB.
    pub memory_size: u64,
    /// Virtual processors.
    pub cores: u64,
    /// The root disk; `./NAME.qcow2` if not given. Made when it is missing.
    pub disk_image: Option<PathBuf>,
    /// The size of a new root disk in MiB.
    pub disk_size: u64,
    /// Sizes in MiB of more disks, which begin empty.
    pub empty_disk_images: Vec<u64>,
    /// A window, or the serial console on the terminal.
    pub graphics: bool,
    /// The store comes as an image rather than as a shared directory.
    pub use_nix_store_image: bool,
    /// The boot disk's loader boots, rather than QEMU the kernel itself.
    pub use_boot_loader: bool,
    /// The firmware is UEFI; counts only with a boot loader.
    #[serde(rename = "useEFIBoot")]
    pub use_efi_boot: bool,
    /// The machine's own EFI variables; `./NAME-efi-vars.fd` if not given. Made when they are missing.
    pub efi_vars: Option<PathBuf>,
    /// The UEFI firmware.
    pub efi: Efi,
    /// A directory with `bios.bin`, in the place of QEMU's own BIOS.
    pub bios: Option<PathBuf>,
    /// Directories that the guest can mount with 9p, by their mount tag.
    pub shared_directories: BTreeMap<String, SharedDirectory>,
    /// Ports that lead into or out of the user network.
    pub forward_ports: Vec<ForwardPort>,
    /// Options of QEMU as such.
    pub qemu: Qemu,
    /// The store image, or a directory with `nixos.qcow2`.
    pub store_image: Option<PathBuf>,
    /// The boot disk, or a directory with `disk.img` and `efi-vars.fd`.
    pub boot_disk: Option<PathBuf>,
    /// The system's toplevel, for a direct boot.
    pub toplevel: Option<String>,
    /// The closure's registration; one in the store is named to the guest in a direct boot.
    pub registration: Option<PathBuf>,
}

/// `efi`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Efi {
    /// The firmware's code; found by the size of the variables if not given.
    pub firmware: Option<PathBuf>,
    /// What new EFI variables are copied from; the boot disk's if not given.
    pub variables: Option<PathBuf>,
}

/// An entry of `sharedDirectories`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SharedDirectory {
    /// The directory on this machine.
    pub source: PathBuf,
    /// Where the guest mounts it; the guest's business.
    #[serde(rename = "target")]
    pub _target: PathBuf,
}

/// An entry of `forwardPorts`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardPort {
    /// Which side the connections come from.
    #[serde(default)]
    pub from: Side,
    /// The protocol.
    #[serde(default)]
    pub proto: Protocol,
    /// This machine's end.
    pub host: Endpoint,
    /// The guest's end.
    pub guest: Endpoint,
}

/// A side of a forwarded port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// This machine.
    #[default]
    Host,
    /// The guest.
    Guest,
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
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
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// An IPv4 address; empty for any.
    #[serde(default)]
    pub address: String,
    /// The port.
    pub port: u16,
}

/// `qemu`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Qemu {
    /// A directory with `bin/qemu-system-x86_64`; from `PATH` if not given.
    pub package: Option<PathBuf>,
    /// More arguments, each text split as a shell would.
    pub options: Vec<String>,
    /// The guest's consoles, the preferred one last; by `graphics` if not given.
    pub consoles: Option<Vec<String>>,
    /// Arguments in the place of the user network's.
    pub networking_options: Option<Vec<String>>,
    /// More drives, behind the module's own.
    pub drives: Vec<Drive>,
    /// What the drives are attached to.
    pub disk_interface: DiskInterface,
}

/// An entry of `qemu.drives`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drive {
    /// Its name, which no other drive may have.
    #[serde(default)]
    pub name: Option<String>,
    /// The image.
    pub file: PathBuf,
    /// More options of `-drive`.
    #[serde(default)]
    pub drive_extra_opts: BTreeMap<String, String>,
    /// More options of `-device`.
    #[serde(default)]
    pub device_extra_opts: BTreeMap<String, String>,
}

/// `qemu.diskInterface`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskInterface {
    /// virtio-blk.
    #[default]
    Virtio,
    /// A SCSI controller for each disk.
    Scsi,
    /// The module knows the name and attaches virtio-blk.
    Ide,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "nixos".into(),
            memory_size: 384,
            cores: 1,
            disk_image: None,
            disk_size: 1024,
            empty_disk_images: Vec::new(),
            graphics: true,
            use_nix_store_image: false,
            use_boot_loader: false,
            use_efi_boot: false,
            efi_vars: None,
            efi: Efi::default(),
            bios: None,
            shared_directories: BTreeMap::new(),
            forward_ports: Vec::new(),
            qemu: Qemu::default(),
            store_image: None,
            boot_disk: None,
            toplevel: None,
            registration: None,
        }
    }
}

impl Config {
    /// Reads a config file: JSON where its name ends in `.json`, TOML otherwise.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read the config `{shown}`"))?;
        let config: Self = if file.extension().is_some_and(|extension| extension == "json") {
            serde_json::from_str(&text).with_context(|| format!("`{shown}` is not a valid config"))?
        } else {
            // The parser's own message has several lines with a picture of the place.
            toml::from_str(&text).map_err(|error| {
                let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
                anyhow::anyhow!("`{shown}`, line {line}: {}", error.message().replace('\n', ", "))
            })?
        };
        config.check().with_context(|| format!("`{shown}` contradicts itself"))?;
        Ok(config)
    }

    /// Every rule that the options break, in one message.
    fn check(&self) -> anyhow::Result<()> {
        let mut broken = Vec::new();
        for (option, value) in
            [("memorySize", self.memory_size), ("cores", self.cores), ("diskSize", self.disk_size)]
        {
            if value == 0 {
                broken.push(format!("{option} must be at least 1"));
            }
        }
        if let Some(i) = self.empty_disk_images.iter().position(|&size| size == 0) {
            broken.push(format!("emptyDiskImages, entry {}: a disk has at least 1 MiB", i + 1));
        }
        if self.use_nix_store_image && self.store_image.is_none() {
            broken.push(
                "useNixStoreImage needs storeImage, an image made by `nix-imagegen store-image`".into(),
            );
        }
        if self.use_boot_loader && self.boot_disk.is_none() {
            broken.push("useBootLoader needs bootDisk, a disk made by `nix-imagegen boot-disk`".into());
        }
        if !self.use_boot_loader && self.toplevel.is_none() {
            broken
                .push("a direct boot needs toplevel, the system's store path (or set useBootLoader)".into());
        }
        for (rule, i) in self.forward_ports.iter().zip(1..) {
            if rule.from == Side::Guest && rule.proto != Protocol::Tcp {
                broken.push(format!("forwardPorts, entry {i}: only TCP can be forwarded from the guest"));
            }
            if rule.from == Side::Guest && !rule.guest.address.starts_with("10.0.2.") {
                broken.push(format!("forwardPorts, entry {i}: guest.address must be in 10.0.2.0/24"));
            }
        }
        let mut names = vec!["root", "nix-store", "boot"];
        for name in self.qemu.drives.iter().filter_map(|drive| drive.name.as_deref()) {
            if names.contains(&name) {
                broken.push(format!("qemu.drives: there is another drive named `{name}`"));
            }
            names.push(name);
        }
        if broken.is_empty() { Ok(()) } else { bail!("{}", broken.join("; ")) }
    }
}
