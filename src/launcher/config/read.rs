//! From a file to options: names, types and defaults.

use std::path::Path;

use anyhow::Context;
use imagegen::units::ByteCount;
use serde_json::Value;

use super::reader::{Positive, Problems, Read, Script, Table, one_of};
use super::{
    Config, DirectBoot, DiskImage, DiskInterface, Drive, Efi, Endpoint, FileSystem, ForwardPort, Interface,
    Protocol, Qemu, Resolution, SecurityModel, SharedDirectory, Side, Tpm, rules,
};
use crate::input;
use crate::launcher::platform::Platform;

/// More than any config has.
const LENGTH_MAX: ByteCount = ByteCount(64 << 20);
/// `vmTools.default9PMsizeBytes` of nixpkgs at the end of 2021 (its pull request 146783).
const MSIZE: u64 = 128 << 10;

impl Config {
    /// Reads a config file: JSON where its name ends in `.json`, TOML otherwise. Only a file that cannot be read or
    /// parsed is an error by itself; all else that is wrong goes to the problems, with a default in its place.
    pub fn read(file: &Path, problems: &mut Problems) -> anyhow::Result<Self> {
        let shown = file.display();
        let text = input::read_text(file, LENGTH_MAX).context("cannot read the config")?;
        let value = if file.extension().is_some_and(|extension| extension == "json") {
            serde_json::from_str(&text).with_context(|| format!("`{shown}` is not JSON"))?
        } else {
            // The parser's own message has several lines with a picture of the place.
            toml::from_str(&text).map_err(|error| {
                let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
                anyhow::anyhow!("`{shown}`, line {line}: {}", error.message().replace('\n', ", "))
            })?
        };
        Ok(Self::from_value(value, problems))
    }

    /// Says what is wrong with a config file, all at once, without looking at anything else.
    pub fn check(file: &Path) -> anyhow::Result<()> {
        let mut problems = Problems::default();
        Self::read(file, &mut problems)?;
        problems.into_error().with_context(|| format!("cannot run `{}`", file.display()))
    }

    /// Reads the options and checks the rules between them.
    pub fn from_value(value: Value, problems: &mut Problems) -> Self {
        let config = options(Table::open(value, "", problems));
        rules::check(&config, problems);
        config
    }
}

fn options(mut table: Table<'_>) -> Config {
    let table = &mut table;
    let flag = |table: &mut Table<'_>, name, default| table.take(name).unwrap_or(default);
    let positive = |table: &mut Table<'_>, name, default| table.take(name).map_or(default, |Positive(n)| n);
    // The module's older name for the same.
    let mut additional_paths: Vec<String> = table.take("additionalPaths").unwrap_or_default();
    additional_paths.extend(table.take::<Vec<String>>("pathsInNixDB").unwrap_or_default());
    Config {
        name: table.take("name").unwrap_or_else(|| "nixos".to_owned()),
        system: table.take("system"),
        memory_size: positive(table, "memorySize", 384),
        msize: positive(table, "msize", MSIZE),
        disk_size: table
            .take::<Option<Positive>>("diskSize")
            .map_or(Some(1024), |size| size.map(|size| size.0)),
        disk_image: table.take("diskImage").unwrap_or(DiskImage::ByName),
        boot_device: table.take("bootDevice"),
        empty_disk_images: table
            .take::<Vec<Positive>>("emptyDiskImages")
            .map_or_else(Vec::new, |sizes| sizes.into_iter().map(|size| size.0).collect()),
        graphics: flag(table, "graphics", true),
        resolution: resolution(table.table("resolution")),
        cores: positive(table, "cores", 1),
        shared_directories: table.take("sharedDirectories").unwrap_or_default(),
        file_systems: table.take("fileSystems").unwrap_or_default(),
        additional_paths,
        forward_ports: table.take("forwardPorts").unwrap_or_default(),
        restrict_network: flag(table, "restrictNetwork", false),
        vlans: table.take("vlans").unwrap_or_default(),
        interfaces: table.take("interfaces").unwrap_or_default(),
        node_number: positive(table, "nodeNumber", 1),
        writable_store: flag(table, "writableStore", true),
        writable_store_use_tmpfs: flag(table, "writableStoreUseTmpfs", true),
        qemu: qemu(table.table("qemu")),
        use_nix_store_image: flag(table, "useNixStoreImage", false),
        mount_host_nix_store: table.take("mountHostNixStore"),
        use_boot_loader: flag(table, "useBootLoader", false),
        use_bios_boot: flag(table, "useBIOSBoot", false),
        use_efi_boot: flag(table, "useEFIBoot", false),
        efi: efi(table.table("efi")),
        efi_vars: table.take("efiVars"),
        bios: table.take("bios").flatten(),
        direct_boot: direct_boot(table.table("directBoot")),
        tpm: tpm(table.table("tpm")),
        use_host_certs: flag(table, "useHostCerts", false),
        store_image: table.take("storeImage").flatten(),
        boot_disk: table.take("bootDisk").flatten(),
        toplevel: table.take("toplevel").flatten(),
        registration: table.take("registration").flatten(),
    }
}

fn resolution(mut table: Table<'_>) -> Resolution {
    let side = |table: &mut Table<'_>, name, default| table.take(name).map_or(default, |Positive(n)| n);
    Resolution { x: side(&mut table, "x", 1024), y: side(&mut table, "y", 768) }
}

