//! The temporary directory of a benchmark, which goes away however the program ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use imagegen::output::removal;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// How long killed processes may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// What a signal has to stop and to remove.
struct State {
    directory: Option<PathBuf>,
    /// The process group of the running contender.
    group: Option<Pid>,
}

static STATE: Mutex<State> = Mutex::new(State { directory: None, group: None });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory that is removed on drop and by [`clean_up`]. There is one at a time.
pub struct Scratch {
    directory: PathBuf,
}

impl Scratch {
    /// Makes a directory below `parent`.
    pub fn create(parent: &Path) -> anyhow::Result<Self> {
        let mut state = state();
        let made = tempfile::Builder::new().prefix("nix-imagegen-bench-").tempdir_in(parent);
        let made =
            made.with_context(|| format!("cannot create a temporary directory in `{}`", parent.display()))?;
        // Absolute, since contenders may change the directory.
        let directory = std::path::absolute(made.keep())?;
        state.directory = Some(directory.clone());
        drop(state);
        Ok(Self { directory })
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut state = state();
        state.directory = None;
        // What cannot be removed is in the user's own temporary directory; the result is worth more than a complaint.
        let _ = removal::remove(&self.directory);
    }
}

/// Starts a command in a process group of its own, which [`clean_up`] stops. One runs at a time.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut state = state();
    let child = command.process_group(0).spawn()?;
    state.group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    Ok(child)
}

/// The command that [`spawn`] started is over, and waited for.
pub fn over() {
    state().group = None;
}

/// Stops what runs and removes the temporary directory. For a program that was told to stop and is about to: no
/// contender can be started after it.
pub fn clean_up() {
    let state = state();
    if let Some(group) = state.group {
        // Fails where it is over already.
        let _ = kill_process_group(group, Signal::KILL);
        let deadline = Instant::now() + KILLED_WITHIN;
        while test_kill_process_group(group).is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    if let Some(directory) = &state.directory {
        let _ = removal::remove(directory);
    }
    // Whoever waits for the lock would go on with the work.
    std::mem::forget(state);
}
