//! The machine of an image that boots by itself: the options that a config would have, told by what is in the image.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use imagegen::boot::Architecture;
use imagegen::container::Format;
use imagegen::container::reader::{Backing, Image, ReadError};
use imagegen::firmware::efi_vars::{DevicePath, LoadOption};
use imagegen::reading::bootable::{BootCode, Bootable, EfiProgram, Role};
use imagegen::reading::probe::Contents;
use imagegen::text::shown;
use serde_json::json;

use super::config::{Config, DiskImage, Problems};
use super::platform::Platform;
use crate::derivation::product;

/// The machine's memory in MiB: what NixOS's module gives today.
const MEMORY: u64 = 1024;

/// What the user asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Which firmware, if not that which the image has something for.
    pub firmware: Option<Firmware>,
    /// The machine writes to the image itself.
    pub write: bool,
    /// A window shows the machine's screen.
    pub window: bool,
}

/// What starts a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// A PC's BIOS.
    Bios,
    /// UEFI's.
    Uefi,
}

/// A machine, and what was found out for it.
pub struct OfImage {
    /// Its options.
    pub config: Config,
    /// What firmware's variables have to say of its boot loader, if anything.
    pub entry: Option<LoadOption>,
    /// What starts it, what becomes of what it writes, and what to be warned of; to be told.
    pub told: Vec<String>,
}

/// Finds the options of the image's machine.
pub fn machine(path: &Path, wanted: Wanted, backing: &Backing) -> anyhow::Result<OfImage> {
    let path = &in_directory(path);
    let image = open(path, backing)?;
    let format = image.layers().first().map_or(Format::Raw, imagegen::container::reader::Layer::format);
    let bootable = Bootable::of(&image)?;
    let start = Start::choose(&bootable, wanted.firmware)?;
    if wanted.write {
        let opened = std::fs::File::options().write(true).open(path);
        opened.context("cannot write to it; without --write the machine writes to a layer over it")?;
    }
    let absolute = std::path::absolute(path)?;
    let mut told = vec![format!("{}: {}; {}", path.display(), start.told(), what_becomes(wanted.write))];
    told.extend(warnings(&bootable, &start, wanted));
    Ok(OfImage { config: start.config(&absolute, format, wanted)?, entry: start.entry()?, told })
}

/// The image in a derivation's output; any other path as it is.
fn in_directory(path: &Path) -> PathBuf {
    let images = [product::STORE_IMAGE, product::RAW_IMAGE, product::BOOT_DISK].map(|name| path.join(name));
    images.into_iter().find(|image| image.is_file()).unwrap_or_else(|| path.to_owned())
}

fn open(path: &Path, backing: &Backing) -> anyhow::Result<Image> {
    if path.extension().is_some_and(|extension| extension == "toml" || extension == "json") {
        bail!("a config is given as `--config {}`", path.display());
    }
    // Its links may lead into a store that is elsewhere.
    if ["init", "kernel"].iter().all(|name| path.join(name).symlink_metadata().is_ok()) {
        bail!(
            "it is a system, not a disk; make one of it: `nix-imagegen root-disk {} -o disk.qcow2`",
            path.display()
        );
    }
    Image::open(path, None, backing).map_err(|error| match error {
        // It has the command that converts it; what is said behind it elsewhere is not for a machine.
        ReadError::Foreign { .. } => anyhow!("{error}"),
        error => error.into(),
    })
}

