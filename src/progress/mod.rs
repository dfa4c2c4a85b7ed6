//! What people and programs see of the work while it goes on: bars or JSON lines, on stderr.
//!
//! Those who work only add to a number. A thread of its own looks at it now and then and says how far it is.

mod bar;
mod rate;
mod window;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use imagegen::progress::Progress;

use crate::cli::ProgressKind;
use crate::events::{Event, Level, Phase};
use crate::invocation::Invocation;
use crate::streams::{self, Redrawing};
use bar::View;
use rate::Rate;
use window::Window;

/// How long a phase lasts before a bar appears that nobody asked for.
const BAR_AFTER: Duration = Duration::from_secs(1);
/// How often a bar is drawn on a terminal.
const DRAWN_EVERY: Duration = Duration::from_millis(100);
/// How often it is drawn where all states of it are kept.
const KEPT_EVERY: Duration = Duration::from_secs(1);
/// How often a JSON line is written within a phase.
const JSON_EVERY: Duration = Duration::from_millis(500);
/// Enough for the thread that looks at the work.
const STACK: usize = 256 << 10;

/// Shows progress and keeps the time of each phase for reports.
pub struct Reporter {
    shared: Arc<Shared>,
    quiet: bool,
    verbose: u8,
    arguments: Vec<String>,
    started: Instant,
}

/// What the thread has too.
struct Shared {
    show: Show,
    state: Mutex<State>,
    /// Notified when it is over.
    over: Condvar,
    /// Bytes of the current phase; apart from the rest, since many threads add to it.
    done: AtomicU64,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    Nothing,
    Json,
    /// In a window, at once or where a phase takes its time.
    Bar {
        window: Window,
        at_once: bool,
    },
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    finished: Vec<Phase>,
    is_over: bool,
}

struct Current {
    phase: &'static str,
    /// Zero where nobody knows.
    total: u64,
    started: Instant,
    rate: Rate,
}

impl Reporter {
    /// What the command line asks for.
    pub fn new(Invocation { cli, arguments }: &Invocation) -> Self {
        let window = Window::of_standard_error();
        let show = match cli.progress {
            _ if cli.quiet => Show::Nothing,
            ProgressKind::Auto if window.redrawn_by == Redrawing::Terminal => {
                Show::Bar { window, at_once: false }
            }
            ProgressKind::Auto | ProgressKind::None => Show::Nothing,
            ProgressKind::Bar => Show::Bar { window, at_once: true },
            ProgressKind::Json => Show::Json,
        };
        let shared =
            Arc::new(Shared { show, state: Mutex::default(), over: Condvar::new(), done: AtomicU64::new(0) });
        if show != Show::Nothing {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("progress".to_owned()).stack_size(STACK);
            // Without the thread only the beginning and the end of a phase are shown.
            let _ = thread.spawn(move || shared.look_on());
        }
        Self {
            shared,
            quiet: cli.quiet,
            verbose: cli.verbose,
            arguments: arguments.clone(),
            started: Instant::now(),
        }
    }

    /// What makes the same image again.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The phases that are over, in order.
    pub fn phases(&self) -> Vec<Phase> {
        self.shared.lock().finished.clone()
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

    /// Says what was decided, for `--verbose`.
    pub fn decided(&self, line: impl FnOnce() -> String) {
        self.detail(1, line);
    }

    fn detail(&self, verbose: u8, line: impl FnOnce() -> String) {
        if self.verbose >= verbose {
            let text = line();
            if !streams::tell(&Event::Message { level: Level::Detail, text: text.clone() }) {
                streams::say(&text);
            }
        }
    }

    /// The work is done; `becomes` is the program that this one turns into, if it does. Programs that listen are told.
    pub fn finish(&self, exit_status: u8, becomes: Option<String>) {
        self.end();
        if self.shared.show == Show::Json {
            streams::tell(&Event::Summary {
                exit_status,
                seconds: self.elapsed().as_secs_f64(),
                phases: self.phases(),
                becomes,
            });
        }
    }
}

impl Drop for Reporter {
    /// Lets nothing be drawn after the words in which the program tells why it failed.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_over = true;
        state.current = None;
        self.shared.over.notify_all();
        streams::end_bar();
    }
}

impl Progress for Reporter {
    fn begin(&self, phase: &'static str, total: u64) {
        self.end();
        self.shared.done.store(0, Ordering::Relaxed);
        let mut state = self.shared.lock();
        let current = Current { phase, total, started: Instant::now(), rate: Rate::default() };
        let current = state.current.insert(current);
        self.shared.show(current);
    }

    fn advance(&self, amount: u64) {
        self.shared.done.fetch_add(amount, Ordering::Relaxed);
    }

    fn end(&self) {
        let mut state = self.shared.lock();
        let Some(mut current) = state.current.take() else { return };
        let bytes = self.shared.done.load(Ordering::Relaxed);
        let seconds = current.started.elapsed().as_secs_f64();
        let Current { phase, total, .. } = current;
        match self.shared.show {
            Show::Nothing => {}
            Show::Json => {
                streams::tell(&Event::Phase { phase, bytes, total, seconds });
            }
            Show::Bar { window, .. } => {
                // Where the last state stays it is the whole work.
                if window.redrawn_by == Redrawing::Return {
                    self.shared.show(&mut current);
                }
                streams::end_bar();
            }
        }
        state.finished.push(Phase { name: phase, seconds, bytes });
        drop(state);
        self.detail(2, || format!("{phase}: {} in {seconds:.2} s", imagegen::units::ByteCount(bytes)));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the current phase again and again, until it is over.
    fn look_on(&self) {
        let every = match self.show {
            Show::Nothing => return,
            Show::Json => JSON_EVERY,
            Show::Bar { window, .. } if window.redrawn_by == Redrawing::Return => KEPT_EVERY,
            Show::Bar { .. } => DRAWN_EVERY,
        };
        let mut state = self.lock();
        while !state.is_over {
            state = self.over.wait_timeout(state, every).unwrap_or_else(PoisonError::into_inner).0;
            if let Some(current) = &mut state.current {
                self.show(current);
            }
        }
    }

    fn show(&self, current: &mut Current) {
        let bytes = self.done.load(Ordering::Relaxed);
        let elapsed = current.started.elapsed();
        current.rate.record(elapsed, bytes);
        let Current { phase, total, rate, .. } = *current;
        let remaining = rate.time_for(total.saturating_sub(bytes)).filter(|_| total > 0);
        match self.show {
            Show::Nothing => {}
            Show::Json => {
                streams::tell(&Event::Progress {
                    phase,
                    bytes,
                    total,
                    elapsed_seconds: elapsed.as_secs_f64(),
                    bytes_per_second: rate.per_second(),
                    remaining_seconds: remaining.map(|remaining| remaining.as_secs()),
                });
            }
            Show::Bar { window, at_once } => {
                if at_once || elapsed >= BAR_AFTER {
                    let per_second = rate.per_second();
                    let view = View { phase, bytes, total, elapsed, per_second, remaining };
                    // One column less than there are, as drawing asks for.
                    let columns = window.columns().saturating_sub(1);
                    streams::draw(&view.line(columns), window.redrawn_by);
                }
            }
        }
    }
}
