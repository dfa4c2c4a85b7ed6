//! Rules between options, and of QEMU, that a type does not express. All that are broken are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{BOOT_DRIVE, Config, DiskImage, ForwardPort, Problems, Protocol, ROOT_DRIVE, STORE_DRIVE, Side};
use crate::launcher::platform::Platform;

/// QEMU's limit for mount tags.
const TAG_MAX: usize = 31;
/// The guest's disks have the letters a to z, as in the module.
const DRIVES_MAX: usize = 26;
/// Networks and machines have a byte each in a MAC address.
const VLAN_MAX: u64 = 255;
/// The largest last number of an address that is not the broadcast address.
const NODE_MAX: u64 = 254;

/// Keeps every rule that the options break.
pub fn check(config: &Config, problems: &mut Problems) {
    check_name(config, problems);
    check_boot(config, problems);
    check_disks(config, problems);
    check_drives(config, problems);
    check_shares(config, problems);
    check_file_systems(config, problems);
    check_words(config, problems);
    for (i, rule) in (1..).zip(&config.forward_ports) {
        check_forwarding(i, rule, problems);
    }
    check_cards(config, problems);
}

fn check_name(config: &Config, problems: &mut Problems) {
    if config.name.is_empty() || config.name.contains('/') {
        problems.add("name", "files are named after it, so it cannot be empty nor hold a slash");
    }
}

fn check_boot(config: &Config, problems: &mut Problems) {
    if config.boots_directly() && config.toplevel.is_none() {
        problems.add("toplevel", "a direct boot needs the system's store path (or set useBootLoader)");
    }
    if config.use_nix_store_image && config.store_image.is_none() && config.registration.is_none() {
        problems.add(
            "useNixStoreImage",
            "needs storeImage, an image made by `nix-imagegen store-image`, or registration to make it from",
        );
    }
    if config.use_boot_loader && config.boot_disk.is_none() && config.toplevel.is_none() {
        problems.add(
            "useBootLoader",
            "needs bootDisk, a disk made by `nix-imagegen boot-disk`, or toplevel to make it from",
        );
    }
    if config.direct_boot.initrd.is_some() && !config.boots_directly() {
        problems.add("directBoot.initrd", "is of no use without directBoot.enable");
    }
    if config.use_bios_boot && config.system == Some(Platform::Aarch64) {
        problems.add("useBIOSBoot", "an aarch64 machine has no BIOS; set useEFIBoot");
    }
    let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if let Some(model) =
        config.tpm.device_model.as_deref().filter(|model| model.is_empty() || !is_word(model))
    {
        problems.add("tpm.deviceModel", format_args!("{model:?} is not a device's name"));
    }
}

fn check_disks(config: &Config, problems: &mut Problems) {
    let is_too_large = |mib: u64| mib.checked_mul(1 << 20).is_none();
    if config.disk_size.is_some_and(is_too_large) {
        problems.add("diskSize", "is more than a disk can have");
    }
    for (i, _) in (1..).zip(&config.empty_disk_images).filter(|(_, mib)| is_too_large(**mib)) {
        problems.add(&format!("emptyDiskImages.<entry {i}>"), "is more than a disk can have");
    }
    if let Some(device) = config.boot_device.as_deref().filter(|device| !device.starts_with('/')) {
        problems.add("bootDevice", format_args!("expected an absolute path, found {device:?}"));
    }
}

fn check_drives(config: &Config, problems: &mut Problems) {
    let mut own = Vec::new();
    if !config.lists_every_drive() {
        own.extend((config.disk_image != DiskImage::None).then_some(ROOT_DRIVE));
        own.extend(config.use_nix_store_image.then_some(STORE_DRIVE));
        own.extend(config.use_boot_loader.then_some(BOOT_DRIVE));
    }
    let count = own.len() + config.qemu.drives.len();
    let count = if config.lists_every_drive() { count } else { count + config.empty_disk_images.len() };
    if count > DRIVES_MAX {
        problems.add("qemu.drives", format_args!("a machine has at most {DRIVES_MAX} drives, not {count}"));
    }

    let mut names: BTreeSet<&str> = own.into_iter().collect();
    for (i, drive) in (1..).zip(&config.qemu.drives) {
        let at = |option: &str| format!("qemu.drives.<entry {i}>.{option}");
        if let Some(name) = drive.name.as_deref().filter(|name| !names.insert(name)) {
            problems.add(&at("name"), format_args!("there is another drive named `{name}`"));
        }
        if drive.file.is_empty() {
            problems.add(&at("file"), "a file name cannot be empty");
        }
        check_option_names(&at("driveExtraOpts"), &drive.drive_extra_opts, problems);
        check_option_names(&at("deviceExtraOpts"), &drive.device_extra_opts, problems);
    }
    for (needed, name) in [(config.use_nix_store_image, STORE_DRIVE), (config.use_boot_loader, BOOT_DRIVE)] {
        if needed && !names.contains(name) {
            problems.add(
                "qemu.drives",
                format_args!(
                    "it has a drive named `{ROOT_DRIVE}`, so it is the whole list, but none named `{name}`"
                ),
            );
        }
    }
}

