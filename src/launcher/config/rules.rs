//! Rules between options, and of QEMU, that a type does not express. Every broken rule is told.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::{
    BOOT_DRIVE, Config, DiskImage, ForwardPort, Positive, Problems, Protocol, ROOT_DRIVE, STORE_DRIVE, Side,
};
use crate::launcher::platform::Platform;

/// QEMU's limit for mount tags.
const TAG_MAX: usize = 31;
/// The guest's disks have the letters a to z, as in the module.
const DRIVES_MAX: usize = 26;
/// Networks and machines have a byte each in a MAC address.
const VLAN_MAX: u64 = 255;
/// 255 is the last byte of the broadcast address.
const NODE_MAX: u64 = 254;

/// Reports every rule that the options break.
pub fn check(config: &Config, problems: &mut Problems) {
    check_boot(config, problems);
    check_disks(config, problems);
    check_drives(config, problems);
    check_shared_directories(config, problems);
    check_file_systems(config, problems);
    check_words(config, problems);
    for (i, rule) in (1..).zip(&config.forward_ports) {
        check_forwarding(i, rule, problems);
    }
    check_cards(config, problems);
}

fn check_boot(config: &Config, problems: &mut Problems) {
    let no_toplevel = config.toplevel.is_none();
    let no_store_image = config.store_image.is_none() && config.registration.is_none();
    for (is_broken, option, what) in [
        (
            config.name.is_empty() || config.name.contains('/'),
            "name",
            "files are named after it, so it cannot be empty nor hold a slash",
        ),
        (
            config.boots_directly() && no_toplevel,
            "toplevel",
            "a direct boot needs the system's store path (or set useBootLoader)",
        ),
        (
            config.use_nix_store_image && no_store_image,
            "useNixStoreImage",
            "needs storeImage, an image made by `nix-imagegen store-image`, or registration to make it from",
        ),
        (
            config.use_boot_loader && config.boot_disk.is_none() && no_toplevel,
            "useBootLoader",
            "needs bootDisk, a disk made by `nix-imagegen boot-disk`, or toplevel to make it from",
        ),
        (
            config.direct_boot.initrd.is_some() && !config.boots_directly(),
            "directBoot.initrd",
            "is of no use without directBoot.enable",
        ),
        (
            config.use_bios_boot && config.system == Some(Platform::Aarch64),
            "useBIOSBoot",
            "an aarch64 machine has no BIOS; set useEFIBoot",
        ),
    ] {
        if is_broken {
            problems.add(option, what);
        }
    }
    if let Some(model) = config.tpm.device_model.as_deref().filter(|model| !is_qemu_name(model)) {
        problems.add("tpm.deviceModel", format_args!("{model:?} is not a device's name"));
    }
}

/// A name that cannot become another option of QEMU.
fn is_qemu_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

fn check_disks(config: &Config, problems: &mut Problems) {
    let mut check_size = |option: String, mib: Positive| {
        if mib.0.checked_mul(1 << 20).is_none() {
            problems.add(option, "is more than a disk can have");
        }
    };
    config.disk_size.iter().for_each(|mib| check_size("diskSize".to_owned(), *mib));
    for (i, mib) in (1..).zip(&config.empty_disk_images) {
        check_size(format!("emptyDiskImages.<entry {i}>"), *mib);
    }
    config.boot_device.iter().for_each(|device| need_absolute("bootDevice", device, problems));
}

fn need_absolute(option: &str, path: &str, problems: &mut Problems) {
    if !path.starts_with('/') {
        problems.add(option, format_args!("expected an absolute path, found {path:?}"));
    }
}

fn check_drives(config: &Config, problems: &mut Problems) {
    let mut own = Vec::new();
    let mut count = config.qemu.drives.len();
    if !config.lists_every_drive() {
        own.extend((config.disk_image != DiskImage::None).then_some(ROOT_DRIVE));
        own.extend(config.use_nix_store_image.then_some(STORE_DRIVE));
        own.extend(config.use_boot_loader.then_some(BOOT_DRIVE));
        count += own.len() + config.empty_disk_images.len();
    }
    if count > DRIVES_MAX {
        problems.add("qemu.drives", format_args!("a machine has at most {DRIVES_MAX} drives, not {count}"));
    }

    let mut names: BTreeSet<&str> = own.into_iter().collect();
    for (i, drive) in (1..).zip(&config.qemu.drives) {
        let at = |option: &str| format!("qemu.drives.<entry {i}>.{option}");
        if let Some(name) = drive.name.as_deref().filter(|name| !names.insert(name)) {
            problems.add(at("name"), format_args!("there is another drive named `{name}`"));
        }
        if drive.file.is_empty() {
            problems.add(at("file"), "a file name cannot be empty");
        }
        let drive_options = drive.drive_extra_opts.keys().map(|name| ("driveExtraOpts", name));
        let device_options = drive.device_extra_opts.keys().map(|name| ("deviceExtraOpts", name));
        for (option, name) in drive_options.chain(device_options).filter(|(_, name)| !is_qemu_name(name)) {
            problems.add(at(option), format_args!("{name:?} is not the name of an option of QEMU's"));
        }
    }
    for (needed, name) in [(config.use_nix_store_image, STORE_DRIVE), (config.use_boot_loader, BOOT_DRIVE)] {
        if needed && !names.contains(name) {
            let what = format_args!(
                "it has a drive named `{ROOT_DRIVE}`, so it is the whole list, but none named `{name}`"
            );
            problems.add("qemu.drives", what);
        }
    }
}

