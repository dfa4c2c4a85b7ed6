//! What people and programs see of the work while it goes on: bars or JSON lines, on stderr.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use imagegen::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::cli::ProgressKind;
use crate::invocation::Invocation;
use crate::streams;

/// How long a phase lasts before a bar appears.
const BAR_AFTER: Duration = Duration::from_secs(1);
/// How often a JSON line is written within a phase.
const JSON_EVERY: Duration = Duration::from_millis(500);

/// Shows progress and keeps the time of each phase for reports.
pub struct Reporter {
    /// Never `Auto`.
    show: ProgressKind,
    quiet: bool,
    arguments: Vec<String>,
    started: Instant,
    state: Mutex<State>,
    /// Bytes of the current phase; apart from the rest, since many threads add to it.
    done: AtomicU64,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    finished: Vec<Phase>,
}

struct Current {
    name: &'static str,
    total: u64,
    started: Instant,
    said: Instant,
    bar: Option<ProgressBar>,
}

/// A finished phase, as reports name it.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub seconds: f64,
    /// How many bytes it went through.
    pub bytes: u64,
}

impl Reporter {
    /// What the command line asks for.
    pub fn new(Invocation { cli, arguments }: &Invocation) -> Self {
        let show = match cli.progress {
            _ if cli.quiet => ProgressKind::None,
            ProgressKind::Auto if std::io::stderr().is_terminal() => ProgressKind::Bar,
            ProgressKind::Auto => ProgressKind::None,
            asked => asked,
        };
        Self {
            show,
            quiet: cli.quiet,
            arguments: arguments.clone(),
            started: Instant::now(),
            state: Mutex::default(),
            done: AtomicU64::new(0),
        }
    }

    /// What makes the same image again.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The phases that are over, in order.
    pub fn phases(&self) -> Vec<Phase> {
        self.lock().finished.clone()
    }

    /// The time since the program began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Says a line on stderr, unless `--quiet` was given.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            streams::say(line);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Reporter {
    fn begin(&self, name: &'static str, total: u64) {
        self.end();
        self.done.store(0, Ordering::Relaxed);
        let now = Instant::now();
        self.lock().current = Some(Current { name, total, started: now, said: now, bar: None });
    }

    fn advance(&self, amount: u64) {
        let done = self.done.fetch_add(amount, Ordering::Relaxed) + amount;
        if self.show == ProgressKind::None {
            return;
        }
        // Another thread updates the display. The next call shows this amount too.
        let Ok(mut state) = self.state.try_lock() else { return };
        let Some(current) = &mut state.current else { return };
        let now = Instant::now();
        if self.show == ProgressKind::Json {
            if now.duration_since(current.said) >= JSON_EVERY {
                current.said = now;
                say(&Line { phase: current.name, bytes: done, total: current.total, seconds: None });
            }
        } else if now.duration_since(current.started) >= BAR_AFTER {
            current.bar.get_or_insert_with(|| bar(current.name, current.total)).set_position(done);
        }
    }

    fn end(&self) {
        let mut state = self.lock();
        let Some(current) = state.current.take() else { return };
        let bytes = self.done.load(Ordering::Relaxed);
        let seconds = current.started.elapsed().as_secs_f64();
        if let Some(bar) = current.bar {
            bar.finish_and_clear();
        }
        if self.show == ProgressKind::Json {
            say(&Line { phase: current.name, bytes, total: current.total, seconds: Some(seconds) });
        }
        state.finished.push(Phase { name: current.name, seconds, bytes });
    }
}

/// One line of `--progress json`.
#[derive(Serialize)]
struct Line {
    phase: &'static str,
    bytes: u64,
    total: u64,
    /// Given with a phase's last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

fn say(line: &Line) {
    if let Ok(text) = serde_json::to_string(line) {
        streams::say(&text);
    }
}

fn bar(name: &'static str, total: u64) -> ProgressBar {
    let bar = if total == 0 { ProgressBar::no_length() } else { ProgressBar::new(total) };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let template = if total == 0 {
        "{msg:>8} {spinner} {bytes} {bytes_per_sec}"
    } else {
        "{msg:>8} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(name);
    bar
}
