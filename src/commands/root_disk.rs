//! `root-disk`: a guest's root file system with the database of its store, and if asked for, the store and all that it
//! takes to boot from the same disk.

use anyhow::ensure;
use imagegen::boot::{Generations, Loader, Loaders};
use imagegen::fs::ext4;
use imagegen::image::root_disk::{Options, Profile, RootDisk};
use imagegen::image::store_image::Verified;
use imagegen::nix::store_path::StorePath;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::store_path::store_path;
use super::{closure, decided, fixed_values, loaders, wrong_usage};
use crate::cli::{LOADERS, PartitionTableArg, RootDiskArgs};
use crate::image_output::ImageOutput;
use crate::json;
use crate::progress::Reporter;
use crate::report;

/// Writes the disk and, if asked for, its report.
pub fn run(args: &RootDiskArgs, reporter: &Reporter) -> anyhow::Result<()> {
    if args.partition_table != PartitionTableArg::Auto && !args.takes_loaders_of_system() {
        check_options(args, args.partition_table, &args.loader);
    }
    let from = &args.from;
    let registration = closure::read(&from.closure, &from.store.store_root)?;
    if let Some(note) = closure::note_on_empty(&registration, &from.closure) {
        // A disk for a store that comes from elsewhere may begin with an empty database.
        ensure!(!args.has_store(), "{note}");
        reporter.note(&format!("warning: {note}"));
    }
    closure::check_outputs(from, &registration, "the disk", &args.image, &args.report)?;
    decided::closure(from, &registration, reporter);
    let job = closure::job(from, reporter);
    let closure = closure::files(from, registration, true, &job)?;
    let systems = Systems::read(args)?;
    check_options(args, systems.table, &systems.names);
    let mut options = Options::new(ext4::Options {
        growth: Some(args.growth()),
        ..ext4::Options::writable(&args.label, args.uuid, from.file_system_size(args.additional_space))
    });
    options.profile = systems.profile();
    options.with_store = args.has_store();
    options.table = args.table(systems.table);
    options.fat = args.menu.fat;
    options.loaders = systems.loaders.clone();
    let disk = RootDisk::new(&closure, options)?;
    let plan = disk.plan(&job)?;
    if let Some(generations) = &systems.generations {
        decided::boot(generations, &systems.loaders, reporter);
        loaders::tell_of_extensions(generations, plan.missing_initrds(), reporter);
    }

    decided::layout(plan.layout(), reporter);
    let mut output = ImageOutput::begin(&args.image, Some(&args.report))?;
    systems.decide(args, &mut output);
    if systems.table != PartitionTableArg::None {
        output.check_for_partition_table()?;
    }
    let verified =
        output.write(plan.size(), &plan.allocated(), None, |image| Ok(plan.write(image, &job)?))?;
    let store_paths = closure.registration.paths().len();
    let contents = Contents {
        closure: closure::Contents::new(&closure, plan.counts(), plan.saved_by_links(), verified)?,
        partition_table: systems.table.name(),
        loaders: systems.names.iter().map(Loader::to_string).collect(),
        root_offset: plan.root_start().0,
    };
    let fixed = fixed_values::of_root_disk(&disk.options().file_system, disk.options().table);
    let finished = output.finish_with_report(plan.size(), contents, fixed, reporter)?;
    closure::tell_of_links(from, plan.saved_by_links(), plan.counts().files, reporter);
    reporter.note(&format!(
        "{} that knows {store_paths} store paths, {}; {:.1} s",
        finished.summary,
        store_and_loaders(args, &systems.names, verified),
        reporter.elapsed().as_secs_f64(),
    ));
    if systems.names.is_empty() {
        let what = args.image.name();
        reporter.note(&format!("note: {what} does not boot by itself: {}", without_loader(args)));
    }
    let has_gpt = plan.layout().has_gpt();
    if let Some(note) = finished.note_on_gpt.filter(|_| has_gpt) {
        reporter.note(&note);
    }
    Ok(())
}

