//! How systemd-boot's menu looks and behaves.

use std::fmt;
use std::str::FromStr;

use crate::boot::Timeout;

/// How the menu looks and behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long the menu waits.
    pub timeout: Timeout,
    /// Whether kernel parameters may be edited in the menu.
    pub editor: bool,
    /// The resolution of the menu.
    pub console_mode: ConsoleMode,
    /// Parameters that every entry gets after its own.
    pub kernel_params: Vec<String>,
    /// The machine's ID, which some tools look for in entries.
    pub machine_id: Option<String>,
}

impl Default for Settings {
    /// What NixOS's options for systemd-boot are unless they are set.
    fn default() -> Self {
        Self {
            timeout: Timeout::Seconds(5),
            editor: true,
            console_mode: ConsoleMode::Keep,
            kernel_params: Vec::new(),
            machine_id: None,
        }
    }
}

/// The resolution of the menu, in the words of `loader.conf(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleMode {
    /// As the firmware left it.
    Keep,
    /// Chosen by systemd-boot.
    Auto,
    /// The highest that there is.
    Max,
    /// A UEFI text mode.
    Mode(u32),
}

/// A console mode that `loader.conf` does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a console mode: write keep, auto, max or a number")]
pub struct ConsoleModeError(String);

impl fmt::Display for ConsoleMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep"),
            Self::Auto => f.write_str("auto"),
            Self::Max => f.write_str("max"),
            Self::Mode(mode) => write!(f, "{mode}"),
        }
    }
}

impl FromStr for ConsoleMode {
    type Err = ConsoleModeError;

    fn from_str(text: &str) -> Result<Self, ConsoleModeError> {
        match text {
            "keep" => Ok(Self::Keep),
            "auto" => Ok(Self::Auto),
            "max" => Ok(Self::Max),
            number => number.parse().map(Self::Mode).map_err(|_| ConsoleModeError(text.to_owned())),
        }
    }
}