/// What will keep the system from starting, or the user from seeing it.
fn warnings(bootable: &Bootable, start: &Start<'_>, wanted: Wanted) -> Vec<String> {
    let without_store = bootable.ext4.iter().filter(|found| found.role == Role::RootWithoutStore).map(|found| {
        let place = found.partition.map(|number| format!(" of partition {number}")).unwrap_or_default();
        format!(
            "warning: /nix/store{place} is empty, and the system needs its store image beside this disk; `root-disk \
             --with-store` puts the store on the disk itself"
        )
    });
    // ARM's firmware tells Linux which console there is.
    let is_pc = !matches!(start, Start::Efi(Platform::Aarch64, _));
    let is_silent = is_pc && !wanted.window && bootable.serial_console == Some(false);
    let silent = is_silent.then(|| {
        "warning: no boot entry has the kernel parameter console=ttyS0, so Linux says nothing here; `--kernel-param console=ttyS0` \
         of root-disk and boot-disk adds it, and --window shows the machine's screen"
            .to_owned()
    });
    without_store.chain(silent).collect()
}

const fn what_becomes(write: bool) -> &'static str {
    if write {
        "it writes to the image itself"
    } else {
        "what it writes is gone when it ends (--write keeps it in the image)"
    }
}

/// What starts the image.
#[derive(Debug)]
enum Start<'b> {
    Efi(Platform, &'b EfiProgram),
    Bios(BootCode),
}

impl<'b> Start<'b> {
    /// UEFI where there is a program for it, this machine's kind of processor before others; else a BIOS.
    fn choose(bootable: &'b Bootable, asked: Option<Firmware>) -> anyhow::Result<Self> {
        let programs = bootable.efi.iter().filter_map(|program| Some((platform(program)?, program)));
        let own = Platform::of_this_machine().unwrap_or(Platform::X86_64);
        let efi = programs.min_by_key(|(platform, program)| {
            (*platform != own, *platform != Platform::X86_64, program.entry.is_some())
        });
        let bios = bootable.bios.filter(|code| code.starts());
        match (asked, efi, bios) {
            (None | Some(Firmware::Uefi), Some((platform, program)), _) => Ok(Self::Efi(platform, program)),
            (None | Some(Firmware::Bios), _, Some(code)) => Ok(Self::Bios(code)),
            (Some(Firmware::Uefi), None, Some(_)) => bail!(
                "it has nothing that UEFI firmware starts, which is /EFI/BOOT/BOOTX64.EFI or /EFI/BOOT/BOOTAA64.EFI \
                 on a FAT file system; it has {}: give `--firmware bios`",
                has(bootable)
            ),
            (Some(Firmware::Bios), Some(_), None) => bail!(
                "it has nothing that a BIOS starts, which is boot code in its first sector; it has {}: give \
                 `--firmware uefi`",
                has(bootable)
            ),
            (_, None, None) => bail!("it {}", nothing_starts(bootable)),
        }
    }

    fn entry(&self) -> anyhow::Result<Option<LoadOption>> {
        let Self::Efi(_, program) = self else { return Ok(None) };
        let Some(drive) = program.entry else { return Ok(None) };
        let title = program.name.as_deref().unwrap_or("Boot loader");
        Ok(Some(LoadOption::active(title, DevicePath::file_on(drive, &program.path)?)?))
    }

    fn told(&self) -> String {
        match self {
            Self::Efi(platform, program) => {
                let name = program.name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
                let by = program.entry.map(|_| " by an entry in its variables").unwrap_or_default();
                format!("UEFI firmware of {} starts {}{name}{by}", platform.name(), place(program))
            }
            Self::Bios(code) => format!("a BIOS starts {}", code_name(*code)),
        }
    }

