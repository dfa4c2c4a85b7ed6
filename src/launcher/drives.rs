//! `-drive` and `-device` for every disk.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::config::{Config, DiskInterface, Drive};
use super::options;
use super::prepare::Files;

/// The arguments of all drives. Their order decides what the guest calls them: the root disk, the store image, the
/// boot disk, empty disks, then the config's own.
pub fn arguments(config: &Config, files: &Files) -> Vec<OsString> {
    let drives = all_drives(config, files);
    (1..)
        .zip(&drives)
        .flat_map(|(number, drive)| drive_arguments(number, drive, config.qemu.disk_interface))
        .collect()
}

fn all_drives(config: &Config, files: &Files) -> Vec<Drive> {
    let drive = |file: &PathBuf, drive: &[(&str, &str)], device: &[(&str, &str)]| Drive {
        name: None,
        file: file.clone(),
        drive_extra_opts: owned(drive),
        device_extra_opts: owned(device),
    };
    let mut drives = vec![drive(&files.root_disk, &[("cache", "writeback"), ("werror", "report")], &[])];
    if let Some(store) = &files.store_image {
        // A loader's disk is tried first.
        let bootindex = if config.use_boot_loader { "3" } else { "2" };
        drives.push(drive(store, &[], &[("bootindex", bootindex)]));
    }
    if let Some(boot) = &files.boot_disk {
        drives.push(drive(boot, &[("media", "disk")], &[("bootindex", "1")]));
    }
    drives.extend(files.empty_disks.iter().map(|empty| drive(empty, &[("werror", "report")], &[])));
    drives.extend(config.qemu.drives.iter().cloned());
    drives
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn drive_arguments(number: usize, drive: &Drive, interface: DiskInterface) -> Vec<OsString> {
    let id = format!("drive{number}");
    let extra = |opts: &'_ BTreeMap<String, String>| -> Vec<(String, OsString)> {
        opts.iter().map(|(key, value)| (key.clone(), value.into())).collect()
    };
    let drive_extra = extra(&drive.drive_extra_opts);
    let device_extra = extra(&drive.device_extra_opts);
    let own = [
        ("file", drive.file.clone().into_os_string()),
        ("id", id.clone().into()),
        ("if", "none".into()),
        ("index", number.to_string().into()),
    ];
    // What comes later replaces what came before, as in the module.
    let drive_options = drive_extra.iter().map(|(key, value)| (key.as_str(), value.clone())).chain(own);
    let device_options =
        device_extra.iter().map(|(key, value)| (key.as_str(), value.clone())).chain([("drive", id.into())]);
    let (controller, device) = match interface {
        DiskInterface::Scsi => (Some("lsi53c895a"), "scsi-hd,"),
        DiskInterface::Virtio | DiskInterface::Ide => (None, "virtio-blk-pci,"),
    };
    let mut arguments = vec!["-drive".into(), options(drive_options)];
    if let Some(controller) = controller {
        arguments.extend(["-device".into(), controller.into()]);
    }
    let mut device = OsString::from(device);
    device.push(options(device_options));
    arguments.extend(["-device".into(), device]);
    arguments
}
