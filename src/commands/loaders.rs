//! The boot loaders of a disk, from the options to the library's.

use std::path::Path;

use imagegen::boot::grub::GrubError;
use imagegen::boot::systemd_boot::SystemdBootError;
use imagegen::boot::toplevel::{self, EXTRA_INITRD};
use imagegen::boot::{Generations, IgnoredSecrets, Loader, Loaders, Menu};
use imagegen::nix::store_path::StoreRoot;

use super::store_path::store_path;
use crate::cli::MenuArgs;
use crate::progress::Reporter;

/// Reads the system and the others that the menu is to offer.
pub fn generations(menu: &MenuArgs, toplevel: &Path, store_root: &Path) -> anyhow::Result<Generations> {
    let store = StoreRoot::new(store_root);
    let read = |path: &Path| -> anyhow::Result<_> {
        let toplevel = store_path(path, store_root)?;
        Ok(toplevel::read(&store, &toplevel)?)
    };
    let toplevel = read(toplevel)?;
    let others = menu.generation.iter().map(|(number, toplevel)| Ok((*number, read(toplevel)?)));
    let others = others.collect::<anyhow::Result<Vec<_>>>()?;
    let generations = Generations::new(toplevel, others, menu.default_specialisation.clone())?;
    let ignored: Option<_> = menu.ignore_initrd_secrets.iter().copied().collect();
    generations.check_secrets(&ignored.map_or(IgnoredSecrets::All, IgnoredSecrets::Of))?;
    Ok(generations)
}

/// Tells what of the systems in the menu is not followed, or not enough to boot by.
pub fn tell_of_extensions(generations: &Generations, missing_initrds: &[String], reporter: &Reporter) {
    let unknown = generations.unknown_extensions().into_iter().collect::<Vec<_>>();
    if !unknown.is_empty() {
        let unknown = unknown.join("`, `");
        reporter
            .note(&format!("note: bootspec extensions that are not known, and not followed: `{unknown}`"));
    }
    for path in missing_initrds {
        reporter.note(&format!(
            "note: `{EXTRA_INITRD}` names {path} on the EFI system partition; put it there before the first boot, \
             since no entry that names it starts without it"
        ));
    }
}

/// The loaders that the options name, with what they start.
pub fn find(
    args: &MenuArgs,
    wanted: &[Loader],
    store_root: &Path,
    generations: &Generations,
) -> anyhow::Result<Loaders> {
    let store = StoreRoot::new(store_root);
    let named = |path: Option<&Path>| path.map(|path| store_path(path, store_root)).transpose();
    let menu = menu(args);
    let mut loaders = Loaders::default();
    if wanted.contains(&Loader::SystemdBoot) {
        loaders.add_systemd_boot(&store, named(args.systemd.as_deref())?.as_ref(), generations, &menu)?;
    }
    if wanted.contains(&Loader::Grub) {
        loaders.add_grub(&store, named(args.grub.as_deref())?.as_ref(), generations, &menu)?;
    }
    Ok(loaders)
}

/// Those of the loaders that the options name or that the default system leads to. One that is neither is left out.
pub fn find_those_there(
    args: &MenuArgs,
    possible: &[Loader],
    store_root: &Path,
    generations: &Generations,
) -> anyhow::Result<Loaders> {
    let mut there = Vec::new();
    for loader in possible {
        let is_named = match loader {
            Loader::SystemdBoot => args.systemd.is_some(),
            _ => args.grub.is_some(),
        };
        match find(args, &[*loader], store_root, generations) {
            Err(error) if !is_named && is_absent(&error) => {}
            found => {
                found?;
                there.push(*loader);
            }
        }
    }
    find(args, &there, store_root, generations)
}

/// Whether the system leads to no such loader, or is for machines that it does not run on.
fn is_absent(error: &anyhow::Error) -> bool {
    let systemd_boot = error.downcast_ref().is_some_and(|error| {
        matches!(error, SystemdBootError::Missing { .. } | SystemdBootError::Architecture(_))
    });
    let grub = error
        .downcast_ref()
        .is_some_and(|error| matches!(error, GrubError::NotReferredTo { .. } | GrubError::Unsupported(_)));
    systemd_boot || grub
}

fn menu(args: &MenuArgs) -> Menu {
    let mut menu = Menu::default();
    menu.timeout = args.timeout;
    menu.kernel_params.clone_from(&args.kernel_param);
    menu.editor = !args.no_editor;
    menu.console_mode = args.console_mode;
    menu.machine_id.clone_from(&args.machine_id);
    menu.resolution = args.resolution;
    menu.serial = args.serial_console;
    menu
}
