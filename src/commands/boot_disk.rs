//! `boot-disk`: the disk that a virtual machine starts from, and its EFI variables.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use imagegen::boot::{Architecture, Generations, Loader, Loaders};
use imagegen::firmware::efi_vars::{self, EfiVarsError, Flash, IMAGE_MAX, VariableStore};
use imagegen::image::boot_disk::{self, BootDiskError, DEFAULT_SIZE, Plan};
use imagegen::job::Job;
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::output::OutputFile;
use imagegen::units::ByteCount;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::{decided, fixed_values, loaders, wrong_usage};
use crate::cli::{BootDiskArgs, LOADERS};
use crate::image_output::ImageOutput;
use crate::json;
use crate::outputs::check_apart;
use crate::progress::Reporter;
use crate::report;
use crate::small_file;

/// Writes the disk and, if asked for, the EFI variables and a report. None appears unless all could be written.
pub fn write(args: &BootDiskArgs, reporter: &Reporter) -> anyhow::Result<()> {
    if !args.loader.is_empty() {
        check_options(args, &args.loader, "--loader does not name");
    }
    let root = &args.store.store_root;
    let generations = loaders::generations(&args.menu, args.toplevel(), root)?;
    let loaders = find_loaders(args, &generations)?;
    let plan = plan(args, &loaders)?;
    decided::boot(&generations, &loaders, reporter);
    decided::layout(plan.layout(), reporter);
    loaders::tell_of_extensions(&generations, plan.missing_initrds(), reporter);

    check_outputs(args, &generations, loaders.sources())?;
    let mut output = ImageOutput::begin(&args.image, Some(&args.report))?;
    output.check_for_partition_table()?;
    output.add(efi_vars(args, &plan, loaders.efi_program())?);
    output.decide_paths("toplevel", [args.toplevel()]);
    output.decide("loader", loaders.iter());
    output.decide("size", [plan.size().0]);
    output.write(plan.size(), &plan.allocated(), None, |image| {
        Ok(plan.write(image, &Job::default().progress(reporter))?)
    })?;
    let contents = Contents::new(&loaders, &plan, &generations);
    let finished =
        output.finish_with_report(plan.size(), contents, fixed_values::of_boot_disk(), reporter)?;
    let count = generations.list().len();
    reporter.note(&format!(
        "{}, {count} generation{}, default {}",
        finished.summary,
        if count == 1 { "" } else { "s" },
        generations.default().number,
    ));
    if let Some(note) = finished.note_on_gpt {
        reporter.note(&note);
    }
    Ok(())
}

/// Ends the program if there is an option for a loader that is not to be installed.
fn check_options(args: &BootDiskArgs, loaders: &[Loader], what: &str) {
    if let Some((option, loader)) = args.option_without_loader(loaders) {
        wrong_usage("boot-disk", &format!("{option} is for {loader}, which {what}"));
    }
}

/// The loaders that the options name, or those that the system leads to.
fn find_loaders(args: &BootDiskArgs, generations: &Generations) -> anyhow::Result<Loaders> {
    let root = &args.store.store_root;
    if !args.loader.is_empty() {
        return loaders::find(&args.menu, &args.loader, root, generations);
    }
    let all = LOADERS.map(|(_, loader, _)| loader);
    let loaders = loaders::find_those_there(&args.menu, &all, root, generations)?;
    let found: Vec<_> = loaders.iter().collect();
    let toplevel = &generations.default().system.toplevel;
    ensure!(
        !found.is_empty(),
        "{toplevel} leads to no boot loader, neither systemd-boot nor a GRUB for BIOS; give --systemd STORE_PATH or --grub \
         STORE_PATH"
    );
    check_options(args, &found, "the system does not lead to");
    Ok(loaders)
}

/// Lays the disk out. Where its size is computed, it is the usual one unless the files need more.
fn plan(args: &BootDiskArgs, loaders: &Loaders) -> Result<Plan, BootDiskError> {
    let of_size = |size| boot_disk::plan(size, loaders, args.menu.fat);
    match of_size(args.size.unwrap_or(DEFAULT_SIZE)) {
        Err(BootDiskError::TooSmall { enough, .. }) if args.size.is_none() => of_size(enough),
        plan => plan,
    }
}

/// Refuses outputs that would destroy what they are made from, or one another.
fn check_outputs(
    args: &BootDiskArgs,
    generations: &Generations,
    sources: &BTreeSet<StorePath>,
) -> anyhow::Result<()> {
    let store = StoreRoot::new(&args.store.store_root);
    let toplevels = generations.list().iter().map(|generation| &generation.system.toplevel);
    let store_paths = toplevels.chain(sources).map(|path| store.physical(path));
    let inputs: Vec<PathBuf> = store_paths.chain(args.efi_vars_template.clone()).collect();
    let outputs = [
        ("the disk", args.image.file()),
        ("the EFI variables", args.efi_vars.as_deref()),
        ("the report", args.report.report.as_deref()),
    ];
    check_apart(outputs, &inputs)
}

/// The part of the report that boot disks have.
#[derive(Debug, Serialize, JsonSchema)]
struct Contents {
    /// On the EFI system partition.
    files: usize,
    directories: usize,
    /// FAT has none.
    symlinks: usize,
    /// Those that files were taken from.
    store_paths: usize,
    source_bytes: u64,
    /// Nothing is compared with a registration.
    verified_paths: usize,
    unverified_paths: usize,
    loaders: Vec<String>,
    generations: Vec<GenerationReport>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct GenerationReport {
    number: u32,
    toplevel: String,
    default: bool,
    specialisations: Vec<String>,
}

impl Contents {
    /// Counts what is on the planned disk.
    fn new(loaders: &Loaders, plan: &Plan, generations: &Generations) -> Self {
        let default = generations.default().number;
        let sources = loaders.sources();
        Self {
            files: plan.contents().file_count(),
            directories: plan.contents().directory_count(),
            symlinks: 0,
            store_paths: sources.len(),
            source_bytes: plan.contents().file_bytes(),
            verified_paths: 0,
            unverified_paths: sources.len(),
            loaders: loaders.iter().map(|loader| loader.to_string()).collect(),
            generations: generations
                .list()
                .iter()
                .map(|generation| GenerationReport {
                    number: generation.number,
                    toplevel: generation.system.toplevel.to_string(),
                    default: generation.number == default,
                    specialisations: generation.system.specialisations.keys().cloned().collect(),
                })
                .collect(),
        }
    }
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
        .map(|program| boot_disk::boot_entry(plan.layout(), &program.program_path()))
        .transpose()?
        .flatten();
    let mut bytes = read_template(template)?;
    check_build(template, &bytes, program)?;
    let unusable = || format!("cannot use the EFI variables of `{}`", template.display());
    if let Some(entry) = entry {
        bytes = efi_vars::from_template(&bytes, Some(&entry)).with_context(unusable)?;
    } else {
        check_template(&bytes).with_context(unusable)?;
    }
    small_file::create(target, &bytes, args.image.sync).map(Some)
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

/// The schema of `boot-disk --report`.
pub fn schema() -> Schema {
    json::versioned_schema::<report::Report<Contents>>("nix-imagegen boot-disk --report")
}
