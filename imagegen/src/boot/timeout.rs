//! How long a boot menu waits.

use std::fmt;
use std::str::FromStr;

/// How long the menu waits, in the words of `loader.conf(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// This many seconds; with 0 it shows only when a key is pressed.
    Seconds(u32),
    /// Until something is chosen.
    MenuForce,
    /// As with 0, whatever the firmware's variables say.
    MenuHidden,
    /// Never, not even when a key is pressed.
    MenuDisabled,
}

/// A timeout that `loader.conf` does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a timeout: write a number of seconds, menu-force, menu-hidden or menu-disabled")]
pub struct TimeoutError(String);

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(f, "{seconds}"),
            Self::MenuForce => f.write_str("menu-force"),
            Self::MenuHidden => f.write_str("menu-hidden"),
            Self::MenuDisabled => f.write_str("menu-disabled"),
        }
    }
}

impl FromStr for Timeout {
    type Err = TimeoutError;

    fn from_str(text: &str) -> Result<Self, TimeoutError> {
        match text {
            "menu-force" => Ok(Self::MenuForce),
            "menu-hidden" => Ok(Self::MenuHidden),
            "menu-disabled" => Ok(Self::MenuDisabled),
            number => number.parse().map(Self::Seconds).map_err(|_| TimeoutError(text.to_owned())),
        }
    }
}
