//! `verify`: does an image hold what its registration says?

use anyhow::{Context, anyhow, ensure};
use imagegen::container::reader::{Image, Source};
use imagegen::fs::ext4::reader::FileSystem;
use imagegen::job::Job;
use imagegen::reading::probe::find_ext4;
use imagegen::reading::verify::{
    Counts, Deviations, Finding, Verification, VerifiedPath, VerifyError, verify,
};
use imagegen::text::{lines, shown};
use imagegen::units::ByteCount;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::closure;
use crate::cli::VerifyArgs;
use crate::json;
use crate::progress::Reporter;
use crate::streams;

/// Verifies an image and prints what was found; an error if anything was wrong.
pub fn run(args: &VerifyArgs, reporter: &Reporter) -> anyhow::Result<()> {
    let registration = closure::read(&args.closure, &args.store.store_root)?;

    let name = shown(args.image.as_os_str().as_encoded_bytes());
    let image = Image::open(&args.image, args.format, &args.backing.into())?;
    let store = find_ext4(&image, args.partition).with_context(|| format!("cannot verify `{name}`"))?;
    reporter.decided(|| {
        format!("file system: ext4 of {} in an image of {}", ByteCount(store.size()), ByteCount(image.size()))
    });
    super::decided::threads(args.jobs, reporter);
    let job = Job::default().threads(args.jobs).progress(reporter);
    let verification = FileSystem::open(&store)
        .map_err(VerifyError::from)
        .and_then(|file_system| verify(&file_system, &registration, &job))
        .with_context(|| format!("cannot verify `{name}`"))?;

    let report = Report::new(&name, &verification);
    if args.json {
        streams::print_json(&report)?;
    } else {
        streams::print(lines(&as_lines(&report, args.strict)))?;
    }
    judge(&report, args, reporter)
}

/// What is wrong, a line each.
fn as_lines(report: &Report<'_>, strict: bool) -> String {
    let wrong = report.paths.iter().filter(|path| !matches!(path.finding, "right" | "unchecked"));
    let wrong = wrong.map(|path| format!("{:8} {}{}\n", path.finding, path.path, path.told));
    let deviations = report.deviations.first.iter().filter(|_| strict);
    wrong.chain(deviations.map(|deviation| format!("deviates {deviation}\n"))).collect()
}

fn judge(report: &Report<'_>, args: &VerifyArgs, reporter: &Reporter) -> anyhow::Result<()> {
    let Counts { right, unchecked, wrong, missing, extra, .. } = report.counts;
    let deviations = report.deviations.count;
    if unchecked > 0 {
        reporter.note(&format!(
            "warning: {unchecked} store paths were not checked: the registration has no hash or size for them"
        ));
    }
    if deviations > 0 && !args.strict {
        let first = report.deviations.first.first().map_or("", String::as_str);
        reporter.note(&format!(
            "warning: {deviations} files have another owner, mode or time than in a store (--strict lists them); \
             the first: {first}"
        ));
    }
    let counts = format!("{right} right, {wrong} wrong, {missing} missing, {extra} extra");
    if wrong + missing + extra > 0 {
        return Err(anyhow!("`{}` is not what the registration says: {counts}", report.image));
    }
    ensure!(
        deviations == 0 || !args.strict,
        "`{}` has {deviations} files with another owner, mode or time than in a store",
        report.image
    );
    reporter.note(&format!("{}: {counts}; {:.1} s", report.image, reporter.elapsed().as_secs_f64()));
    Ok(())
}

/// What `--json` prints.
#[derive(Serialize, JsonSchema)]
struct Report<'v> {
    image: &'v str,
    counts: Counts,
    deviations: &'v Deviations,
    paths: Vec<ReportedPath<'v>>,
}

#[derive(Serialize, JsonSchema)]
struct ReportedPath<'v> {
    path: &'v str,
    /// `right`, `unchecked`, `wrong`, `missing` or `extra`.
    finding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nar_size: Option<Pair<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nar_hash: Option<Pair<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'v str>,
    /// The same for people, behind the path.
    #[serde(skip)]
    told: String,
}

#[derive(Serialize, JsonSchema)]
struct Pair<T> {
    found: T,
    expected: T,
}

impl<'v> Report<'v> {
    fn new(image: &'v str, verification: &'v Verification) -> Self {
        Self {
            image,
            counts: verification.counts(),
            deviations: &verification.deviations,
            paths: verification.paths.iter().map(ReportedPath::new).collect(),
        }
    }
}

impl<'v> ReportedPath<'v> {
    fn new(VerifiedPath { path, finding, .. }: &'v VerifiedPath) -> Self {
        let (told, nar_size, nar_hash, problem) = (String::new(), None, None, None);
        let plain = |finding| Self { path, finding, nar_size, nar_hash, problem, told };
        match finding {
            Finding::Right => plain("right"),
            Finding::Unchecked => plain("unchecked"),
            Finding::Missing => plain("missing"),
            Finding::Extra => Self { told: ": not registered".to_owned(), ..plain("extra") },
            Finding::WrongSize { found, expected } => Self {
                told: format!(": its NAR has {found} bytes, not {expected}"),
                nar_size: Some(Pair { found: *found, expected: *expected }),
                ..plain("wrong")
            },
            Finding::WrongHash { found, expected } => Self {
                told: format!(": its NAR hash is {found}, not {expected}"),
                nar_hash: Some(Pair { found: found.to_string(), expected: expected.to_string() }),
                ..plain("wrong")
            },
            Finding::Unreadable(problem) => Self {
                told: format!(": cannot be read: {problem}"),
                problem: Some(problem),
                ..plain("wrong")
            },
        }
    }
}

/// The schema of `verify --json`.
pub fn schema() -> Schema {
    json::versioned_schema::<Report<'static>>("nix-imagegen verify --json")
}