fn check_shared_directories(config: &Config, problems: &mut Problems) {
    for (tag, shared) in &config.shared_directories {
        let at = format!("sharedDirectories.{tag}");
        if tag.is_empty() || tag.len() > TAG_MAX {
            problems.add(&at, format_args!("the name is the mount tag, which has 1 to {TAG_MAX} bytes"));
        }
        need_absolute(&format!("{at}.target"), &shared.target, problems);
    }
}

fn check_file_systems(config: &Config, problems: &mut Problems) {
    for (point, file_system) in &config.file_systems {
        let at = format!("fileSystems.{point}");
        if !point.starts_with('/') {
            problems.add(&at, "the name is the mount point, which is an absolute path");
        }
        if file_system.source().is_none_or(|source| source.is_empty()) {
            problems.add(&at, "has neither a device nor a label");
        }
        // In fstab, the next column would replace an empty one.
        if file_system.fs_type.is_empty() {
            problems.add(format_args!("{at}.fsType"), "a file system's type cannot be empty");
        }
        for (i, _) in (1..).zip(&file_system.options).filter(|(_, option)| option.is_empty()) {
            problems.add(format_args!("{at}.options.<entry {i}>"), "a mount option cannot be empty");
        }
    }
}

/// Texts that become a part of the kernel's command line, and must not begin another parameter.
fn check_words(config: &Config, problems: &mut Problems) {
    let splits = |text: &str| text.is_empty() || text.contains(char::is_whitespace) || text.contains('"');
    for (i, _) in (1..).zip(config.qemu.consoles.iter().flatten()).filter(|(_, console)| splits(console)) {
        let what = "a kernel parameter is made of it, so it cannot be empty nor hold white space or quotes";
        problems.add(format_args!("qemu.consoles.<entry {i}>"), what);
    }
    let in_store = config.registration.as_deref().filter(|path| path.starts_with("/nix/store"));
    if in_store.is_some_and(|path| splits(&path.to_string_lossy())) {
        problems
            .add("registration", "the kernel's `regInfo` names it, so it cannot hold white space or quotes");
    }
}

fn check_forwarding(i: usize, rule: &ForwardPort, problems: &mut Problems) {
    let mut add = |option: &str, what: &str| {
        problems.add(format_args!("forwardPorts.<entry {i}>.{option}"), what);
    };
    let is_ipv4 = |text: &str| text.parse::<Ipv4Addr>().is_ok();
    let (host, guest) = (&rule.host, &rule.guest);
    let no_port = "nothing can be reached at port 0";
    match rule.from {
        Side::Guest => {
            if rule.proto != Protocol::Tcp {
                add("proto", "guest forwarding supports only TCP connections");
            }
            if !guest.address.starts_with("10.0.2.") || !is_ipv4(&guest.address) {
                add("guest.address", "the address must be in the default VLAN (10.0.2.0/24)");
            }
            // The name goes into a command line.
            let address = &host.address;
            let is_host = address.starts_with(|c: char| c.is_ascii_alphanumeric())
                && address.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
            if !is_host {
                add("host.address", &format!("expected the address to connect to, found {address:?}"));
            }
            if host.port == 0 {
                add("host.port", no_port);
            }
        }
        Side::Host => {
            for (option, address) in [("host.address", &host.address), ("guest.address", &guest.address)] {
                if !address.is_empty() && !is_ipv4(address) {
                    add(option, &format!("expected an IPv4 address, found {address:?}"));
                }
            }
        }
    }
    if guest.port == 0 {
        add("guest.port", no_port);
    }
}

fn check_cards(config: &Config, problems: &mut Problems) {
    let unnamed = (1..).zip(&config.vlans).map(|(i, vlan)| (format!("vlans.<entry {i}>"), *vlan));
    let named = config.interfaces.iter().map(|(name, card)| (format!("interfaces.{name}.vlan"), card.vlan));
    for (option, vlan) in unnamed.chain(named).filter(|(_, vlan)| *vlan > VLAN_MAX) {
        problems.add(option, format_args!("networks have the numbers 0 to {VLAN_MAX}, not {vlan}"));
    }
    if config.node_number.0 > NODE_MAX {
        problems.add("nodeNumber", format_args!("machines have the numbers 1 to {NODE_MAX}"));
    }
}