fn check_option_names(at: &str, options: &BTreeMap<String, String>, problems: &mut Problems) {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    for name in options.keys().filter(|name| !is_name(name)) {
        problems.add(at, format_args!("{name:?} is not the name of an option of QEMU's"));
    }
}

fn check_shares(config: &Config, problems: &mut Problems) {
    for (tag, share) in &config.shared_directories {
        let at = format!("sharedDirectories.{tag}");
        if tag.is_empty() || tag.len() > TAG_MAX {
            problems.add(&at, format_args!("the name is the mount tag, which has 1 to {TAG_MAX} bytes"));
        }
        if !share.target.starts_with('/') {
            problems.add(
                &format!("{at}.target"),
                format_args!("expected an absolute path, found {:?}", share.target),
            );
        }
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
        // In fstab an empty one would let the next column take its place.
        if file_system.fs_type.is_empty() {
            problems.add(&format!("{at}.fsType"), "a file system's type cannot be empty");
        }
        for (i, option) in (1..).zip(&file_system.options) {
            if option.is_empty() {
                problems.add(&format!("{at}.options.<entry {i}>"), "a mount option cannot be empty");
            }
        }
    }
}

/// Texts that become a part of the kernel's command line or of one of QEMU's arguments, and would begin another.
fn check_words(config: &Config, problems: &mut Problems) {
    let splits = |text: &str| text.is_empty() || text.contains(char::is_whitespace) || text.contains('"');
    for (i, console) in (1..).zip(config.qemu.consoles.iter().flatten()) {
        if splits(console) {
            let what =
                "a kernel parameter is made of it, so it cannot be empty nor hold white space or quotes";
            problems.add(&format!("qemu.consoles.<entry {i}>"), what);
        }
    }
    let in_store = config.registration.as_deref().filter(|path| path.starts_with("/nix/store"));
    if in_store.is_some_and(|path| splits(&path.to_string_lossy())) {
        problems
            .add("registration", "the kernel's `regInfo` names it, so it cannot hold white space or quotes");
    }
}

fn check_forwarding(i: usize, rule: &ForwardPort, problems: &mut Problems) {
    let at = |option: &str| format!("forwardPorts.<entry {i}>.{option}");
    let is_ipv4 = |text: &str| text.parse::<Ipv4Addr>().is_ok();
    let (host, guest) = (&rule.host, &rule.guest);
    match rule.from {
        Side::Guest => {
            if rule.proto != Protocol::Tcp {
                problems.add(&at("proto"), "guest forwarding supports only TCP connections");
            }
            if !guest.address.starts_with("10.0.2.") || !is_ipv4(&guest.address) {
                problems.add(&at("guest.address"), "the address must be in the default VLAN (10.0.2.0/24)");
            }
            // The name goes into a command line.
            let is_host = |text: &str| {
                text.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
            };
            if !is_host(&host.address) {
                problems.add(
                    &at("host.address"),
                    format_args!("expected the address to connect to, found {:?}", host.address),
                );
            }
            if host.port == 0 {
                problems.add(&at("host.port"), "nothing can be reached at port 0");
            }
        }
        Side::Host => {
            for (option, address) in [("host.address", &host.address), ("guest.address", &guest.address)] {
                if !address.is_empty() && !is_ipv4(address) {
                    problems.add(&at(option), format_args!("expected an IPv4 address, found {address:?}"));
                }
            }
        }
    }
    if guest.port == 0 {
        problems.add(&at("guest.port"), "nothing can be reached at port 0");
    }
}

fn check_cards(config: &Config, problems: &mut Problems) {
    let is_too_large = |vlan: u64| vlan > VLAN_MAX;
    for (i, vlan) in (1..).zip(&config.vlans).filter(|(_, vlan)| is_too_large(**vlan)) {
        let what = format!("networks have the numbers 0 to {VLAN_MAX}, not {vlan}");
        problems.add(&format!("vlans.<entry {i}>"), what);
    }
    for (name, card) in config.interfaces.iter().filter(|(_, card)| is_too_large(card.vlan)) {
        let what = format!("networks have the numbers 0 to {VLAN_MAX}, not {}", card.vlan);
        problems.add(&format!("interfaces.{name}.vlan"), what);
    }
    if config.node_number > NODE_MAX {
        problems.add("nodeNumber", format_args!("machines have the numbers 1 to {NODE_MAX}"));
    }
}
