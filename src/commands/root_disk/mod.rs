//! `root-disk`: a guest's root file system with the database of its store, and if asked for, the store and all that it
//! takes to boot from the same disk.

mod report_contents;

use std::path::PathBuf;

use anyhow::ensure;
use imagegen::boot::{Generations, Loaders};
use imagegen::container::Format;
use imagegen::fs::ext4;
use imagegen::image::root_disk::{Options, Plan, Profile, RootDisk};
use imagegen::image::store_image::Verified;
use imagegen::job::Job;
use imagegen::nix::closure as library;
use imagegen::nix::closure::Closure;
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::output;
use imagegen::units::ByteCount;

use super::store_image::registered_path_around;
use super::store_image::saved;
use super::store_path::store_path;
use super::{closure, loaders, wrong_usage};
use crate::cli::{PartitionTableArg, RootDiskArgs};
use crate::progress::Reporter;
use crate::report::{Program, Report, ReportFile};
use crate::target::{Target, shown_on_disk};
use report_contents::{Contents, fixed_values};

/// Writes the disk and, if asked for, its report.
pub fn run(args: &RootDiskArgs, reporter: &Reporter) -> anyhow::Result<()> {
    if let Some(contradiction) = args.contradiction() {
        wrong_usage(&contradiction);
    }
    check_outputs(args)?;
    let job = Job::default().threads(args.jobs).verify(!args.no_verify).progress(reporter);
    let closure = read_closure(args, reporter, &job)?;
    for output in std::iter::once(&args.output).chain(&args.report) {
        if let Some(path) = registered_path_around(output, &closure.registration, &closure.store) {
            output::check_apart(output, [closure.store.physical(path).as_path()])?;
        }
    }
    let systems = Systems::read(args)?;
    let mut options = Options::new(file_system_options(args));
    options.profile = systems.profile();
    options.with_store = args.with_store;
    options.table = args.table();
    options.fat = args.fat.map(Into::into);
    options.loaders = systems.loaders.clone();
    let disk = RootDisk::new(&closure, options)?;
    let plan = disk.plan(&job)?;
    if let Some(generations) = &systems.generations {
        loaders::tell_of_extensions(generations, plan.missing_initrds(), reporter);
    }

    let output = Target::create(&args.output, args.format.into(), args.force, args.sync)?;
    if args.partition_table != PartitionTableArg::None {
        output.check_for_partition_table()?;
    }
    let report = args.report.as_deref().map(|path| ReportFile::create(path, args.sync)).transpose()?;
    let verified = write(&plan, &output, &job)?;
    let image_bytes = output.length(plan.size())?;
    let on_disk = output.on_disk()?;
    let sha256 = report.as_ref().map(|_| output.digest(image_bytes, reporter)).transpose()?;
    let has_gpt = plan.partitions().last_sectors().is_some();
    let note_on_gpt = output.note_on_gpt(&args.output, plan.size()).filter(|_| has_gpt);
    output.finish()?;
    if let (Some(report), Some(sha256)) = (report, sha256) {
        report.finish(&Report {
            program: Program::current()?,
            image: imagegen::text::shown(args.output.as_os_str().as_encoded_bytes()),
            format: Format::from(args.format).name(),
            image_bytes: image_bytes.0,
            virtual_bytes: plan.size().0,
            contents: Contents::new(args, &plan, &closure, verified),
            sha256,
            phases: reporter.phases(),
            fixed: fixed_values(disk.options()),
        })?;
    }
    if args.optimise {
        reporter.note(&saved(plan.saved_by_links(), plan.counts().files));
    }
    reporter.note(&summary(args, &plan, &closure, verified, on_disk, reporter));
    if let Some(note) = note_on_gpt {
        reporter.note(&note);
    }
    Ok(())
}

/// Refuses outputs that would destroy what they are made from, or one another.
fn check_outputs(args: &RootDiskArgs) -> anyhow::Result<()> {
    let inputs = closure::input_files(&args.closure, &args.store.store_root);
    for output in std::iter::once(&args.output).chain(&args.report) {
        output::check_apart(output, inputs.iter().map(PathBuf::as_path))?;
    }
    if let Some(report) = &args.report {
        let is_same = output::place_of(report) == output::place_of(&args.output);
        ensure!(!is_same, "the disk and its report cannot both be `{}`", report.display());
    }
    Ok(())
}

/// Reads the closure; every path must be there, and gets a hash if it has none, since the database needs one.
fn read_closure(args: &RootDiskArgs, reporter: &Reporter, job: &Job<'_>) -> anyhow::Result<Closure> {
    let registration = closure::read(&args.closure, &args.store.store_root)?;
    if let Some(note) = closure::note_on_empty(&registration, &args.closure) {
        // A disk for a store that comes from elsewhere may begin with an empty database.
        ensure!(!args.with_store, "{note}");
        reporter.note(&format!("warning: {note}"));
    }
    let mut closure = library::scan(registration, StoreRoot::new(&args.store.store_root), job)?;
    library::fill_in_hashes(&mut closure, job)?;
    if args.optimise {
        library::optimise(&mut closure, ext4::NAMES_MAX, job)?;
    }
    Ok(closure)
}

/// The systems of the profile and what starts them. Only a boot loader needs more of a toplevel than its name.
#[derive(Default)]
struct Systems {
    toplevel: Option<StorePath>,
    generations: Option<Generations>,
    loaders: Loaders,
}

impl Systems {
    fn read(args: &RootDiskArgs) -> anyhow::Result<Self> {
        let root = &args.store.store_root;
        let Some(toplevel) = &args.toplevel else { return Ok(Self::default()) };
        if args.loader.is_empty() {
            return Ok(Self { toplevel: Some(store_path(toplevel, root)?), ..Self::default() });
        }
        let generations = loaders::generations(&args.menu, toplevel, root)?;
        let loaders = loaders::find(&args.menu, &args.loader, root, &generations)?;
        Ok(Self { toplevel: None, generations: Some(generations), loaders })
    }

    fn profile(&self) -> Option<Profile<'_>> {
        let of_generations = self.generations.as_ref().map(Profile::from);
        of_generations.or_else(|| self.toplevel.as_ref().map(Profile::of))
    }
}

fn file_system_options(args: &RootDiskArgs) -> ext4::Options {
    ext4::Options {
        journal: true,
        growth: Some(args.growth()),
        size: args.size.of_file_system(args.additional_space),
        ..ext4::Options::new(&args.label, args.uuid)
    }
}

fn write(plan: &Plan<'_>, output: &Target, job: &Job<'_>) -> anyhow::Result<Verified> {
    let image = output.image(plan.size(), &plan.allocated(), None)?;
    let verified = plan.write(&image, job)?;
    image.finish()?;
    Ok(verified)
}

fn summary(
    args: &RootDiskArgs,
    plan: &Plan<'_>,
    closure: &Closure,
    verified: Verified,
    on_disk: Option<ByteCount>,
    reporter: &Reporter,
) -> String {
    let store = if args.with_store {
        format!("with them in it, {} verified", verified.verified)
    } else {
        "without a store".to_owned()
    };
    let boots = match args.loader[..] {
        [] => String::new(),
        [first] => format!(", boots by {}", first.name()),
        [first, second, ..] => format!(", boots by {} and {}", first.name(), second.name()),
    };
    format!(
        "{}: {} of {}{} that knows {} store paths, {store}{boots}; {:.1} s",
        args.output.display(),
        Format::from(args.format).name(),
        plan.size(),
        shown_on_disk(on_disk),
        closure.registration.paths().len(),
        reporter.elapsed().as_secs_f64(),
    )
}
