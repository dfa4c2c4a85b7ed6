//! The guest's half of a machine as data: the file systems, initrd and kernel parameters that it needs, whatever its init
//! is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::config::{
    BOOT_DRIVE, Config, DiskImage, DiskInterface, FileSystem, NetworkCard, Resolution, STORE_DRIVE, STORE_TAG,
};
use super::platform::Platform;
use super::{drives, plan, shared_directories};

/// The read-only store, if a writable layer lies over it.
const READ_ONLY_STORE: &str = "/nix/.ro-store";
const READ_WRITE_STORE: &str = "/nix/.rw-store";
const STORE: &str = "/nix/store";
const UPPER_DIRECTORY: &str = "/nix/.rw-store/store";
const WORK_DIRECTORY: &str = "/nix/.rw-store/work";

/// What nixpkgs' module for guests of QEMU puts into every initrd: available modules, and modules to load.
const AVAILABLE_MODULES: [&str; 7] =
    ["virtio_net", "virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "9p", "9pnet_virtio"];
const MODULES: [&str; 3] = ["virtio_balloon", "virtio_console", "virtio_rng"];

/// NixOS's initrd mounts these whatever the options say.
const NEEDED_FOR_BOOT: [&str; 8] =
    ["/nix", "/nix/store", "/var", "/var/log", "/var/lib", "/var/lib/nixos", "/etc", "/usr"];

/// The guest's half.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Guest {
    /// Nix's name of the platform.
    system: &'static str,
    /// In the order in which they are mounted.
    mounts: Vec<Mount>,
    /// Made in the guest's root before the overlay is mounted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overlay_directories: Vec<&'static str>,
    initrd: Initrd,
    /// What the kernel's command line has to have besides the system's own parameters.
    kernel_params: Vec<String>,
    /// Whether QEMU passes them (in a direct boot), or the boot loader has to.
    kernel_params_by_qemu: bool,
    /// The disk for GRUB, as `boot.loader.grub.device`.
    boot_loader_device: String,
    /// The disk to put an ext4 file system on where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    format_if_blank: Option<Format>,
    /// Network cards besides the user network's.
    interfaces: Vec<NetworkCard>,
    /// The display.
    resolution: Resolution,
    guest_agent: bool,
    /// Off if a shared directory has the certificates.
    install_certificates: bool,
    /// Store paths that the guest's store has to have.
    additional_paths: Vec<String>,
}

/// A file system, with the fields of fstab(5) and NixOS's `fileSystems`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Mount {
    mount_point: String,
    device: String,
    fs_type: String,
    options: Vec<String>,
    /// The initrd mounts it.
    needed_for_boot: bool,
    /// It is not checked first.
    no_check: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Initrd {
    /// The initrd must have them.
    available_kernel_modules: Vec<&'static str>,
    /// The initrd must load them.
    kernel_modules: Vec<&'static str>,
    /// The parameters with which modules must be loaded, by module, as modprobe.d(5) has them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    kernel_module_options: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Format {
    device: String,
    fs_type: &'static str,
}

/// The guest's half of a machine.
pub fn guest(config: &Config, platform: Platform) -> Guest {
    let root_device = config.boot_device.clone().unwrap_or_else(|| drives::device_by_index(config, 0));
    let has_root_disk = config.disk_image != DiskImage::None;
    let direct = config.toplevel.as_ref().filter(|_| config.boots_directly());
    let registration = config.registration.as_deref().filter(|_| direct.is_some());
    let registration = registration.and_then(|path| plan::registration_in_guest(config, path));
    let init = direct.map(|toplevel| format!("init={toplevel}/init"));
    let registration = registration.map(|path| format!("regInfo={}", path.display()));
    let kernel_params = init.into_iter().chain(registration).chain(plan::consoles(config, platform));
    let has_layer = has_layer(config);
    let overlay_directories =
        [UPPER_DIRECTORY, WORK_DIRECTORY, STORE].into_iter().filter(|_| has_layer).collect();
    Guest {
        system: platform.name(),
        mounts: mounts(config, &root_device),
        overlay_directories,
        initrd: initrd(config),
        kernel_params: kernel_params.collect(),
        kernel_params_by_qemu: direct.is_some(),
        boot_loader_device: boot_device(config).unwrap_or_else(|| root_device.clone()),
        format_if_blank: has_root_disk.then_some(Format { device: root_device, fs_type: "ext4" }),
        interfaces: config.network_cards(),
        resolution: config.resolution,
        guest_agent: config.qemu.guest_agent.enable,
        install_certificates: !config.use_host_certs,
        additional_paths: config.additional_paths.clone(),
    }
}

/// A writable layer lies over the store, however the store comes.
fn has_layer(config: &Config) -> bool {
    let has_store = config.use_nix_store_image || shared_directories::all(config).contains_key(STORE_TAG);
    config.writable_store && has_store
}

fn initrd(config: &Config) -> Initrd {
    let mut available: Vec<_> = AVAILABLE_MODULES.into();
    available.extend(config.writable_store.then_some("overlay"));
    let mut options = BTreeMap::new();
    if config.qemu.disk_interface == DiskInterface::Scsi {
        // The disks' driver comes first, and the controllers are searched one after another. By default Linux searches
        // all at once, and the disks' letters are random.
        available.extend(["sd_mod", "sym53c8xx"]);
        options.insert("scsi_mod", "scan=sync");
    }
    available.extend(config.tpm.enable.then_some("tpm_tis"));
    Initrd {
        available_kernel_modules: available,
        kernel_modules: MODULES.into(),
        kernel_module_options: options,
    }
}

