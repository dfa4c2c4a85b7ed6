//! Whether the window of a machine can open.

use std::ffi::OsString;

use super::config::{Config, ShellText};
use super::environment::Environment;
use super::shell;

/// QEMU's options that say where the screen goes; and the one that takes QEMU off the terminal, on which nothing may be then.
const OPTIONS: [&str; 7] = ["daemonize", "display", "nographic", "curses", "sdl", "spice", "vnc"];

/// Whether a machine is to have a window that could not open: this machine has no screen, and nothing that the user adds
/// to QEMU's arguments says where else the machine's screen goes.
pub fn is_missing(config: &Config, environment: &Environment, more: &[OsString]) -> bool {
    let of_config = config.qemu.options.iter().flat_map(|ShellText(text)| text.split_whitespace());
    let opts = environment.get("QEMU_OPTS").map(shell::split).unwrap_or_default();
    let given =
        opts.iter().copied().chain(more.iter().map(OsString::as_os_str)).filter_map(|word| word.to_str());
    let says_where = |word: &str| word.starts_with('-') && OPTIONS.contains(&word.trim_start_matches('-'));
    config.graphics && !environment.has_display() && !of_config.chain(given).any(says_where)
}
