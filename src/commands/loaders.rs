//! The boot loaders of a disk, from the options to their files.

use std::collections::BTreeSet;
use std::path::Path;

use imagegen::boot::grub::{self, Place};
use imagegen::boot::systemd_boot::{self, Architecture, Program};
use imagegen::boot::toplevel::{self, Boot, InitrdSecrets};
use imagegen::boot::{Generations, GrubLoader, Loaders};
use imagegen::store_path::{StorePath, StoreRoot};

use super::store_path::store_path;
use crate::cli::{LoaderArg, MenuArgs};

/// Reads the system and the others that the menu is to offer.
pub fn generations(menu: &MenuArgs, toplevel: &Path, store_root: &Path) -> anyhow::Result<Generations> {
    let store = StoreRoot::new(store_root);
    let secrets = if menu.ignore_initrd_secrets { InitrdSecrets::LeaveOut } else { InitrdSecrets::Refuse };
    let read = |path: &Path| -> anyhow::Result<_> {
        let toplevel = store_path(path, store_root)?;
        Ok(toplevel::read(&store, &toplevel, secrets)?)
    };
    let toplevel = read(toplevel)?;
    let others: anyhow::Result<Vec<_>> = menu
        .generation
        .iter()
        .map(|generation| Ok((generation.number, read(&generation.toplevel)?)))
        .collect();
    Ok(Generations::new(toplevel, others?, menu.default_specialisation.clone())?)
}

/// What is to be on the disk, and where it comes from.
pub struct Installed {
    /// The files, and what lies outside of file systems.
    pub loaders: Loaders,
    /// What systemd-boot runs on, if it is installed.
    pub efi_program: Option<Architecture>,
    /// The store paths that files are taken from.
    pub sources: BTreeSet<StorePath>,
}

/// Collects what each of the boot loaders puts on the disk; GRUB's files go to `place`.
pub fn install(
    menu: &MenuArgs,
    loaders: &[LoaderArg],
    place: Place,
    store_root: &Path,
    generations: &Generations,
) -> anyhow::Result<Installed> {
    let store = &StoreRoot::new(store_root);
    let boots = generations.list().iter().flat_map(|generation| generation.system.boots());
    let sources = boots.flat_map(Boot::files).map(|file| file.store_path.clone()).collect();
    let mut installed = Installed { loaders: Loaders::default(), efi_program: None, sources };
    let system = &generations.default().system;
    let named = |path: Option<&Path>| path.map(|path| store_path(path, store_root)).transpose();
    if loaders.contains(&LoaderArg::SystemdBoot) {
        let systemd = named(menu.systemd.as_deref())?;
        let program = Program::read(store, &system.system, systemd.as_ref(), &system.toplevel)?;
        let settings = systemd_boot_settings(menu);
        installed.loaders.files.extend(systemd_boot::files(generations, &program, &settings)?);
        installed.efi_program = Some(program.architecture());
        installed.sources.insert(program.store_path().clone());
    }
    if loaders.contains(&LoaderArg::Grub) {
        let grub = named(menu.grub.as_deref())?;
        let package = grub::Package::find(store, grub.as_ref(), system)?;
        installed.loaders.files.extend(grub::files(generations, &package, &grub_options(menu, place))?);
        let core = package.core_image(place)?;
        installed.loaders.grub = Some(GrubLoader { directory: package.directory().clone(), core });
        installed.sources.insert(package.store_path().clone());
    }
    Ok(installed)
}

fn systemd_boot_settings(menu: &MenuArgs) -> systemd_boot::Settings {
    systemd_boot::Settings {
        timeout: menu.timeout,
        editor: !menu.no_editor,
        console_mode: menu.console_mode,
        kernel_params: menu.kernel_param.clone(),
        machine_id: menu.machine_id.as_ref().map(|id| id.0.clone()),
    }
}

fn grub_options(menu: &MenuArgs, place: Place) -> grub::Options {
    grub::Options {
        place,
        timeout: menu.timeout,
        kernel_params: menu.kernel_param.clone(),
        resolution: menu.resolution,
        serial: menu.serial_console,
    }
}