fn boot_device(config: &Config) -> Option<String> {
    config.use_boot_loader.then(|| drives::device(config, BOOT_DRIVE)).flatten()
}

fn mounts(config: &Config, root_device: &str) -> Vec<Mount> {
    let read_only_store = if config.writable_store { READ_ONLY_STORE } else { STORE };
    let in_memory = |point| Mount::new(point, "tmpfs", "tmpfs", &["mode=0755"]);
    let has_root_disk = config.disk_image != DiskImage::None;
    let on_disk = || Mount::new("/", root_device, "ext4", &[]);
    let mut mounts = vec![if has_root_disk { on_disk() } else { in_memory("/") }];
    if config.use_nix_store_image {
        let device = drives::device(config, STORE_DRIVE).unwrap_or_default();
        mounts.push(Mount::new(read_only_store, &device, "ext4", &["ro"]));
    }
    let msize = format!("msize={}", config.msize.0);
    for (tag, directory) in shared_directories::all(config) {
        let is_store = tag == STORE_TAG;
        let mount_point = if is_store && config.writable_store { READ_ONLY_STORE } else { &directory.target };
        let mut mount = Mount::new(mount_point, &tag, "9p", &["trans=virtio", "version=9p2000.L", &msize]);
        mount.options.extend(is_store.then(|| "cache=loose".to_owned()));
        mounts.push(mount);
    }
    if has_layer(config) {
        mounts.extend(config.writable_store_use_tmpfs.then(|| in_memory(READ_WRITE_STORE)));
        let directories =
            [("lowerdir", READ_ONLY_STORE), ("upperdir", UPPER_DIRECTORY), ("workdir", WORK_DIRECTORY)];
        let options = directories.map(|(option, directory)| format!("{option}={directory}"));
        mounts.push(Mount::new(STORE, "overlay", "overlay", &options.each_ref().map(String::as_str)));
    }
    if let Some(device) = boot_device(config) {
        // The partition with the EFI system is the boot disk's second.
        let boot = Mount::new("/boot", &format!("{device}2"), "vfat", &[]);
        mounts.push(Mount { needed_for_boot: false, no_check: true, ..boot });
    }
    let is_taken = |point: &str| mounts.iter().any(|mount| mount.mount_point == point);
    let more = config.file_systems.iter().filter(|(point, _)| !is_taken(point)).map(own_mount);
    mounts.extend(more.collect::<Vec<_>>());
    // A mount point may lie below another one. Mount points of one depth stay in order.
    mounts.sort_by_key(|mount| (!mount.needed_for_boot, Path::new(&mount.mount_point).components().count()));
    mounts
}

/// A file system that the config adds.
fn own_mount((point, own): (&String, &FileSystem)) -> Mount {
    let options: Vec<&str> = own.options.iter().map(String::as_str).collect();
    // The rules have checked that it has a source.
    let mut mount = Mount::new(point, &own.source().unwrap_or_default(), &own.fs_type, &options);
    mount.needed_for_boot = own.needed_for_boot || NEEDED_FOR_BOOT.contains(&point.as_str());
    mount.no_check = own.no_check;
    mount
}

impl Mount {
    fn new(mount_point: &str, device: &str, fs_type: &str, options: &[&str]) -> Self {
        Self {
            mount_point: mount_point.to_owned(),
            device: device.to_owned(),
            fs_type: fs_type.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            needed_for_boot: true,
            no_check: false,
        }
    }
}

impl Guest {
    /// The mounts as fstab(5) has them, and the rest in comments, for people to read.
    pub fn fstab(&self) -> String {
        let mut text = String::from("# device mount-point type options dump pass\n");
        for mount in &self.mounts {
            let options = mount.options.join(",");
            let options = if options.is_empty() { "defaults" } else { &options };
            let pass = u8::from(!mount.no_check && mount.fs_type == "ext4");
            let columns = [&mount.device, &mount.mount_point, &mount.fs_type, options].map(octal).join(" ");
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{columns} 0 {pass}");
        }
        if let Some(format) = &self.format_if_blank {
            let _ = writeln!(text, "# {} on {} if it is blank", format.fs_type, format.device);
        }
        let _ = writeln!(text, "# modules: {}", self.initrd.available_kernel_modules.join(" "));
        let _ = writeln!(text, "# modules to load: {}", self.initrd.kernel_modules.join(" "));
        for (module, options) in &self.initrd.kernel_module_options {
            let _ = writeln!(text, "# options of module {module}: {options}");
        }
        let by = if self.kernel_params_by_qemu { "QEMU" } else { "the boot loader" };
        let _ = writeln!(text, "# kernel parameters, passed by {by}: {}", self.kernel_params.join(" "));
        for NetworkCard { name, mac, vlan, address } in &self.interfaces {
            let address = address.as_deref().unwrap_or("no address");
            let _ = writeln!(text, "# interface {name} in network {vlan}: {mac}, {address}");
        }
        text
    }
}

/// Escapes white space and backslashes as fstab(5) wants them, and a `#` that would begin a comment.
fn octal(text: &str) -> String {
    (0..)
        .zip(text.chars())
        .map(|(i, c)| match c {
            ' ' | '\t' | '\n' | '\r' | '\\' => format!("\\{:03o}", u32::from(c)),
            '#' if i == 0 => "\\043".to_owned(),
            c => c.to_string(),
        })
        .collect()
}
