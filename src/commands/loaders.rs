//! The boot loaders of a disk, from the options to their files.

use std::collections::BTreeSet;
use std::path::Path;

use imagegen::boot::grub::{self, Place};
use imagegen::boot::systemd_boot::{self, Architecture, Program};
use imagegen::boot::toplevel::{self, Boot, EXTRA_INITRD};
use imagegen::boot::{Generations, GrubLoader, IgnoredSecrets, Loaders};
use imagegen::nix::store_path::{StorePath, StoreRoot};

use super::store_path::store_path;
use crate::cli::{IgnoredSecretsArg, LoaderArg, MenuArgs};
use crate::progress::Reporter;

/// Reads the system and the others that the menu is to offer.
pub fn generations(menu: &MenuArgs, toplevel: &Path, store_root: &Path) -> anyhow::Result<Generations> {
    let store = StoreRoot::new(store_root);
    let read = |path: &Path| -> anyhow::Result<_> {
        let toplevel = store_path(path, store_root)?;
        Ok(toplevel::read(&store, &toplevel)?)
    };
    let toplevel = read(toplevel)?;
    let others: anyhow::Result<Vec<_>> = menu
        .generation
        .iter()
        .map(|generation| Ok((generation.number, read(&generation.toplevel)?)))
        .collect();
    let generations = Generations::new(toplevel, others?, menu.default_specialisation.clone())?;
    generations.check_secrets(&ignored_secrets(menu))?;
    Ok(generations)
}

fn ignored_secrets(menu: &MenuArgs) -> IgnoredSecrets {
    let numbers = menu.ignore_initrd_secrets.iter().map(|ignored| match ignored {
        IgnoredSecretsArg::All => None,
        IgnoredSecretsArg::Generation(number) => Some(*number),
    });
    numbers.collect::<Option<_>>().map_or(IgnoredSecrets::All, IgnoredSecrets::Of)
}

/// Tells what of the systems in the menu is not followed, or not enough to boot by.
pub fn tell_of_extensions(generations: &Generations, installed: &Installed, reporter: &Reporter) {
    let unknown = generations.unknown_extensions().into_iter().collect::<Vec<_>>();
    if !unknown.is_empty() {
        let unknown = unknown.join("`, `");
        reporter
            .note(&format!("note: bootspec extensions that are not known, and not followed: `{unknown}`"));
    }
    // FAT knows no case.
    let there = |path: &str| installed.loaders.files.iter().any(|file| file.path.eq_ignore_ascii_case(path));
    for path in generations.extra_initrds().into_iter().filter(|path| !there(path)) {
        reporter.note(&format!(
            "note: `{EXTRA_INITRD}` names {path} on the EFI system partition; put it there before the first boot, \
             since no entry that names it starts without it"
        ));
    }
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
