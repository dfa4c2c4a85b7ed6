//! The boot loaders of a disk: which ones, what they start, and what they put on the disk.

use std::collections::BTreeSet;
use std::fmt;

use super::grub::{self, BootDirectory, CoreImage, GrubDirectory, GrubError, Package};
use super::systemd_boot::{self, Program, SystemdBootError};
use super::toplevel::Boot;
use super::{Architecture, Generations, Menu};
use crate::fs::file_source::NamedFile;
use crate::nix::store_path::{StorePath, StoreRoot};

/// A boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Loader {
    /// systemd-boot, for UEFI.
    SystemdBoot,
    /// GRUB, for BIOSes.
    Grub,
}

impl fmt::Display for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SystemdBoot => "systemd-boot",
            Self::Grub => "grub",
        })
    }
}

/// The boot loaders to put on a disk. The disk's product finds a place for them.
#[derive(Debug, Clone, Default)]
pub struct Loaders {
    files: Vec<NamedFile>,
    efi_program: Option<Architecture>,
    grub: Option<Grub>,
    sources: BTreeSet<StorePath>,
    extra_initrds: BTreeSet<String>,
}

/// What GRUB's files are made of as soon as it is known where they lie.
#[derive(Debug, Clone)]
struct Grub {
    package: Package,
    generations: Generations,
    menu: Menu,
}

/// What the loaders put on a disk.
#[derive(Debug)]
pub(crate) struct Installed {
    /// The files of the file system that NixOS mounts on `/boot`, or on `/`.
    pub(crate) files: Vec<NamedFile>,
    /// GRUB outside of file systems: the package, which has the boot sector, and what the boot sector loads.
    pub(crate) grub: Option<(GrubDirectory, CoreImage)>,
    /// The initial RAM disks that systems name on the EFI system partition and that are not among the files.
    pub(crate) missing_initrds: Vec<String>,
}

impl Loaders {
    /// Adds files of the caller's own to those that NixOS mounts on `/boot`.
    pub fn add_files(&mut self, files: impl IntoIterator<Item = NamedFile>) {
        self.files.extend(files);
    }

    /// Adds systemd-boot, from a systemd or from the one that the default system links to.
    pub fn add_systemd_boot(
        &mut self,
        store: &StoreRoot,
        systemd: Option<&StorePath>,
        generations: &Generations,
        menu: &Menu,
    ) -> Result<(), SystemdBootError> {
        let default = &generations.default().system;
        let program = Program::read(store, &default.system, systemd, &default.toplevel)?;
        self.files.extend(systemd_boot::files(generations, &program, menu)?);
        self.efi_program = Some(program.architecture);
        self.add_sources(generations, &program.store_path);
        Ok(())
    }

    /// Adds GRUB, from a package or from the one that the default system refers to.
    pub fn add_grub(
        &mut self,
        store: &StoreRoot,
        package: Option<&StorePath>,
        generations: &Generations,
        menu: &Menu,
    ) -> Result<(), GrubError> {
        let package = Package::find(store, package, &generations.default().system)?;
        self.add_sources(generations, &package.store_path);
        self.grub = Some(Grub { package, generations: generations.clone(), menu: menu.clone() });
        Ok(())
    }

    fn add_sources(&mut self, generations: &Generations, program: &StorePath) {
        let boots = || generations.list().iter().flat_map(|generation| generation.system.boots());
        self.sources.extend(boots().flat_map(Boot::files).map(|file| file.store_path.clone()));
        self.sources.insert(program.clone());
        self.extra_initrds.extend(boots().flat_map(|boot| &boot.extra_initrds).cloned());
    }

    /// The loaders that were added.
    pub fn iter(&self) -> impl Iterator<Item = Loader> {
        let systemd_boot = self.efi_program.map(|_| Loader::SystemdBoot);
        systemd_boot.into_iter().chain(self.grub.as_ref().map(|_| Loader::Grub))
    }

    /// What systemd-boot runs on, if it is among them.
    pub fn efi_program(&self) -> Option<Architecture> {
        self.efi_program
    }

    /// The store paths that files are taken from.
    pub fn sources(&self) -> &BTreeSet<StorePath> {
        &self.sources
    }

    /// The store paths of the kernels and initrds that GRUB starts.
    pub(crate) fn paths_for_grub(&self) -> impl Iterator<Item = &StorePath> {
        let generations = self.grub.iter().flat_map(|grub| grub.generations.list());
        generations.flat_map(|one| one.system.boots()).flat_map(Boot::files).map(|file| &file.store_path)
    }

    /// What they put on a disk where GRUB's boot directory is this one.
    pub(crate) fn install(&self, directory: BootDirectory) -> Result<Installed, GrubError> {
        let mut files = self.files.clone();
        let mut grub = None;
        if let Some(Grub { package, generations, menu }) = &self.grub {
            files.extend(grub::files(generations, package, directory, menu)?);
            grub = Some((package.directory.clone(), package.core_image(directory)?));
        }
        // FAT knows no case.
        let is_there = |path: &String| files.iter().any(|file| file.path.eq_ignore_ascii_case(path));
        let missing_initrds = self.extra_initrds.iter().filter(|path| !is_there(path)).cloned().collect();
        Ok(Installed { files, grub, missing_initrds })
    }
}
