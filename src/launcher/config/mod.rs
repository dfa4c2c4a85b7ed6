//! The config file: the module's option names, and what the module knows from its own evaluation.

mod options;
mod problems;
mod rules;
mod table;
mod value;

use std::path::Path;

use anyhow::Context;
use imagegen::units::ByteCount;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::input;

use table::{Group, Table};

pub use options::{
    Config, DiskImage, DiskInterface, Drive, FileSystem, ForwardPort, Interface, Protocol, Resolution,
    SecurityModel, SharedDirectory, Side,
};
pub use problems::Problems;
pub use value::{Positive, ShellText};

/// More than any config has.
const LENGTH_MAX: ByteCount = ByteCount(64 << 20);

/// A drive of this name makes `qemu.drives` the whole list.
pub const ROOT_DRIVE: &str = "root";
/// The store image's drive.
pub const STORE_DRIVE: &str = "nix-store";
/// The boot disk's drive.
pub const BOOT_DRIVE: &str = "boot";
/// The mount tag of the shared store.
pub const STORE_TAG: &str = "nix-store";

impl Config {
    /// Reads a config file: JSON where its name ends in `.json`, TOML otherwise. Only a file that cannot be read or
    /// parsed is an error. All else that is wrong goes to the problems, and a default replaces it.
    pub fn read(file: &Path, problems: &mut Problems) -> anyhow::Result<Self> {
        let shown = file.display();
        let text = input::read_text(file, LENGTH_MAX).context("cannot read the config")?;
        let value = if file.extension().is_some_and(|extension| extension == "json") {
            serde_json::from_str(&text).with_context(|| format!("`{shown}` is not JSON"))?
        } else {
            // The parser's own message has several lines and a picture of the wrong line.
            toml::from_str(&text).map_err(|error| {
                let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
                anyhow::anyhow!("`{shown}`, line {line}: {}", error.message().replace('\n', ", "))
            })?
        };
        Ok(Self::from_value(value, problems))
    }

    /// Reads the options and checks the rules between them.
    pub fn from_value(value: Value, problems: &mut Problems) -> Self {
        let mut config = Self::read_from(&mut Table::open(value, "", problems));
        config.additional_paths.append(&mut config.paths_in_nix_db);
        rules::check(&config, problems);
        config
    }

    /// Checks a config file by itself.
    pub fn check(file: &Path) -> anyhow::Result<()> {
        let mut problems = Problems::default();
        Self::read(file, &mut problems)?;
        problems.into_error().with_context(|| format!("cannot run `{}`", file.display()))
    }

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
        let unnamed = self.vlans.iter().map(|&vlan| Interface { vlan, assign_ip: true });
        let unnamed = (1..).zip(unnamed).map(|(i, card)| (format!("eth{i}"), card));
        let named = self.interfaces.iter().map(|(name, card)| (name.clone(), *card));
        let node = self.node_number.0;
        unnamed
            .chain(named)
            .map(|(name, Interface { vlan, assign_ip })| NetworkCard {
                name,
                mac: format!("52:54:00:12:{vlan:02x}:{node:02x}"),
                vlan,
                address: assign_ip.then(|| format!("192.168.{vlan}.{node}")),
            })
            .collect()
    }
}

/// A network card in one of the machine's own networks.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NetworkCard {
    /// The guest's name of the card.
    pub name: String,
    /// It follows from the network's and the machine's number, as in NixOS's test driver.
    pub mac: String,
    /// The network.
    pub vlan: u64,
    /// The address that the guest gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl FileSystem {
    /// What is mounted, by NixOS's rules. Nothing if the entry does not say.
    pub fn source(&self) -> Option<String> {
        let by_label = || self.label.as_ref().map(|label| format!("/dev/disk/by-label/{label}"));
        let in_memory = || MEMORY_FILE_SYSTEMS.contains(&self.fs_type.as_str()).then(|| self.fs_type.clone());
        self.device.clone().or_else(by_label).or_else(in_memory)
    }
}

/// File systems without a device. NixOS names their source after their type.
const MEMORY_FILE_SYSTEMS: [&str; 6] = ["proc", "sysfs", "tmpfs", "ramfs", "devtmpfs", "devpts"];
