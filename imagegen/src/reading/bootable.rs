//! What firmware can start from a disk: EFI programs in its FAT file systems, and the boot code in its first sector. And
//! what it finds then: a root file system, or none.

use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use crate::boot::Architecture;
use crate::container::reader::{ReadError, Source, Window};
use crate::disk::gpt::reader::{Partition, PartitionTable};
use crate::disk::gpt_disk::Mbr;
use crate::firmware::efi_vars::HardDrive;
use crate::fixed::STORE_DIR;
use crate::fs::ext4::reader::LOST_FOUND;
use crate::nix::store_path::StorePath;
use crate::reading::files::{Files, FilesError, Node, Type};
use crate::reading::probe::Contents;
use crate::reading::volume::Volumes;
use crate::text::shown;
use crate::units::{Lba, SECTOR, index};

/// Where programs are, in a directory for each vendor, and the one where firmware looks if its variables say nothing of the
/// disk (UEFI 2.10, section 3.5.1.1).
const VENDORS: &[u8] = b"EFI";
const FALLBACK: &[u8] = b"BOOT";
/// Where GRUB's first stage has the number of the sector that it loads.
const CORE_SECTOR: usize = 0x5C;
/// A boot loader is smaller; of a larger program only so much is looked at.
const PROGRAM_MAX: u64 = 4 << 20;
/// Where systemd-boot has its entries, and how many of them are looked at.
const ENTRIES: &[u8] = b"loader/entries";
const ENTRIES_MAX: usize = 100;
/// Where GRUB has its menu: on an EFI system partition, on a boot partition and on a root file system.
const MENUS: [&[u8]; 2] = [b"grub/grub.cfg", b"boot/grub/grub.cfg"];
/// A larger entry or menu is nobody's.
const TEXT_MAX: u64 = 1 << 20;
/// Kernel parameters that name a serial port of a PC or an ARM machine.
const SERIAL: [&[u8]; 2] = [b"console=ttyS", b"console=ttyAMA"];
/// What systemd-boot says of itself (systemd's Boot Loader Interface), up to [`INFO_END`].
const INFO: &[u8] = b"#### LoaderInfo: ";
const INFO_END: &[u8] = b" ####";
/// What GRUB says of itself in its section for Secure Boot (shim's SBAT.md).
const GRUB_SBAT: &[u8] = b"\ngrub,";

/// What firmware can start from an image, and what is on it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Bootable {
    /// EFI programs that firmware starts, in the order of the partitions; on each of them, first those that need no entry in
    /// the firmware's variables.
    pub efi: Vec<EfiProgram>,
    /// What a BIOS starts: the boot code in the first sector.
    pub bios: Option<BootCode>,
    /// What the image holds by its first bytes.
    pub contents: Contents,
    /// The partitions; none without a partition table.
    pub partitions: Volumes,
    /// The ext4 file systems, in the order of the partitions.
    pub ext4: Vec<Ext4Use>,
    /// Whether a boot entry of systemd-boot or GRUB has Linux talk to a serial port; none if no entry is found.
    pub serial_console: Option<bool>,
    /// What keeps something of it from being started or read.
    pub problems: Vec<String>,
}

/// An EFI program that firmware starts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EfiProgram {
    /// The partition; none where the image is a FAT file system without a partition table.
    pub partition: Option<u32>,
    /// Its path, as the directories have it, fit for a terminal.
    pub path: String,
    /// The processor that it is for.
    pub architecture: Architecture,
    /// What it says that it is, such as `systemd-boot 252`, fit for a terminal.
    pub name: Option<String>,
    /// The partition as the firmware's variables have to name it, for a boot loader that firmware does not find by itself.
    pub entry: Option<HardDrive>,
}

/// Boot code in a disk's first sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootCode {
    /// GRUB's, and its core image is where it looks for it.
    Grub,
    /// GRUB's, which would find no core image.
    GrubWithoutCore,
    /// Some other code.
    Unknown,
}

/// What an ext4 file system is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ext4Use {
    /// The partition; none where the image is the file system.
    pub partition: Option<u32>,
    /// Its use.
    pub role: Role,
}

/// What a file system's root directory tells of its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// A system's root file system, with store paths in its `/nix/store` or something else than Nix's.
    Root,
    /// A system's root file system whose `/nix/store` is empty: the store is elsewhere.
    RootWithoutStore,
    /// A store image: the root directory holds store paths and nothing else.
    Store,
    /// Something else.
    Other,
}

