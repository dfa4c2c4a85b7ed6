//! Where a bar goes: a terminal with its width at the moment, or something else that has none.

use std::io::IsTerminal;

use rustix::termios::tcgetwinsize;

use crate::streams::Redrawing;

/// Where nobody tells a width.
const USUAL_COLUMNS: u16 = 80;
/// No bar gains by more, whatever a variable says.
const COLUMNS_MAX: u16 = 500;

/// What stderr leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How a bar is drawn anew in it.
    pub redrawn_by: Redrawing,
    is_terminal: bool,
    /// As the user's shell tells programs that cannot ask (`COLUMNS`), or what is usual.
    told: u16,
}

impl Window {
    /// The one of this process.
    pub fn of_standard_error() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let has_commands = std::env::var_os("TERM").is_some_and(|name| name != "dumb" && !name.is_empty());
        let redrawn_by = if is_terminal && has_commands { Redrawing::Terminal } else { Redrawing::Return };
        let told = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        Self { redrawn_by, is_terminal, told: told.filter(|&told| told > 0).unwrap_or(USUAL_COLUMNS) }
    }

    /// Its width now: windows change. Serial consoles are terminals that say 0.
    pub fn columns(self) -> usize {
        let asked = self.is_terminal.then(|| tcgetwinsize(std::io::stderr()).ok()).flatten();
        let columns = asked.map(|size| size.ws_col).filter(|&columns| columns > 0);
        columns.unwrap_or(self.told).min(COLUMNS_MAX).into()
    }
}
