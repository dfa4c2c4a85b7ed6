//! The environment variables that the module's script obeys.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// A process's environment variables.
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// An environment of these variables.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(variables.into_iter().collect())
    }

    /// The variables of this process.
    pub fn of_process() -> Self {
        Self::new(std::env::vars_os())
    }

    /// All but this variable.
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(OsStr::new(name));
        self
    }

    /// A variable that is set, maybe to an empty text.
    pub fn get_any(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// A variable that is not empty; to the script, empty and unset are the same.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.get_any(name).filter(|value| !value.is_empty())
    }

    /// Whether there is a screen for a window.
    pub fn has_display(&self) -> bool {
        ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| self.get(name).is_some())
    }

    /// A variable that names a file.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.get(name).map(Path::new)
    }
}
