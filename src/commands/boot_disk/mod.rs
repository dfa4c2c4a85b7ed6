//! `boot-disk`: the disk that a virtual machine starts from, and its EFI variables.

mod report_contents;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use imagegen::boot::{Architecture, Generations};
use imagegen::container::Format;
use imagegen::firmware::efi_vars::{self, EfiVarsError, Flash, IMAGE_MAX, VariableStore};
use imagegen::image::boot_disk::{self, Plan};
use imagegen::job::Job;
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::output::{self, OutputFile};
use imagegen::units::ByteCount;

use super::loaders;
use super::wrong_usage;
use crate::cli::BootDiskArgs;
use crate::progress::Reporter;
use crate::report::{self, Report, ReportFile};
use crate::small_file;
use crate::target::{Target, shown_on_disk};
use report_contents::{Contents, fixed_values};

/// Writes the disk and, if asked for, the EFI variables and a report. None appears unless all could be written.
pub fn write(args: &BootDiskArgs, reporter: &Reporter) -> anyhow::Result<()> {
    check_options(args);
    let store = StoreRoot::new(&args.store.store_root);
    let generations = loaders::generations(&args.menu, &args.toplevel, &args.store.store_root)?;
    let loaders = loaders::find(&args.menu, &args.loader, &args.store.store_root, &generations)?;
    let plan = boot_disk::plan(args.size, &loaders, args.fat.map(Into::into))?;
    loaders::tell_of_extensions(&generations, plan.missing_initrds(), reporter);

    check_outputs(args, &store, &generations, loaders.sources())?;
    let disk = Target::create(&args.output, args.format.into(), args.force, args.sync)?;
    disk.check_for_partition_table()?;
    let report = args.report.as_deref().map(|path| ReportFile::create(path, args.sync)).transpose()?;
    let efi_vars = efi_vars(args, &plan, loaders.efi_program())?;
    write_disk(&plan, &disk, reporter)
        .with_context(|| format!("cannot write `{}`", args.output.display()))?;

    let image_bytes = disk.length(plan.size())?;
    let on_disk = disk.on_disk()?;
    let sha256 = report.as_ref().map(|_| disk.digest(image_bytes, reporter)).transpose()?;
    let note_on_gpt = disk.note_on_gpt(&args.output, plan.size());
    if let Some(efi_vars) = efi_vars {
        efi_vars.finish()?;
    }
    disk.finish()?;
    if let (Some(report), Some(sha256)) = (report, sha256) {
        report.finish(&Report {
            program: report::Program::current()?,
            image: imagegen::text::shown(args.output.as_os_str().as_encoded_bytes()),
            format: Format::from(args.format).name(),
            image_bytes: image_bytes.0,
            virtual_bytes: plan.size().0,
            contents: Contents::new(args, &plan, &generations, loaders.sources()),
            sha256,
            phases: reporter.phases(),
            fixed: fixed_values(),
        })?;
    }
    reporter.note(&summary(args, &plan, &generations, on_disk));
    if let Some(note) = note_on_gpt {
        reporter.note(&note);
    }
    Ok(())
}

/// Ends the program where an option would have no effect.
fn check_options(args: &BootDiskArgs) {
    if let Some((option, loader)) = args.option_without_loader() {
        let loader = loader.name();
        wrong_usage(&format!("{option} is for {loader}, which --loader does not name"));
    }
}

/// Refuses outputs that would destroy what they are made from, or one another.
fn check_outputs(
    args: &BootDiskArgs,
    store: &StoreRoot,
    generations: &Generations,
    sources: &BTreeSet<StorePath>,
) -> anyhow::Result<()> {
    let toplevels = generations.list().iter().map(|generation| &generation.system.toplevel);
    let store_paths = toplevels.chain(sources).map(|path| store.physical(path));
    let inputs: Vec<PathBuf> = store_paths.chain(args.efi_vars_template.clone()).collect();
    let outputs = [
        Some(("the disk", &args.output)),
        args.efi_vars.as_ref().map(|path| ("the EFI variables", path)),
        args.report.as_ref().map(|path| ("the report", path)),
    ];
    let outputs: Vec<_> = outputs.into_iter().flatten().collect();
    for (i, (what, output)) in outputs.iter().enumerate() {
        output::check_apart(output, inputs.iter().map(PathBuf::as_path))?;
        let place = output::place_of(output);
        let same = outputs[..i].iter().find(|(_, other)| output::place_of(other) == place);
        if let Some((other, _)) = same {
            bail!("{other} and {what} cannot both be `{}`", output.display());
        }
    }
    Ok(())
}