    fn config(&self, image: &Path, format: Format, wanted: Wanted) -> anyhow::Result<Config> {
        let (platform, by_efi) = match self {
            Self::Efi(platform, _) => (*platform, true),
            Self::Bios(_) => (Platform::X86_64, false),
        };
        let name = image.file_stem().map(|name| shown(name.as_encoded_bytes()));
        let mut options = json!({
            "name": name.filter(|name| !name.is_empty()).unwrap_or_else(|| "image".to_owned()),
            "system": platform.name(),
            "memorySize": MEMORY,
            "graphics": wanted.window,
            "mountHostNixStore": false,
            "directBoot": { "enable": false },
            "useEFIBoot": by_efi,
            // Variables beside the image may be another disk's.
            "efi": { "keepVariables": false },
        });
        if wanted.write {
            // A list with a drive of this name is the whole list. With the format, the guest may write to a raw image's
            // first sector.
            options["qemu"] = json!({ "drives": [{
                "name": super::config::ROOT_DRIVE,
                "file": "\"$NIX_DISK_IMAGE\"",
                "driveExtraOpts": { "format": format.name(), "cache": "writeback", "werror": "report" },
                "deviceExtraOpts": { "bootindex": "1" },
            }] });
        } else {
            options["diskImage"] = json!(false);
            options["useBootLoader"] = json!(true);
            // The path may be none that JSON can have; it is set below.
            options["bootDisk"] = json!("image");
        }
        let mut problems = Problems::without_options();
        let mut config = Config::from_value(options, &mut problems);
        problems.into_error()?;
        if wanted.write {
            config.disk_image = DiskImage::File(image.to_owned());
            config.disk_size = None;
        } else {
            config.boot_disk = Some(image.to_owned());
        }
        config.of_image = true;
        Ok(config)
    }
}

/// The platform that runs a program, if `run` knows it.
const fn platform(program: &EfiProgram) -> Option<Platform> {
    match program.architecture {
        Architecture::X64 => Some(Platform::X86_64),
        Architecture::Aa64 => Some(Platform::Aarch64),
        _ => None,
    }
}

fn place(program: &EfiProgram) -> String {
    let partition = program.partition.map(|number| format!(" on partition {number}")).unwrap_or_default();
    format!("{}{partition}", program.path)
}

const fn code_name(code: BootCode) -> &'static str {
    match code {
        BootCode::Grub => "GRUB in the first sector",
        BootCode::GrubWithoutCore => "GRUB in the first sector, without the core image that it loads",
        _ => "the boot code in the first sector",
    }
}

/// What an image has to start, for an error.
fn has(bootable: &Bootable) -> String {
    let programs = bootable.efi.iter().map(place);
    let code = bootable.bios.map(|code| code_name(code).to_owned());
    programs.chain(code).collect::<Vec<_>>().join(" and ")
}

/// Why nothing starts an image, and what to do with it instead.
fn nothing_starts(bootable: &Bootable) -> String {
    let role = bootable.ext4.iter().find(|found| found.partition.is_none()).map(|found| found.role);
    match (&bootable.contents, role) {
        (Contents::Ext4, Some(Role::Store)) => {
            "is a store image, which a machine mounts and does not boot from: in a config, set `useNixStoreImage = true`, \
             `storeImage` to it and `toplevel` to the system, and give that with --config"
                .to_owned()
        }
        (Contents::Ext4, Some(Role::Root | Role::RootWithoutStore)) => {
            "is a root file system without a partition table and boot loader: in a config, set `diskImage` to it and \
             `toplevel` to the system, and give that with --config; or make a disk that boots by itself: \
             `nix-imagegen root-disk --partition-table hybrid --loader systemd-boot,grub …`"
                .to_owned()
        }
        (Contents::EfiVariables, _) => {
            "holds a firmware's EFI variables: a config names it as `efiVars`".to_owned()
        }
        (Contents::Partitions(_), _) => {
            let has = has(bootable);
            let has = if has.is_empty() { "no boot code in its first sector".to_owned() } else { has };
            let problems = [&[String::new()], bootable.problems.as_slice()].concat().join("; ");
            format!(
                "has nothing that firmware starts: {has}, and no /EFI/BOOT/BOOTX64.EFI or /EFI/BOOT/BOOTAA64.EFI on a FAT file \
                 system (its partitions: {}){problems}",
                bootable.partitions
            )
        }
        (Contents::Zeros, _) => "is empty: it begins with zeros".to_owned(),
        (Contents::Unknown, _) => "has neither a partition table nor a file system that is known".to_owned(),
        (contents, _) => format!("is no disk that boots by itself: it holds {}", contents.name()),
    }
}
