//! Runs a command and measures it.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use imagegen::output::removal;
use imagegen::text::excerpt;
use schemars::JsonSchema;
use serde::Serialize;
use wait4::{ResUse, Wait4};

use super::contenders::Contender;
use super::scratch::{self, Scratch};
use super::survey::walk;

/// How much of what a failed command said is kept.
const COMPLAINT_MAX: usize = 500;

/// How a contender did in one round.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Run {
    /// From its start to its end.
    pub seconds: f64,
    /// Processor time, of all its processes.
    pub user_seconds: f64,
    /// Processor time within the kernel.
    pub system_seconds: f64,
    /// The most memory that any one of its processes had at a time.
    pub peak_memory_bytes: u64,
    /// What its output takes on disk, holes not counted.
    pub output_bytes: u64,
}

/// Why a contender did not do the work.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Failure {
    /// In which round.
    pub round: u32,
    /// Its exit status, unless a signal ended it.
    pub exit_status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The last lines that it said on stderr.
    pub stderr: Vec<String>,
    /// All that in a few words.
    pub reason: String,
}

impl Failure {
    /// The last line is the one that most programs end with when they fail.
    fn new(round: u32, status: std::process::ExitStatus, stderr: Vec<String>) -> Self {
        let words = match stderr.last() {
            Some(line) => line.clone(),
            None if status.success() => "it wrote no $OUT".to_owned(),
            None => "it said nothing".to_owned(),
        };
        let reason = excerpt(&format!("{status}: {words}"));
        Self { round, exit_status: status.code(), signal: status.signal(), stderr, reason }
    }
}

/// Runs contenders on a subject, one at a time.
pub struct Bench<'s> {
    scratch: &'s Scratch,
    variables: Vec<(&'static str, OsString)>,
}

impl<'s> Bench<'s> {
    /// Makes the directory that contenders write to; they find their input in these variables.
    pub fn new(scratch: &'s Scratch, mut variables: Vec<(&'static str, OsString)>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let path = std::env::join_paths(super::contenders::search_path())?;
        variables.push(("IMAGEGEN", program.into()));
        variables.push(("OUT", scratch.path("out/image").into()));
        variables.push(("PATH", path));
        // Nothing of the user's language in messages, and no word of it in times.
        variables.push(("LC_ALL", "C".into()));
        let bench = Self { scratch, variables };
        bench.empty()?;
        Ok(bench)
    }

    /// The variables that commands refer to, for people to set.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let shown = self.variables.iter().filter(|(name, _)| !matches!(*name, "PATH" | "LC_ALL"));
        shown.map(|(name, value)| (*name, Path::new(value)))
    }

    /// Reads what contenders will read.
    pub fn warm_up(&self, command: &str) -> anyhow::Result<()> {
        let (used, complaint) = finish(&mut self.shell(command), self.scratch)?;
        ensure!(used.status.success(), "cannot read the input: {}", complaint.join("; "));
        self.settle()
    }

    /// Runs a contender once, then takes its output away. Everybody finds the same: an empty directory, and a file
    /// system that has nothing left to write.
    pub fn run(&self, contender: &Contender, round: u32) -> anyhow::Result<Result<Run, Failure>> {
        let start = Instant::now();
        let (used, complaint) = finish(&mut self.shell(&contender.command), self.scratch)?;
        let seconds = start.elapsed().as_secs_f64();
        let output = self.scratch.path("out/image");
        let did_it = used.status.success() && output.symlink_metadata().is_ok();
        let output_bytes = if did_it { bytes_on_disk(&output)? } else { 0 };
        self.empty()?;
        self.settle()?;
        if !did_it {
            return Ok(Err(Failure::new(round, used.status, complaint)));
        }
        Ok(Ok(Run {
            seconds,
            user_seconds: used.rusage.utime.as_secs_f64(),
            system_seconds: used.rusage.stime.as_secs_f64(),
            peak_memory_bytes: used.rusage.maxrss,
            output_bytes,
        }))
    }

    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]);
        shell.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        shell
    }

    fn empty(&self) -> anyhow::Result<()> {
        let out = self.scratch.path("out");
        let left = removal::remove(&out).named.into_iter().next();
        let emptied = left.map_or(Ok(()), |(_, error)| Err(error)).and_then(|()| std::fs::create_dir(&out));
        emptied.with_context(|| format!("cannot empty `{}`", out.display()))
    }

    /// Waits until the file system has written what it has to write.
    fn settle(&self) -> anyhow::Result<()> {
        let out = self.scratch.path("out");
        let context = || format!("cannot sync `{}`", out.display());
        let directory = File::open(&out).with_context(context)?;
        rustix::fs::syncfs(&directory).with_context(context)
    }
}

/// Runs a command to its end, without input and with its output put aside. Gives how it ended, what it and its processes
/// used, and if it failed, the last lines that it said on stderr.
pub fn finish(command: &mut Command, scratch: &Scratch) -> anyhow::Result<(ResUse, Vec<String>)> {
    let log = scratch.path("log");
    let stderr = File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let name = command.get_program().display().to_string();
    let mut child = scratch::spawn(command).with_context(|| format!("cannot start `{name}`"))?;
    let used = child.wait4();
    scratch::over();
    let used = used.with_context(|| format!("cannot wait for `{name}`"))?;
    let complaint = if used.status.success() { Vec::new() } else { last_lines(&log)? };
    Ok((used, complaint))
}

/// The last lines of a log, as many as are of use to somebody.
fn last_lines(log: &Path) -> anyhow::Result<Vec<String>> {
    let bytes = std::fs::read(log).with_context(|| format!("cannot read `{}`", log.display()))?;
    let end = bytes.len().saturating_sub(COMPLAINT_MAX);
    let text = String::from_utf8_lossy(&bytes[end..]);
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// The blocks of a file, or of a tree.
fn bytes_on_disk(path: &Path) -> anyhow::Result<u64> {
    /// What `st_blocks` counts (stat(2)).
    const UNIT: u64 = 512;
    let mut bytes = 0;
    walk(path, |_, metadata| {
        bytes += metadata.blocks() * UNIT;
        Ok(())
    })?;
    Ok(bytes)
}
