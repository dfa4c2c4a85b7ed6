//! `store-image`: from a registration to an image of its store paths.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use imagegen::container::Format;
use imagegen::fs::ext4::{self, SavedByLinks};
use imagegen::fs::file_tree::Counts;
use imagegen::image::store_image::{self, Plan, Verified};
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::nix::closure::{Closure, optimise, scan};
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::output;
use imagegen::units::ByteCount;
use serde::Serialize;

use super::closure;
use crate::cli::{CompressArg, FormatArg, StoreImageArgs};
use crate::progress::Reporter;
use crate::report::{Program, Report, ReportFile, text_digest};
use crate::target::Target;

/// Writes the image and, if asked to, its report.
pub fn run(args: &StoreImageArgs, reporter: &Reporter) -> anyhow::Result<()> {
    let registration = closure::read(&args.closure, &args.store.store_root)?;
    if let Some(note) = closure::note_on_empty(&registration, &args.closure) {
        anyhow::bail!("{note}");
    }
    let store = StoreRoot::new(&args.store.store_root);
    check_outputs(args, &registration, &store)?;
    if args.compress != CompressArg::None && args.format == FormatArg::Raw {
        anyhow::bail!("a raw image cannot be compressed; leave out --compress, or make it --format qcow2");
    }
    let output = Target::create(&args.output, args.format.into(), args.force, args.sync)?;
    let report = args.report.as_deref().map(|path| ReportFile::create(path, args.sync)).transpose()?;
    let job = Job::default().threads(args.jobs).verify(!args.no_verify).progress(reporter);

    let mut closure = scan(registration, store, &job)?;
    if args.optimise {
        optimise(&mut closure, ext4::NAMES_MAX, &job)?;
    }
    let options = file_system_options(args);
    let plan = store_image::plan(&closure, &options, &job)?;
    let verified = write(&plan, args, &output, &job)?;

    let length = output.length(plan.size())?;
    let summary = Summary {
        counts: plan.counts(),
        saved: plan.saved_by_links(),
        virtual_size: plan.size(),
        image_bytes: length.0,
        verified,
    };
    let sha256 = report.as_ref().map(|_| output.digest(length, reporter)).transpose()?;
    output.finish()?;
    if let (Some(report), Some(sha256)) = (report, sha256) {
        let contents = summary.report(args, &closure, &options, reporter, sha256)?;
        report.finish(&contents)?;
    }
    tell(args, &summary, reporter);
    Ok(())
}

/// Refuses outputs that would destroy what they are made from, or one another.
fn check_outputs(
    args: &StoreImageArgs,
    registration: &Registration,
    store: &StoreRoot,
) -> anyhow::Result<()> {
    for output in std::iter::once(&args.output).chain(&args.report) {
        let inputs = closure::input_files(&args.closure, &args.store.store_root);
        output::check_apart(output, inputs.iter().map(PathBuf::as_path))?;
        if let Some(path) = registered_path_around(output, registration, store) {
            output::check_apart(output, [store.physical(path).as_path()])?;
        }
    }
    if let Some(report) = &args.report {
        let is_same = output::place_of(report) == output::place_of(&args.output);
        ensure!(!is_same, "the image and its report cannot both be `{}`", report.display());
    }
    Ok(())
}

/// The registered path that a file is or lies in; others in the store are not read.
pub(super) fn registered_path_around<'r>(
    file: &Path,
    registration: &'r Registration,
    store: &StoreRoot,
) -> Option<&'r StorePath> {
    let place = output::place_of(file)?;
    let in_store = place.strip_prefix(store.directory().canonicalize().ok()?).ok()?;
    let name = in_store.components().next()?;
    let paths = registration.paths();
    let found = paths.iter().find(|registered| name.as_os_str() == registered.path.base_name())?;
    Some(&found.path)
}

fn file_system_options(args: &StoreImageArgs) -> ext4::Options {
    ext4::Options {
        journal: args.journal,
        size: args.size.of_file_system(args.additional_space),
        ..ext4::Options::new(&args.label, args.uuid)
    }
}

fn write(plan: &Plan<'_>, args: &StoreImageArgs, output: &Target, job: &Job<'_>) -> anyhow::Result<Verified> {
    let image = output.image(plan.size(), &plan.allocated(), args.compress.into())?;
    let verified = plan.write(&image, job)?;
    image.finish()?;
    Ok(verified)
}

/// What was made.
struct Summary {
    counts: Counts,
    saved: SavedByLinks,
    virtual_size: ByteCount,
    image_bytes: u64,
    verified: Verified,
}

/// The part of the report that only store images have.
#[derive(Serialize)]
struct Contents {
    /// Of the registration as `nix-store --dump-db` prints it, sorted; it has the hashes of all contents.
    registration_sha256: String,
    #[serde(flatten)]
    counts: Counts,
    store_paths: u64,
    linked_files: u64,
    saved_bytes: u64,
    verified_paths: u64,
    unverified_paths: u64,
}

impl Summary {
    fn report(
        &self,
        args: &StoreImageArgs,
        closure: &Closure,
        options: &ext4::Options,
        reporter: &Reporter,
        sha256: String,
    ) -> anyhow::Result<Report<Contents>> {
        Ok(Report {
            program: Program::current()?,
            image: imagegen::text::shown(args.output.as_os_str().as_encoded_bytes()),
            format: Format::from(args.format).name(),
            image_bytes: self.image_bytes,
            virtual_bytes: self.virtual_size.0,
            contents: Contents {
                registration_sha256: text_digest(&closure.registration.to_string()),
                counts: self.counts,
                store_paths: self.verified.verified + self.verified.unverified,
                linked_files: self.saved.linked_files,
                saved_bytes: self.saved.saved_bytes.0,
                verified_paths: self.verified.verified,
                unverified_paths: self.verified.unverified,
            },
            sha256,
            phases: reporter.phases(),
            fixed: BTreeMap::from([
                ("uuid", options.uuid.to_string()),
                ("label", options.label.clone()),
                ("directory_hash_seed", options.hash_seed.to_string()),
                ("time", options.time.to_string()),
            ]),
        })
    }
}

fn tell(args: &StoreImageArgs, summary: &Summary, reporter: &Reporter) {
    let Counts { files, source_bytes, .. } = summary.counts;
    let Verified { verified, unverified } = summary.verified;
    let store_paths = verified + unverified;
    if unverified > 0 && !args.no_verify {
        reporter.note(&format!(
            "warning: {unverified} of {store_paths} store paths were not checked: the registration has no hash or \
             size for them"
        ));
    }
    if args.optimise {
        reporter.note(&saved(summary.saved, summary.counts.files));
    }
    reporter.note(&format!(
        "{}: {} of {} holding {store_paths} store paths, {files} files, {}; {verified} paths verified; {:.1} s",
        args.output.display(),
        Format::from(args.format).name(),
        ByteCount(summary.image_bytes),
        ByteCount(source_bytes),
        reporter.elapsed().as_secs_f64(),
    ));
}

/// What [`optimise`] was good for.
pub(super) fn saved(saved: SavedByLinks, files: u64) -> String {
    let SavedByLinks { linked_files, saved_bytes } = saved;
    format!("{linked_files} of {files} files are hard links to others, which saves {saved_bytes}")
}