/// The part of the report that root disks have.
#[derive(Serialize, JsonSchema)]
struct Contents {
    /// In the root file system; of store paths, those in the database.
    #[serde(flatten)]
    closure: closure::Contents,
    partition_table: String,
    loaders: Vec<String>,
    /// The offset of the root file system in bytes.
    root_offset: u64,
}

/// The systems of the profile and what starts them. Only a boot loader needs more of a toplevel than its name.
struct Systems {
    toplevel: Option<StorePath>,
    generations: Option<Generations>,
    loaders: Loaders,
    /// The loaders, and the table with places for them.
    names: Vec<Loader>,
    table: PartitionTableArg,
}

impl Systems {
    fn read(args: &RootDiskArgs) -> anyhow::Result<Self> {
        let root = &args.from.store.store_root;
        let toplevel = args.toplevel();
        let Some(toplevel) = toplevel.filter(|_| !args.loader.is_empty() || args.takes_loaders_of_system())
        else {
            let table = match args.partition_table {
                PartitionTableArg::Auto => PartitionTableArg::None,
                table => table,
            };
            let toplevel = toplevel.map(|toplevel| store_path(toplevel, root)).transpose()?;
            let (generations, loaders, names) = (None, Loaders::default(), Vec::new());
            return Ok(Self { toplevel, generations, loaders, names, table });
        };
        let generations = loaders::generations(&args.menu, toplevel, root)?;
        let (loaders, names) = if args.loader.is_empty() {
            let all = LOADERS.map(|(_, loader, _)| loader);
            let possible = match args.partition_table {
                PartitionTableArg::Auto => &all,
                table => args.table(table).loaders(),
            };
            let loaders = loaders::find_those_there(&args.menu, possible, root, &generations)?;
            let names = loaders.iter().collect();
            (loaders, names)
        } else {
            (loaders::find(&args.menu, &args.loader, root, &generations)?, args.loader.clone())
        };
        let table = match args.partition_table {
            PartitionTableArg::Auto => PartitionTableArg::with_places(&names),
            table => table,
        };
        Ok(Self { toplevel: None, generations: Some(generations), loaders, names, table })
    }

    /// Notes for the report what a short command line means.
    fn decide(&self, args: &RootDiskArgs, output: &mut ImageOutput<'_>) {
        closure::decide(&args.from.closure, output);
        if let Some(system) = args.whole_system() {
            output.decide_paths("toplevel", [system]);
            output.decide_flag("with-store");
        }
        output.decide("partition-table", [self.table.name()]);
        output.decide("loader", &self.names);
    }

    fn profile(&self) -> Option<Profile<'_>> {
        let of_generations = self.generations.as_ref().map(Profile::from);
        of_generations.or_else(|| self.toplevel.as_ref().map(Profile::of))
    }
}

fn check_options(args: &RootDiskArgs, table: PartitionTableArg, loaders: &[Loader]) {
    if let Some(contradiction) = args.contradiction(table, loaders) {
        wrong_usage("root-disk", &contradiction);
    }
}

/// Why a disk without a boot loader has none, and what helps.
fn without_loader(args: &RootDiskArgs) -> &'static str {
    if args.takes_loaders_of_system() {
        "the system leads to no boot loader that it has a place for; give --systemd STORE_PATH or --grub STORE_PATH"
    } else if args.toplevel().is_some() {
        "it has no boot loader; give --partition-table auto for those of the system, or the machine a boot disk"
    } else {
        "it has no boot loader; give the machine a boot disk"
    }
}

fn store_and_loaders(args: &RootDiskArgs, loaders: &[Loader], Verified { verified, .. }: Verified) -> String {
    let store = if args.has_store() {
        format!("with them in it, {verified} verified")
    } else {
        "without a store".to_owned()
    };
    let loaders = loaders.iter().map(Loader::to_string).collect::<Vec<_>>().join(" and ");
    if loaders.is_empty() { store } else { format!("{store}, boots by {loaders}") }
}

/// The schema of `root-disk --report`.
pub fn schema() -> Schema {
    json::versioned_schema::<report::Report<Contents>>("nix-imagegen root-disk --report")
}
