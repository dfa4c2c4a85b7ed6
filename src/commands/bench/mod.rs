//! `bench`: the same work by this program and by today's tools, in turn, as ratios.

mod chart;
#[cfg(test)]
mod chart_tests;
mod contenders;
mod machine;
mod measure;
mod results;
mod scratch;
mod setup;
mod shape;
mod subject;
mod survey;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use imagegen::output::OutputFile;
use imagegen::units::ByteCount;

use schemars::Schema;

use crate::cli::{BenchArgs, SyncArg};
use crate::json;
use crate::progress::Reporter;
use crate::report::ReportFile;
use crate::streams;
use contenders::{Contender, REFERENCE};
use machine::Machine;
use measure::{Bench, Run};
use results::{Failed, Missing, Results};
use scratch::Scratch;
use subject::Subject;

pub use scratch::clean_up;

/// Measures, or does one of the small things that `--make` and `--list` ask for.
pub fn run(args: &BenchArgs, reporter: &Reporter) -> anyhow::Result<()> {
    if let Some(directory) = &args.make {
        return subject::make(args, directory);
    }
    let path = contenders::search_path();
    let all = all_contenders(args)?;
    if args.list {
        return streams::print(table::list(&all, |contender| contender.missing(&path)));
    }
    let (chosen, missing) = choose(all, args, &path)?;
    let json = args.json.as_deref().map(|path| ReportFile::create(path, SyncArg::default())).transpose()?;
    let svg = args.svg.as_deref().map(OutputFile::create).transpose()?;

    let results = measure(args, chosen, missing, reporter)?;
    let failed: Vec<_> = results.failed.iter().map(Failed::words).collect();
    let count = failed.len() + results.results.len();
    streams::print(table::results(&results))?;
    if let Some(json) = json {
        json.finish(&results)?;
    }
    if let Some((svg, path)) = svg.zip(args.svg.as_deref()) {
        let written = svg.file().write_all(chart::draw(&results).as_bytes());
        written.with_context(|| format!("cannot write the chart `{}`", path.display()))?;
        svg.finish()?;
    }
    ensure!(failed.is_empty(), "{} of {count} contenders failed: {}", failed.len(), failed.join("; "));
    Ok(())
}

fn all_contenders(args: &BenchArgs) -> anyhow::Result<Vec<Contender>> {
    let mut all = match args.toplevel {
        Some(_) => contenders::boot_disk(),
        None => contenders::store_image(),
    };
    for (name, command) in &args.peer {
        let taken = all.iter().any(|contender| contender.name == *name);
        ensure!(!taken, "--peer: there is a contender `{name}` already; give yours another name");
        all.push(Contender::given(name, command));
    }
    Ok(all)
}

/// Those who take part, and those who were to but cannot.
fn choose(
    all: Vec<Contender>,
    args: &BenchArgs,
    path: &[PathBuf],
) -> anyhow::Result<(Vec<Contender>, Vec<Missing>)> {
    for name in args.only.iter().chain(&args.skip) {
        if !all.iter().any(|contender| contender.name == *name) {
            let names: Vec<_> = all.iter().map(|contender| contender.name.as_str()).collect();
            bail!("there is no contender `{name}`; there are {}", names.join(", "));
        }
    }
    let is_wanted = |contender: &Contender| {
        let by_name = args.only.is_empty() || args.only.contains(&contender.name);
        (contender.is_given || by_name) && !args.skip.contains(&contender.name)
    };
    let mut chosen = Vec::new();
    let mut missing = Vec::new();
    for contender in all.into_iter().filter(is_wanted) {
        let programs = contender.missing(path);
        if programs.is_empty() || contender.is_given {
            chosen.push(contender);
        } else {
            missing.push(Missing { name: contender.name, programs });
        }
    }
    ensure!(!chosen.is_empty(), "no contender is left; --list tells which there are and what they need");
    Ok((chosen, missing))
}

fn measure(
    args: &BenchArgs,
    chosen: Vec<Contender>,
    missing: Vec<Missing>,
    reporter: &Reporter,
) -> anyhow::Result<Results> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let made = if args.store_root.is_none() { subject::shape(args).total } else { 0 };
    check_room(&parent, made)?;
    let scratch = Scratch::create(&parent)?;
    let machine = Machine::here(&std::path::absolute(&parent)?);
    let subject = Subject::prepare(args, &scratch, reporter)?;
    check_room(&parent, subject.room)?;

    let bench = Bench::new(&scratch, subject.variables)?;
    bench.warm_up(&subject.warm_up)?;
    let (runs, failed) = in_turn(&bench, chosen, args.rounds.get(), reporter)?;
    let took_part = runs.iter().any(|(contender, _)| contender.name == REFERENCE);
    let variables: Vec<_> = bench.variables().collect();
    let setup = setup::lines(&variables, subject.temporary.as_ref(), args.dir.as_deref());
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.display().to_string()));
    Ok(Results {
        title: subject.title,
        subject: subject.description,
        machine,
        rounds: args.rounds.get(),
        reference: took_part.then_some(REFERENCE),
        variables: variables.collect(),
        setup,
        results: results::outcomes(runs),
        failed,
        missing,
    })
}

/// Those who did the work in each round, with their runs, and those who did not.
type Ran = (Vec<(Contender, Vec<Run>)>, Vec<Failed>);

/// Lets everybody run in each round, until it fails for the first time.
fn in_turn(
    bench: &Bench<'_>,
    chosen: Vec<Contender>,
    rounds: u32,
    reporter: &Reporter,
) -> anyhow::Result<Ran> {
    let mut all: Vec<_> = chosen.into_iter().map(|contender| (contender, Vec::new(), None)).collect();
    for round in 1..=rounds {
        reporter.note(&format!("round {round} of {rounds}"));
        for (contender, runs, failure) in all.iter_mut().filter(|(_, _, failure)| failure.is_none()) {
            let name = &contender.name;
            match bench.run(contender, round)? {
                Ok(run) => {
                    reporter.note(&format!("  {name}: {}", table::seconds(run.seconds)));
                    runs.push(run);
                }
                Err(why) => {
                    reporter.note(&format!("  {name}: failed ({})", why.reason));
                    *failure = Some(why);
                }
            }
        }
    }
    let (mut ran, mut failed) = (Vec::new(), Vec::new());
    for (contender, runs, failure) in all {
        match failure {
            None => ran.push((contender, runs)),
            Some(failure) => failed.push(Failed { contender, failure, runs }),
        }
    }
    Ok((ran, failed))
}

/// Fails before the work where the file system would be full in the middle of it.
fn check_room(directory: &Path, needed: u64) -> anyhow::Result<()> {
    let found =
        rustix::fs::statvfs(directory).with_context(|| format!("cannot use `{}`", directory.display()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    ensure!(
        free >= needed,
        "the measurement needs {} in `{}`, which has {}; name another directory with --dir",
        ByteCount(needed),
        directory.display(),
        ByteCount(free)
    );
    Ok(())
}

/// The schema of `bench --json`.
pub fn schema() -> Schema {
    json::versioned_schema::<Results>("nix-imagegen bench --json")
}
