//! Who may read and write an output.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Gid, Mode};

/// Who may read and write an output when it has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The users of the file that it replaces; for a new file, the umask decides.
    Usual,
    /// Its owner, whatever the umask and the file that it replaces.
    Private,
}

impl Access {
    /// The mode to create a file with, from which the system takes the umask's bits.
    pub(super) fn mode(self) -> Mode {
        match self {
            Self::Usual => Mode::from_raw_mode(0o666),
            Self::Private => Mode::from_raw_mode(0o600),
        }
    }

    /// Gives a usual file the permissions and the group of the one at `target` (or of what a link there leads to).
    pub(super) fn keep(self, file: &File, target: &Path) -> io::Result<()> {
        let old = match target.metadata() {
            Ok(old) if self == Self::Usual && old.is_file() => old,
            // Nothing is replaced, or giving the file its name will fail.
            _ => return Ok(()),
        };
        let new = file.metadata()?;
        let mut mode = old.mode() & 0o777;
        if old.gid() != new.gid() && rustix::fs::fchown(file, None, Some(Gid::from_raw(old.gid()))).is_err() {
            // The new group is another one, so it gets no more than everybody.
            mode &= 0o707 | (mode & 0o007) << 3;
        }
        if mode == new.mode() & 0o777 {
            return Ok(());
        }
        file.set_permissions(Permissions::from_mode(mode))
    }
}
