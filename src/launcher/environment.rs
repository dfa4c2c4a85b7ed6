//! The environment variables that the module's script obeys, and the shell variables that it sets itself.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::host::Facts;
use super::shell::Variables;

/// A process's environment variables.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// The process's own.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// A variable that is set to something; to the script, empty and unset are the same.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A variable that names a file.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.get(name).map(Path::new)
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self { variables: variables.into_iter().collect() }
    }
}

/// The variables as the script's last lines see them: it has set some by then, and gone to its temporary directory.
pub struct ScriptVariables<'m> {
    /// What the script was given.
    pub environment: &'m Environment,
    /// What it found.
    pub facts: &'m Facts,
}

impl Variables for ScriptVariables<'_> {
    fn get(&self, name: &str) -> Option<&OsStr> {
        let facts = self.facts;
        let own = match name {
            "TMPDIR" | "PWD" => Some(&facts.directory),
            "NIX_DISK_IMAGE" => facts.root_disk.as_ref(),
            "NIX_EFI_VARS" => facts.efi.as_ref().map(|efi| &efi.variables),
            "NIX_SWTPM_DIR" => facts.tpm.as_ref().map(|tpm| &tpm.directory),
            _ => None,
        };
        own.map(|path| path.as_os_str())
            .or_else(|| self.environment.variables.get(OsStr::new(name)).map(OsString::as_os_str))
    }
}