impl BootCode {
    /// The code of a first sector; nothing if it has none, or a BIOS would not start it.
    fn of(mbr: &Mbr, disk: &dyn Source) -> Result<Option<Self>, ReadError> {
        if mbr.signature != [0x55, 0xAA] {
            return Ok(None);
        }
        Ok(match Self::name(mbr) {
            "none" => None,
            "grub" => {
                let sector = mbr.boot_code.get(CORE_SECTOR..);
                let sector = sector.and_then(|bytes| U64::read_from_prefix(bytes).ok());
                let offset = sector.and_then(|(sector, _)| sector.get().checked_mul(SECTOR));
                let offset = offset.filter(|&offset| offset > 0 && disk.check(offset, SECTOR).is_ok());
                let is_there = match offset {
                    Some(offset) => is_grub_core(&Window::new(disk, offset, SECTOR)?),
                    None => false,
                };
                Some(if is_there { Self::Grub } else { Self::GrubWithoutCore })
            }
            _ => Some(Self::Unknown),
        })
    }

    /// What the code in a first sector is called: `none`, `grub` or `unknown`.
    pub(super) fn name(mbr: &Mbr) -> &'static str {
        let code = &mbr.boot_code;
        if code.iter().all(|&byte| byte == 0) {
            "none"
        } else if contains(code, b"GRUB") {
            "grub"
        } else {
            "unknown"
        }
    }

    /// Whether it starts anything.
    pub fn starts(self) -> bool {
        self != Self::GrubWithoutCore
    }
}

/// GRUB's core image: the name stands in diskboot.img's messages.
pub(super) fn is_grub_core(source: &dyn Source) -> bool {
    let sector = source.bytes(0, index(SECTOR)).unwrap_or_default();
    contains(&sector, b"loading") && contains(&sector, b"Error")
}

impl Bootable {
    /// Looks at an image. What is damaged in a partition is a problem that is told, and not an error.
    pub fn of(image: &dyn Source) -> Result<Self, ReadError> {
        let contents = Contents::detect(image)?;
        let mut found = Self {
            efi: Vec::new(),
            bios: None,
            contents: Contents::Unknown,
            partitions: Volumes(Vec::new()),
            ext4: Vec::new(),
            serial_console: None,
            problems: Vec::new(),
        };
        if let Contents::Partitions(table) = &contents {
            found.bios = BootCode::of(&table.mbr, image)?;
            found.problems.clone_from(&table.problems);
            let partitions = Volumes::in_table(image, table)?;
            for (volume, partition) in partitions.0.iter().zip(&table.partitions) {
                let window = Window::new(image, volume.start, volume.size)?;
                let place = Place { number: Some(volume.number), drive: hard_drive(table, partition) };
                found.look(&window, place, &volume.contents);
            }
            found.partitions = partitions;
        } else {
            found.look(image, Place { number: None, drive: None }, &contents);
        }
        found.contents = contents;
        Ok(found)
    }

    /// Adds what a file system holds.
    fn look(&mut self, source: &dyn Source, place: Place, contents: &Contents) {
        let partition = place.number;
        if !matches!(contents, Contents::Fat | Contents::Ext4) {
            return;
        }
        let result = Files::open(source).and_then(|files| {
            match contents {
                Contents::Fat => self.efi.extend(efi_programs(&files, place)?),
                _ => self.ext4.push(Ext4Use { partition, role: role(&files)? }),
            }
            for entries in boot_entries(&files)? {
                let is_serial = SERIAL.iter().any(|console| contains(&entries, console));
                *self.serial_console.get_or_insert(false) |= is_serial;
            }
            Ok(())
        });
        if let Err(error) = result {
            let place = partition.map_or_else(String::new, |number| format!("partition {number}: "));
            self.problems.push(format!("{place}the {} file system cannot be read: {error}", contents.name()));
        }
    }

    /// The partition of the first root file system; the inner one is none where the image is that file system.
    pub fn root(&self) -> Option<Option<u32>> {
        let is_root = |role| matches!(role, Role::Root | Role::RootWithoutStore);
        self.ext4.iter().find(|found| is_root(found.role)).map(|found| found.partition)
    }

    /// Whether any firmware starts anything from it.
    pub fn boots(&self) -> bool {
        !self.efi.is_empty() || self.bios.is_some_and(BootCode::starts)
    }
}

/// Where a file system is on its disk.
#[derive(Clone, Copy)]
struct Place {
    number: Option<u32>,
    /// For firmware's variables; none where there is no GPT.
    drive: Option<HardDrive>,
}

/// A GPT's partition, as firmware's variables name it.
fn hard_drive(table: &PartitionTable, partition: &Partition) -> Option<HardDrive> {
    let block = table.gpt.as_ref()?.block_size;
    let guid = partition.guid.as_ref()?.parse().ok()?;
    Some(HardDrive::gpt(partition.number, Lba(partition.start_bytes / block), partition.bytes / block, guid))
}

