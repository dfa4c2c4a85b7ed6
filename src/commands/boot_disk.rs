//! `boot-disk`: the disk that a virtual machine starts from, and its EFI variables.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use imagegen::boot::Generations;
use imagegen::boot::systemd_boot::{self, Program, Settings};
use imagegen::boot::toplevel::{self, InitrdSecrets};
use imagegen::boot_disk::{self, Loaders, Plan};
use imagegen::container::{Format, ImageFile};
use imagegen::output::{self, OutputFile};
use imagegen::store_path::{STORE_DIR, StorePath, StoreRoot};
use imagegen::units::ByteCount;

use crate::cli::{BootDiskArgs, LoaderArg};
use crate::progress::Reporter;

/// No firmware has more room for variables.
const EFI_VARS_MAX: u64 = 64 << 20;

/// Writes the disk and, if asked for, the EFI variables. Neither appears unless both could be written.
pub fn write(args: &BootDiskArgs, reporter: &Reporter) -> anyhow::Result<()> {
    let store = StoreRoot::new(&args.store.store_root);
    let generations = generations(args, &store)?;
    let plan = boot_disk::plan(args.size, loaders(args, &store, &generations)?)?;

    check_outputs(args, &store, &generations)?;
    let disk = OutputFile::create(&args.output)?;
    let efi_vars = efi_vars(args)?;
    write_disk(&plan, disk.file(), args.format.into(), reporter)
        .with_context(|| format!("cannot write `{}`", args.output.display()))?;
    let size = disk.file().metadata().map(|metadata| metadata.len());
    if let Some(efi_vars) = efi_vars {
        efi_vars.finish()?;
    }
    disk.finish()?;

    reporter.note(&summary(args, &plan, &generations, size.unwrap_or_default()));
    Ok(())
}

/// Refuses outputs that would destroy what they are made from.
fn check_outputs(args: &BootDiskArgs, store: &StoreRoot, generations: &Generations) -> anyhow::Result<()> {
    let toplevels = generations.list().iter().map(|generation| store.physical(&generation.system.toplevel));
    let inputs: Vec<PathBuf> = toplevels.chain(args.efi_vars_template.clone()).collect();
    for target in std::iter::once(&args.output).chain(&args.efi_vars) {
        output::check_apart(target, inputs.iter().map(PathBuf::as_path))?;
    }
    Ok(())
}

/// Reads the system and the others that the menu is to offer.
fn generations(args: &BootDiskArgs, store: &StoreRoot) -> anyhow::Result<Generations> {
    let secrets = if args.ignore_initrd_secrets { InitrdSecrets::LeaveOut } else { InitrdSecrets::Refuse };
    let read = |path: &Path| -> anyhow::Result<_> {
        let toplevel = store_path(path, &args.store.store_root)?;
        Ok(toplevel::read(store, &toplevel, secrets)?)
    };
    let toplevel = read(&args.toplevel)?;
    let others: anyhow::Result<Vec<_>> = args
        .generation
        .iter()
        .map(|generation| Ok((generation.number, read(&generation.toplevel)?)))
        .collect();
    Ok(Generations::new(toplevel, others?, args.default_specialisation.clone())?)
}

/// What each of the boot loaders puts on the disk.
fn loaders(args: &BootDiskArgs, store: &StoreRoot, generations: &Generations) -> anyhow::Result<Loaders> {
    let mut loaders = Loaders::default();
    for loader in &args.loader {
        match loader {
            LoaderArg::SystemdBoot => {
                let systemd = args.systemd.as_deref().map(|path| store_path(path, &args.store.store_root));
                let system = &generations.default().system;
                let program =
                    Program::read(store, &system.system, systemd.transpose()?.as_ref(), &system.toplevel)?;
                loaders.files.extend(systemd_boot::files(generations, &program, &settings(args))?);
            }
            LoaderArg::Grub => bail!("GRUB cannot be installed yet; use --loader systemd-boot"),
        }
    }
    Ok(loaders)
}

fn settings(args: &BootDiskArgs) -> Settings {
    Settings {
        timeout: args.timeout,
        editor: !args.no_editor,
        console_mode: args.console_mode,
        kernel_params: args.kernel_param.clone(),
        machine_id: args.machine_id.as_ref().map(|id| id.0.clone()),
    }
}

fn write_disk(plan: &Plan, file: &File, format: Format, reporter: &Reporter) -> anyhow::Result<()> {
    let image = ImageFile::create(file, format, plan.size(), &plan.allocated())?;
    plan.write(&image, reporter)?;
    image.finish()?;
    Ok(())
}

/// The copy of the template, written but not yet in place.
fn efi_vars(args: &BootDiskArgs) -> anyhow::Result<Option<OutputFile>> {
    let Some((template, target)) = args.efi_vars_template.as_deref().zip(args.efi_vars.as_deref()) else {
        return Ok(None);
    };
    ensure!(
        !is_same_file(target, &args.output),
        "the disk and the EFI variables cannot both be `{}`",
        target.display()
    );
    let context = || format!("cannot read the EFI variables of `{}`", template.display());
    let metadata = template.metadata().with_context(context)?;
    ensure!(
        metadata.is_file() && metadata.len() <= EFI_VARS_MAX,
        "`{}` is not a store of EFI variables; those of OVMF are files of at most some MiB",
        template.display()
    );
    let output = OutputFile::create(target)?;
    let mut from = File::open(template).with_context(context)?;
    copy_for_writing(&mut from, output.file())
        .with_context(|| format!("cannot write `{}`", target.display()))?;
    Ok(Some(output))
}

fn copy_for_writing(from: &mut File, mut to: &File) -> io::Result<()> {
    io::copy(from, &mut to)?;
    // The template is usually read-only; the machine writes to its copy.
    to.set_permissions(Permissions::from_mode(0o644))
}

/// Whether two files, which need not exist, are one.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let directory =
        |path: &Path| path.parent().and_then(|parent| Path::new(".").join(parent).canonicalize().ok());
    a.file_name() == b.file_name() && directory(a) == directory(b)
}

/// Takes `/nix/store/…-nixos-system`, with or without slashes at its end, or a link to such a path.
pub(super) fn store_path(path: &Path, store_root: &Path) -> anyhow::Result<StorePath> {
    let shown = path.display();
    if let Ok(rest) = path.strip_prefix(STORE_DIR) {
        let text = format!("{STORE_DIR}/{}", rest.display());
        return StorePath::parse(text.trim_end_matches('/')).with_context(|| {
            format!("`{shown}` is not a store path; name the whole of it and nothing inside")
        });
    }
    let found = path.canonicalize().with_context(|| format!("cannot find `{shown}`"))?;
    let root = store_root
        .canonicalize()
        .with_context(|| format!("cannot find the store's root `{}`", store_root.display()))?;
    let logical = found.strip_prefix(&root).ok().map(|rest| Path::new("/").join(rest));
    let logical = logical.as_deref().and_then(Path::to_str).unwrap_or_default();
    StorePath::parse(logical).with_context(|| format!("`{shown}` is not a store path, nor a link to one"))
}

fn summary(args: &BootDiskArgs, plan: &Plan, generations: &Generations, image_bytes: u64) -> String {
    let format = Format::from(args.format).name();
    let count = generations.list().len();
    format!(
        "{}: {format} of {} ({} on disk), {count} generation{}, default {}",
        args.output.display(),
        plan.size(),
        ByteCount(image_bytes),
        if count == 1 { "" } else { "s" },
        generations.default().number,
    )
}