fn write_disk(plan: &Plan, disk: &Target, reporter: &Reporter) -> anyhow::Result<()> {
    let image = disk.image(plan.size(), &plan.allocated(), None)?;
    plan.write(&image, &Job::default().progress(reporter))?;
    image.finish()?;
    Ok(())
}

/// The machine's own EFI variables, written but not yet in place: the template as it is or, if asked for, with an
/// entry for systemd-boot on the disk.
fn efi_vars(
    args: &BootDiskArgs,
    plan: &Plan,
    program: Option<Architecture>,
) -> anyhow::Result<Option<OutputFile>> {
    let Some((template, target)) = args.efi_vars_template.as_deref().zip(args.efi_vars.as_deref()) else {
        return Ok(None);
    };
    let entry = program
        .filter(|_| args.boot_disk_entry)
        .map(|program| boot_disk::boot_entry(plan.partitions().esp(), &program.program_path()))
        .transpose()?;
    let mut bytes = read_template(template)?;
    check_build(template, &bytes, program)?;
    let unusable = || format!("cannot use the EFI variables of `{}`", template.display());
    if let Some(entry) = entry {
        bytes = efi_vars::from_template(&bytes, Some(&entry)).with_context(unusable)?;
    } else {
        check_template(&bytes).with_context(unusable)?;
    }
    let output = OutputFile::create(target)?.durable(args.sync.sync);
    small_file::fill(output.file(), &bytes)
        .with_context(|| format!("cannot write `{}`", target.display()))?;
    Ok(Some(output))
}

fn read_template(path: &Path) -> anyhow::Result<Vec<u8>> {
    let context = || format!("cannot read the EFI variables of `{}`", path.display());
    let metadata = path.metadata().with_context(context)?;
    ensure!(
        metadata.is_file() && metadata.len() <= IMAGE_MAX,
        "`{}` is not a store of EFI variables; those of OVMF and AAVMF are files of at most {}",
        path.display(),
        ByteCount(IMAGE_MAX)
    );
    std::fs::read(path).with_context(context)
}

/// Refuses variables that the firmware of the disk's machine would not use.
fn check_build(path: &Path, template: &[u8], program: Option<Architecture>) -> anyhow::Result<()> {
    let shown = path.display();
    let kind = File::open(path).and_then(|file| Flash::of(&file));
    let kind = kind.with_context(|| format!("cannot read the EFI variables of `{shown}`"))?;
    ensure!(
        kind != Flash::Both,
        "`{shown}` holds a firmware and its variables in one; take the file of the variables alone, such as OVMF_VARS_4M.fd"
    );
    let size = ByteCount(u64::try_from(template.len())?);
    match program {
        Some(Architecture::X64) if size == ARM_VARIABLES => bail!(
            "`{shown}` has the variables of an ARM machine's firmware ({size}), and the system is for PCs; take OVMF_VARS_4M.fd"
        ),
        Some(Architecture::Aa64) if OVMF_VARIABLES.contains(&size) => bail!(
            "`{shown}` has the variables of a PC's firmware ({size}), and the system is for ARM machines; take AAVMF_VARS.fd"
        ),
        _ => Ok(()),
    }
}

/// The sizes of the files of variables that come with AAVMF and with OVMF's two builds.
const ARM_VARIABLES: ByteCount = ByteCount(64 << 20);
const OVMF_VARIABLES: [ByteCount; 2] = [ByteCount(128 << 10), ByteCount(528 << 10)];

/// AAVMF's templates may be blank: that firmware makes its own store of them.
fn check_template(bytes: &[u8]) -> Result<(), EfiVarsError> {
    match VariableStore::parse(bytes) {
        Ok(_) | Err(EfiVarsError::Blank) => Ok(()),
        Err(error) => Err(error),
    }
}

fn summary(
    args: &BootDiskArgs,
    plan: &Plan,
    generations: &Generations,
    on_disk: Option<ByteCount>,
) -> String {
    let format = Format::from(args.format).name();
    let count = generations.list().len();
    format!(
        "{}: {format} of {}{}, {count} generation{}, default {}",
        args.output.display(),
        plan.size(),
        shown_on_disk(on_disk),
        if count == 1 { "" } else { "s" },
        generations.default().number,
    )
}
