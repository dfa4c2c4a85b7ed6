//! `-drive` and `-device` for every disk, and the images behind them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::config::{BOOT_DRIVE, Config, DiskImage, DiskInterface, Drive, Problems, ROOT_DRIVE, STORE_DRIVE};
use super::host::Machine;
use super::image_cache::Image;
use super::new_file::NewFile;
use super::{qemu, shell};

/// The disks of a machine.
pub struct Drives {
    /// QEMU's arguments for them.
    pub arguments: Vec<OsString>,
    /// Made before the temporary directory, as in the script.
    pub before_directory: Vec<NewFile>,
    /// Made in the temporary directory.
    pub files: Vec<NewFile>,
    /// Images that are not made for this machine, with the options that name them.
    pub images: Vec<(String, PathBuf)>,
}

/// Plans all drives. The guest names them by their order: the root disk, the store image, the boot disk,
/// empty disks, then the config's own.
pub fn plan(machine: &Machine<'_>, problems: &mut Problems) -> Drives {
    let Machine { config, host, .. } = machine;
    let mut arguments = Vec::new();
    // Images of the cache need no check: this program made them, and makes damaged ones anew.
    let named = [
        ("diskImage", host.root_disk.as_deref()),
        ("storeImage", host.store_image.as_ref().and_then(Image::path_of_config)),
        ("bootDisk", host.boot_disk.as_ref().and_then(Image::path_of_config)),
    ];
    let named = named.map(|(option, image)| Some((option.to_owned(), image?.to_owned())));
    let mut images: Vec<_> = named.into_iter().flatten().collect();
    let interface = config.qemu.disk_interface;
    for (number, (option, drive)) in (1..).zip(all(config)) {
        match shell::word(&drive.file, machine) {
            Ok(file) => {
                let image = host.directory.join(&file);
                if images.iter().all(|(_, named)| *named != image) {
                    images.push((option, image));
                }
                arguments.extend(drive_arguments(number, &drive, file, interface));
            }
            Err(error) => problems.add(&option, format_args!("`{}`: {error}", drive.file)),
        }
    }

    let root = host.root_disk.as_ref().zip(config.disk_size);
    let before_directory =
        root.map(|(path, mib)| NewFile::EmptyDisk { path: path.clone(), mib: mib.0 }).into_iter().collect();
    let layers = [(&host.store_image, STORE_LAYER), (&host.boot_disk, BOOT_LAYER)];
    let layers = layers.map(|(image, name)| {
        let backing = image.as_ref()?.path.clone();
        Some(NewFile::Overlay { path: host.directory.join(name), backing })
    });
    let empty = (0..)
        .zip(&config.empty_disk_images)
        .map(|(i, &mib)| NewFile::EmptyDisk { path: host.directory.join(empty_disk(i)), mib: mib.0 });
    let files: Vec<_> = layers.into_iter().flatten().chain(empty).collect();
    images.retain(|(_, image)| !files.iter().any(|file| file.path() == image));
    Drives { arguments, before_directory, files, images }
}

/// The layer over the store image, in the temporary directory.
const STORE_LAYER: &str = "store.img";
/// The layer over the boot disk.
const BOOT_LAYER: &str = "disk.img";

fn empty_disk(i: usize) -> String {
    format!("empty{i}.qcow2")
}

/// Every drive in order, with the name of the option that its file comes from.
fn all(config: &Config) -> Vec<(String, Drive)> {
    let own = (1..).zip(&config.qemu.drives);
    let own = own.map(|(i, drive)| (format!("qemu.drives.<entry {i}>.file"), drive.clone()));
    if config.lists_every_drive() {
        return own.collect();
    }
    let temporary = |file: &str| format!("\"$TMPDIR\"/{file}");
    let drive = |name: Option<&str>, file: String, drive: &[(&str, &str)], device: &[(&str, &str)]| Drive {
        name: name.map(str::to_owned),
        file,
        drive_extra_opts: owned(drive),
        device_extra_opts: owned(device),
        _device: None,
    };
    let mut drives = Vec::new();
    if config.disk_image != DiskImage::None {
        let cautious = [("cache", "writeback"), ("werror", "report")];
        drives.push(drive(Some(ROOT_DRIVE), "\"$NIX_DISK_IMAGE\"".to_owned(), &cautious, &[]));
    }
    if config.use_nix_store_image {
        // QEMU tries a boot disk first.
        let bootindex = if config.use_boot_loader { "3" } else { "2" };
        drives.push(drive(Some(STORE_DRIVE), temporary(STORE_LAYER), &[], &[("bootindex", bootindex)]));
    }
    if config.use_boot_loader {
        let options = [("media", "disk")];
        drives.push(drive(Some(BOOT_DRIVE), temporary(BOOT_LAYER), &options, &[("bootindex", "1")]));
    }
    let empty = (0..config.empty_disk_images.len()).map(|i| temporary(&empty_disk(i)));
    drives.extend(empty.map(|file| drive(None, file, &[("werror", "report")], &[])));
    drives.into_iter().map(|drive| ("qemu.drives".to_owned(), drive)).chain(own).collect()
}

/// The guest's name of a drive.
pub fn device(config: &Config, name: &str) -> Option<String> {
    let index = all(config).iter().position(|(_, drive)| drive.name.as_deref() == Some(name))?;
    Some(device_by_index(config, index))
}

/// The guest's name of its drive with this number, from 0 on.
pub fn device_by_index(config: &Config, index: usize) -> String {
    let letter = ('a'..='z').nth(index).unwrap_or('z');
    match config.qemu.disk_interface {
        DiskInterface::Scsi => format!("/dev/sd{letter}"),
        DiskInterface::Virtio | DiskInterface::Ide => format!("/dev/vd{letter}"),
    }
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn drive_arguments(number: usize, drive: &Drive, file: OsString, interface: DiskInterface) -> Vec<OsString> {
    let id = OsString::from(format!("drive{number}"));
    let own =
        [("file", file), ("id", id.clone()), ("if", "none".into()), ("index", number.to_string().into())];
    // A later option replaces an earlier one of the same name, as in the module.
    let list = |extra: &BTreeMap<String, String>, own: &[(&'static str, OsString)]| {
        let extra = extra.iter().map(|(key, value)| (key.as_str(), value.into()));
        qemu::option_list(extra.chain(own.iter().cloned()))
    };
    let mut arguments = vec!["-drive".into(), list(&drive.drive_extra_opts, &own)];
    let device = match interface {
        DiskInterface::Scsi => {
            arguments.extend(["-device".into(), "lsi53c895a".into()]);
            "scsi-hd,"
        }
        DiskInterface::Virtio | DiskInterface::Ide => "virtio-blk-pci,",
    };
    let options = list(&drive.device_extra_opts, &[("drive", id)]);
    arguments.extend(["-device".into(), qemu::concat(&[&device, &options])]);
    arguments
}
