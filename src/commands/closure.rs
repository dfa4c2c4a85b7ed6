//! From the options that name a closure to its registration and its files.

use std::path::{Path, PathBuf};

use imagegen::fs::ext4::{self, SavedByLinks};
use imagegen::fs::file_tree::Counts;
use imagegen::image::store_image::Verified;
use imagegen::job::Job;
use imagegen::nix::closure::{Closure, fill_in_hashes, optimise, scan};
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::nix::{Registration, database, references_graph};
use schemars::JsonSchema;
use serde::Serialize;

use super::store_path::store_path;
use crate::cli::{ClosureArgs, FromStoreArgs, ImageArgs, ReportArg};
use crate::closure_file;
use crate::image_output::ImageOutput;
use crate::outputs::{check_apart, place_of};
use crate::progress::Reporter;
use crate::report::text_digest;

/// Reads the registration that the options name.
pub fn read(args: &ClosureArgs, store_root: &Path) -> anyhow::Result<Registration> {
    if let Some(file) = &args.registration {
        return Ok(Registration::parse(file, &closure_file::read(file, "registration")?)?);
    }
    if !args.references_graph.is_empty() {
        let read = |file: &PathBuf| -> anyhow::Result<_> {
            Ok((file.clone(), closure_file::read(file, "references graph")?))
        };
        let files = args.references_graph.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        return Ok(references_graph::read(&files)?);
    }
    let paths = args.roots().map(|path| store_path(path, store_root));
    Ok(database::closure(store_root, &paths.collect::<anyhow::Result<Vec<_>>>()?)?)
}

/// What to say of a registration without any path, which can be meant, but seldom is.
pub fn note_on_empty(registration: &Registration, args: &ClosureArgs) -> Option<String> {
    let file = args.registration.as_ref().filter(|_| registration.paths().is_empty())?;
    Some(format!(
        "`{}` is empty: it registers no store path; did the command fail that was to write it?",
        file.display()
    ))
}

/// Refuses outputs that would destroy what they are made from, or one another; `what` is the image's name for people.
pub fn check_outputs(
    from: &FromStoreArgs,
    registration: &Registration,
    what: &'static str,
    image: &ImageArgs,
    report: &ReportArg,
) -> anyhow::Result<()> {
    let store = StoreRoot::new(&from.store.store_root);
    let outputs = [(what, image.file()), ("its report", report.report.as_deref())];
    let mut inputs: Vec<_> =
        from.closure.registration.iter().chain(&from.closure.references_graph).cloned().collect();
    if from.closure.roots().next().is_some() {
        inputs.push(from.store.store_root.join(database::DATABASE_DIRECTORY).join("db.sqlite"));
    }
    let around =
        outputs.iter().filter_map(|(_, output)| registered_path_around((*output)?, registration, &store));
    inputs.extend(around.map(|path| store.physical(path)));
    check_apart(outputs, &inputs)
}

/// Notes for the report the store paths that were given without an option.
pub fn decide(closure: &ClosureArgs, output: &mut ImageOutput<'_>) {
    if !closure.paths.is_empty() {
        output.decide_paths("closure", &closure.paths);
    }
}

/// The registered path that a file is or lies in; others in the store are not read.
fn registered_path_around<'r>(
    file: &Path,
    registration: &'r Registration,
    store: &StoreRoot,
) -> Option<&'r StorePath> {
    let place = place_of(file)?;
    let in_store = place.strip_prefix(store.directory().canonicalize().ok()?).ok()?;
    let name = in_store.components().next()?;
    let paths = registration.paths();
    let found = paths.iter().find(|registered| name.as_os_str() == registered.path.base_name())?;
    Some(&found.path)
}

/// How the options let the library work.
pub fn job<'r>(from: &FromStoreArgs, reporter: &'r Reporter) -> Job<'r> {
    Job::default().threads(from.jobs).verify(!from.no_verify).progress(reporter)
}

/// Finds the files, all of which must be there. A database needs hashes; those that nobody told are computed for it.
pub fn files(
    from: &FromStoreArgs,
    registration: Registration,
    for_database: bool,
    job: &Job<'_>,
) -> anyhow::Result<Closure> {
    let mut closure = scan(registration, StoreRoot::new(&from.store.store_root), job)?;
    if for_database {
        fill_in_hashes(&mut closure, job)?;
    }
    if from.optimise {
        optimise(&mut closure, ext4::NAMES_MAX, job)?;
    }
    Ok(closure)
}

/// What a report says of a closure in an image.
#[derive(Serialize, JsonSchema)]
pub struct Contents {
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

impl Contents {
    /// Paths that are registered and not in the image could not be verified either.
    pub fn new(
        closure: &Closure,
        counts: Counts,
        saved: SavedByLinks,
        Verified { verified, .. }: Verified,
    ) -> anyhow::Result<Self> {
        let store_paths = u64::try_from(closure.registration.paths().len())?;
        Ok(Self {
            registration_sha256: text_digest(&closure.registration.to_string()),
            counts,
            store_paths,
            linked_files: saved.linked_files,
            saved_bytes: saved.saved_bytes.0,
            verified_paths: verified,
            unverified_paths: store_paths.saturating_sub(verified),
        })
    }
}

/// Tells what hard links were good for, where they were asked for.
pub fn tell_of_links(from: &FromStoreArgs, saved: SavedByLinks, files: u64, reporter: &Reporter) {
    let SavedByLinks { linked_files, saved_bytes } = saved;
    if from.optimise {
        reporter.note(&format!(
            "{linked_files} of {files} files are hard links to others, which saves {saved_bytes}"
        ));
    }
}