fn efi(mut table: Table<'_>) -> Efi {
    Efi {
        firmware: table.take("firmware").flatten(),
        variables: table.take("variables").flatten(),
        keep_variables: table.take("keepVariables"),
    }
}

fn direct_boot(mut table: Table<'_>) -> DirectBoot {
    DirectBoot { enable: table.take("enable"), initrd: table.take("initrd").flatten() }
}

fn tpm(mut table: Table<'_>) -> Tpm {
    Tpm {
        enable: table.take("enable").unwrap_or(false),
        package: table.take("package").flatten(),
        device_model: table.take("deviceModel"),
    }
}

fn qemu(mut table: Table<'_>) -> Qemu {
    let guest_agent = table.table("guestAgent").take("enable").unwrap_or(true);
    Qemu {
        package: table.take("package").flatten(),
        options: table.take::<Vec<Script>>("options").map_or_else(Vec::new, texts),
        consoles: table.take("consoles"),
        networking_options: table.take::<Vec<Script>>("networkingOptions").map(texts),
        drives: table.take("drives").unwrap_or_default(),
        disk_interface: table.take("diskInterface").unwrap_or(DiskInterface::Virtio),
        guest_agent,
        virtio_keyboard: table.take("virtioKeyboard").unwrap_or(false),
    }
}

fn texts(scripts: Vec<Script>) -> Vec<String> {
    scripts.into_iter().map(|Script(text)| text).collect()
}

impl Read for DiskImage {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        match value {
            // TOML has no null.
            Value::Null | Value::Bool(false) => Some(Self::None),
            Value::String(_) => Read::read(value, at, problems).map(Self::File),
            other => {
                problems
                    .add(at, format_args!("expected a file name, or null or false for none, found {other}"));
                None
            }
        }
    }
}

impl Read for Platform {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        one_of(&Self::NAMES, &value, at, problems)
    }
}

impl Read for SecurityModel {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        one_of(&Self::NAMES, &value, at, problems)
    }
}

impl Read for Side {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        one_of(&[("host", Self::Host), ("guest", Self::Guest)], &value, at, problems)
    }
}

impl Read for Protocol {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        one_of(&[("tcp", Self::Tcp), ("udp", Self::Udp)], &value, at, problems)
    }
}

impl Read for DiskInterface {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let names = [("virtio", Self::Virtio), ("scsi", Self::Scsi), ("ide", Self::Ide)];
        one_of(&names, &value, at, problems)
    }
}

impl Read for SharedDirectory {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let mut table = Table::open(value, at, problems);
        let source = table.require("source", String::from("/"));
        let target = table.require("target", String::from("/"));
        let security_model = table.take("securityModel").unwrap_or(SecurityModel::None);
        Some(Self { source, target, security_model })
    }
}

/// What NixOS's evaluated file systems have besides: the entry's name once more, and what its own initrd does.
const OF_NIXOS_ALONE: [&str; 9] = [
    "mountPoint",
    "enable",
    "depends",
    "autoFormat",
    "autoResize",
    "formatOptions",
    "encrypted",
    "overlay",
    "stratis",
];

impl Read for FileSystem {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let mut table = Table::open(value, at, problems);
        let nullable = |table: &mut Table<'_>, name| table.take::<Option<String>>(name).flatten();
        table.pass_over(&OF_NIXOS_ALONE);
        Some(Self {
            device: nullable(&mut table, "device"),
            label: nullable(&mut table, "label"),
            fs_type: table.take("fsType").unwrap_or_else(|| "auto".to_owned()),
            options: table.take("options").unwrap_or_default(),
            needed_for_boot: table.take("neededForBoot").unwrap_or(false),
            no_check: table.take("noCheck").unwrap_or(false),
        })
    }
}

impl Read for ForwardPort {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let mut table = Table::open(value, at, problems);
        let from = table.take("from").unwrap_or(Side::Host);
        let proto = table.take("proto").unwrap_or(Protocol::Tcp);
        let host = endpoint(table.table("host"));
        let guest = endpoint(table.table("guest"));
        Some(Self { from, proto, host, guest })
    }
}

fn endpoint(mut table: Table<'_>) -> Endpoint {
    let address = table.take("address").unwrap_or_default();
    let port = table.require("port", 1);
    Endpoint { address, port }
}

impl Read for Interface {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let mut table = Table::open(value, at, problems);
        let vlan = table.require("vlan", 0);
        let assign_ip = table.take("assignIP").unwrap_or(false);
        Some(Self { vlan, assign_ip })
    }
}

impl Read for Drive {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let mut table = Table::open(value, at, problems);
        let file = table.require("file", String::from("/"));
        let drive = Self {
            name: table.take("name").flatten(),
            file,
            drive_extra_opts: table.take("driveExtraOpts").unwrap_or_default(),
            device_extra_opts: table.take("deviceExtraOpts").unwrap_or_default(),
        };
        // The module's evaluated list has the guest's name of the disk, which follows from the order.
        let _: Option<String> = table.take("device");
        Some(drive)
    }
}

/// Every option, for the documentation's test.
#[cfg(test)]
pub fn every_option() -> Vec<String> {
    let mut problems = Problems::default();
    let _ = options(Table::open(serde_json::json!({}), "", &mut problems));
    problems.known_options()
}