/// The programs in the directory where firmware looks by itself; then boot loaders in others, for processors that have none
/// there.
fn efi_programs(files: &Files<'_>, place: Place) -> Result<Vec<EfiProgram>, FilesError> {
    let Some((vendors, way)) = directory(files, VENDORS)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let mut others = Vec::new();
    for vendor in files.entries(&vendors)? {
        let node = files.node(&vendor)?;
        if node.kind != Type::Directory {
            continue;
        }
        let is_fallback = vendor.name.eq_ignore_ascii_case(FALLBACK);
        let known = if is_fallback { Architecture::of_fallback } else { Architecture::of_loader };
        let entry = if is_fallback { None } else { place.drive };
        if !is_fallback && entry.is_none() {
            continue;
        }
        let list = if is_fallback { &mut found } else { &mut others };
        for program in files.entries(&node)? {
            let Some(architecture) = known(&program.name) else { continue };
            let node = files.node(&program)?;
            if node.kind != Type::File {
                continue;
            }
            let path = [&way, b"/".as_slice(), &vendor.name, b"/", &program.name].concat();
            let file = files.file(&node, &path)?;
            let bytes = file.bytes(0, index(file.size().min(PROGRAM_MAX)))?;
            let (partition, path) = (place.number, shown(&path));
            list.push(EfiProgram { partition, path, architecture, name: loader(&bytes), entry });
        }
    }
    others.retain(|other| found.iter().all(|program| program.architecture != other.architecture));
    found.extend(others);
    Ok(found)
}

/// What a program says that it is.
fn loader(program: &[u8]) -> Option<String> {
    let behind = |words: &[u8]| {
        let at = program.windows(words.len()).position(|bytes| bytes == words)?;
        program.get(at + words.len()..)
    };
    if let Some(rest) = behind(INFO) {
        let end = rest.windows(INFO_END.len()).take(100).position(|bytes| bytes == INFO_END)?;
        return rest.get(..end).map(shown);
    }
    behind(GRUB_SBAT).map(|_| "GRUB".to_owned())
}

/// The texts in which systemd-boot and GRUB have what they start.
fn boot_entries(files: &Files<'_>) -> Result<Vec<Vec<u8>>, FilesError> {
    let mut found = Vec::new();
    if let Some((directory, way)) = directory(files, ENTRIES)? {
        for entry in files.entries(&directory)?.iter().filter(|entry| is_entry(&entry.name)).take(ENTRIES_MAX)
        {
            found.extend(text(files, &files.node(entry)?, &[&way, b"/".as_slice(), &entry.name].concat())?);
        }
    }
    for menu in MENUS {
        match files.find(menu, true) {
            Ok((node, way)) => found.extend(text(files, &node, &way)?),
            Err(FilesError::Missing { .. } | FilesError::NotADirectory { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn is_entry(name: &[u8]) -> bool {
    name.to_ascii_lowercase().ends_with(b".conf")
}

/// A text that is no larger than anybody's.
fn text(files: &Files<'_>, node: &Node, path: &[u8]) -> Result<Option<Vec<u8>>, FilesError> {
    if node.kind != Type::File || node.size > TEXT_MAX {
        return Ok(None);
    }
    Ok(Some(files.file(node, path)?.read()?))
}

/// What an ext4 file system is for.
fn role(files: &Files<'_>) -> Result<Role, FilesError> {
    let names: Vec<Vec<u8>> = files.entries(&files.root()?)?.into_iter().map(|entry| entry.name).collect();
    let is_store_path = |name: &Vec<u8>| {
        let name = std::str::from_utf8(name).unwrap_or_default();
        StorePath::parse(&format!("{STORE_DIR}/{name}")).is_ok()
    };
    let has = |name: &[u8]| names.iter().any(|found| found == name);
    if has(b"nix") {
        let store = directory(files, STORE_DIR.as_bytes())?;
        let is_empty = match store {
            Some((store, _)) => files.entries(&store)?.is_empty(),
            None => true,
        };
        return Ok(if is_empty { Role::RootWithoutStore } else { Role::Root });
    }
    if has(b"etc") || has(b"usr") || has(b"init") {
        return Ok(Role::Root);
    }
    let mut others = names.iter().filter(|name| name.as_slice() != LOST_FOUND).peekable();
    let is_store = others.peek().is_some() && others.all(is_store_path);
    Ok(if is_store { Role::Store } else { Role::Other })
}

/// A directory, and the path to it as the directories have it; none if there is none.
fn directory(files: &Files<'_>, path: &[u8]) -> Result<Option<(Node, Vec<u8>)>, FilesError> {
    match files.find(path, true) {
        Ok(found) if found.0.kind == Type::Directory => Ok(Some(found)),
        Ok(_) | Err(FilesError::Missing { .. } | FilesError::NotADirectory { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|found| found == words)
}
