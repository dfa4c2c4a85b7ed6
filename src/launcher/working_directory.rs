//! QEMU's working directory, for files that last as long as the machine runs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::environment::Environment;
use super::private_directory::PrivateDirectory;

/// The directory for exchange with the guest, in the working directory.
pub const EXCHANGE: &str = "xchg";

/// `TMPDIR` itself, or a directory that was made for this machine.
pub struct WorkingDirectory {
    path: PathBuf,
    /// Removes the directory when it is dropped.
    made: Option<tempfile::TempDir>,
}

impl WorkingDirectory {
    /// `TMPDIR` itself where `USE_TMPDIR` says so, or a new directory in it.
    pub fn open(environment: &Environment) -> anyhow::Result<Self> {
        let tmpdir = environment.path("TMPDIR");
        if let Some(directory) = tmpdir.filter(|_| environment.get("USE_TMPDIR").is_some()) {
            if !directory.is_dir() {
                bail!("TMPDIR: there is no directory `{}`", directory.display());
            }
            let remedy = "USE_TMPDIR: TMPDIR must be a directory of your own, as `mkdir -m 700` makes it";
            let own = PrivateDirectory::open(directory).and_then(PrivateDirectory::own).context(remedy)?;
            own.close_within(EXCHANGE).context(remedy)?;
            return Ok(Self { path: own.path().to_owned(), made: None });
        }
        let parent = tmpdir.unwrap_or(Path::new("/tmp"));
        let context = || format!("cannot create a directory in `{}`", parent.display());
        let absolute = std::path::absolute(parent).with_context(context)?;
        let only_owner = || Permissions::from_mode(0o700);
        let mut new = tempfile::Builder::new();
        let made =
            new.prefix("nix-vm.").permissions(only_owner()).tempdir_in(absolute).with_context(context)?;
        // An unusual umask may have taken permissions from the owner.
        fs::set_permissions(made.path(), only_owner()).with_context(context)?;
        Ok(Self { path: made.path().to_owned(), made: Some(made) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What has to be removed when the machine has ended.
    pub fn removable(&self) -> Option<&Path> {
        self.made.as_ref().map(tempfile::TempDir::path)
    }

    /// Keeps it from being removed with the value.
    pub fn keep(self) -> PathBuf {
        if let Some(made) = self.made {
            let _ = made.keep();
        }
        self.path
    }
}
