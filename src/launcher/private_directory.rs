//! Directories in which nobody but this user, and root, can put or exchange anything.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

/// Only the owner reads, writes and enters.
const OWNER_ONLY: u32 = 0o700;
/// Write permission for the group or for everybody.
const OTHERS_WRITE: u32 = 0o022;
/// In a directory with this bit, names belong to the owners of their files.
const STICKY: u32 = 0o1000;

/// A directory that is open, and that others can change nothing in.
#[derive(Debug)]
pub struct PrivateDirectory {
    file: File,
    path: PathBuf,
}

/// Why a directory cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be had at all.
    #[error("cannot use the directory `{path}`", path = .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A link has its name.
    #[error("`{path}` is a link, and where it leads may change; name the directory itself", path = .0.display())]
    Link(PathBuf),
    /// Something else has its name.
    #[error("`{path}` is not a directory; remove it", path = .0.display())]
    NoDirectory(PathBuf),
    /// Somebody else can do with it what he likes.
    #[error(
        "`{path}` belongs to another user (number {owner}), who could exchange what is in it",
        path = .path.display()
    )]
    Owner {
        /// The directory, or one that it lies in.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// Others may write to it.
    #[error(
        "others can write to `{path}` (mode {mode:04o}) and exchange what is in it; run `chmod go-w` on it",
        path = .path.display()
    )]
    Writable {
        /// The directory, or one that it lies in.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl PrivateDirectory {
    /// Opens a directory, which must be no link. Those that it lies in are looked at too, as far as others could
    /// exchange it there.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let (parent, path) = placed(path)?;
        let directory = Self::open_last(path)?;
        check_above(&parent)?;
        Ok(directory)
    }

    /// The same, after all that is missing of it was made, for this user alone whatever the umask.
    pub fn create(path: &Path) -> Result<Self, DirectoryError> {
        make_missing(path)?;
        Self::open(path)
    }

    /// The same, looking at nothing that it lies in: for a place that the user has chosen.
    pub fn create_there(path: &Path) -> Result<Self, DirectoryError> {
        make_missing(path)?;
        Self::open_last(path.to_owned())
    }

    /// Closes a directory in this one to others, if it is there.
    pub fn close_within(&self, name: &str) -> Result<(), DirectoryError> {
        let path = self.path.join(name);
        if is_missing(&path) {
            return Ok(());
        }
        let within = Self::open_last(path)?;
        let closed = within.file.set_permissions(PermissionsExt::from_mode(OWNER_ONLY));
        closed.map_err(|source| DirectoryError::Io { path: within.path, source })
    }

    /// Refuses one of root's.
    pub fn own(self) -> Result<Self, DirectoryError> {
        match self.file.metadata() {
            Ok(found) if found.uid() == rustix::process::geteuid().as_raw() => Ok(self),
            Ok(found) => Err(DirectoryError::Owner { path: self.path, owner: found.uid() }),
            Err(source) => Err(DirectoryError::Io { path: self.path, source }),
        }
    }

    /// Where it is; no part of it is a link.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Opens the last name without following a link, and looks at what that is.
    fn open_last(path: PathBuf) -> Result<Self, DirectoryError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match retry_on_intr(|| rustix::fs::openat(CWD, &path, flags, Mode::empty())) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP | Errno::NOTDIR) if path.is_symlink() => return Err(DirectoryError::Link(path)),
            Err(Errno::NOTDIR) => return Err(DirectoryError::NoDirectory(path)),
            Err(errno) => return Err(DirectoryError::Io { path, source: errno.into() }),
        };
        let found = match file.metadata() {
            Ok(found) => found,
            Err(source) => return Err(DirectoryError::Io { path, source }),
        };
        if !is_trusted(found.uid()) {
            return Err(DirectoryError::Owner { path, owner: found.uid() });
        }
        if found.mode() & OTHERS_WRITE != 0 {
            return Err(DirectoryError::Writable { path, mode: found.mode() & 0o7777 });
        }
        Ok(Self { file, path })
    }
}

/// The directory above, without links, and the path in it.
fn placed(path: &Path) -> Result<(PathBuf, PathBuf), DirectoryError> {
    let error = |source| DirectoryError::Io { path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(error)?;
    // A path that ends in `/..` has no last name that could be a link.
    let whole = matches!(absolute.components().next_back(), Some(Component::RootDir | Component::ParentDir));
    match absolute.parent().zip(absolute.file_name()) {
        Some((parent, name)) if !whole => {
            let parent = parent.canonicalize().map_err(error)?;
            let path = parent.join(name);
            Ok((parent, path))
        }
        _ => {
            let path = absolute.canonicalize().map_err(error)?;
            Ok((path.parent().unwrap_or(&path).to_owned(), path))
        }
    }
}

/// Others must not be able to put another directory in the place of one on the way to it.
fn check_above(parent: &Path) -> Result<(), DirectoryError> {
    for path in parent.ancestors() {
        let error = |source| DirectoryError::Io { path: path.to_owned(), source };
        let found = path.symlink_metadata().map_err(error)?;
        if !is_trusted(found.uid()) && !is_root_unmapped(found.uid()) {
            return Err(DirectoryError::Owner { path: path.to_owned(), owner: found.uid() });
        }
        if found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
            return Err(DirectoryError::Writable { path: path.to_owned(), mode: found.mode() & 0o7777 });
        }
    }
    Ok(())
}

/// Whether files of this owner are as good as one's own: root's are.
pub fn is_trusted(owner: u32) -> bool {
    owner == rustix::process::geteuid().as_raw() || owner == 0
}

/// In a user namespace without root, what is root's shows up as the overflow user's (`user_namespaces(7)`).
fn is_root_unmapped(owner: u32) -> bool {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    if read("/proc/sys/kernel/overflowuid").trim().parse() != Ok(owner) {
        return false;
    }
    let map = read("/proc/self/uid_map");
    // Each line: first number inside, first outside, how many.
    !map.is_empty() && map.lines().all(|line| line.split_whitespace().next() != Some("0"))
}

fn is_missing(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn make_missing(path: &Path) -> Result<(), DirectoryError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| is_missing(path)).collect();
    for directory in missing.into_iter().rev() {
        make(directory).map_err(|source| DirectoryError::Io { path: directory.to_owned(), source })?;
    }
    Ok(())
}

/// Makes a directory for this user alone; another process may be as fast.
fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(OWNER_ONLY).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // What an unusual umask took from the owner.
        made => made.and_then(|()| std::fs::set_permissions(path, PermissionsExt::from_mode(OWNER_ONLY))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn others_can_neither_write_to_it_nor_exchange_it() {
        let home = tempfile::tempdir().unwrap();
        let above = home.path().join("above");
        let path = above.join("directory");
        let made = PrivateDirectory::create(&path).unwrap();
        assert_eq!(made.path(), path.canonicalize().unwrap());
        for made in [&above, &path] {
            assert_eq!(made.metadata().unwrap().mode() & 0o777, 0o700);
        }
        for (directory, mode, is_private) in [
            (&path, 0o755, true),
            (&path, 0o775, false),
            (&path, 0o702, false),
            (&path, 0o1777, false),
            (&above, 0o775, false),
            (&above, 0o1777, true),
        ] {
            set_mode(directory, mode);
            assert_eq!(PrivateDirectory::open(&path).is_ok(), is_private, "{directory:?} {mode:o}");
            set_mode(directory, 0o700);
        }
        for owner in [&path, &above].into_iter().filter(|_| rustix::process::geteuid().is_root()) {
            std::os::unix::fs::chown(owner, Some(64_123), None).unwrap();
            let error = PrivateDirectory::open(&path).unwrap_err().to_string();
            assert!(error.contains("belongs to another user (number 64123)"), "{error}");
            std::os::unix::fs::chown(owner, Some(0), None).unwrap();
        }
    }

    #[test]
    fn links_and_files_are_refused_and_links_above_are_followed() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let real = PrivateDirectory::create(&at("real/directory")).unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        assert!(matches!(PrivateDirectory::open(&at("link")), Err(DirectoryError::Link(_))));
        assert!(matches!(PrivateDirectory::create(&at("link/")), Err(DirectoryError::Link(_))));
        assert!(matches!(PrivateDirectory::create(&at("file")), Err(DirectoryError::NoDirectory(_))));
        assert!(PrivateDirectory::create(&at("file/x")).is_err());
        assert_eq!(PrivateDirectory::open(&at("link/directory")).unwrap().path(), real.path());

        std::os::unix::fs::symlink(at("file"), at("real/xchg")).unwrap();
        let real = PrivateDirectory::open(&at("real")).unwrap();
        assert!(matches!(real.close_within("xchg"), Err(DirectoryError::Link(_))));
        real.close_within("none").unwrap();
        set_mode(&at("real/directory"), 0o755);
        real.close_within("directory").unwrap();
        assert_eq!(at("real/directory").metadata().unwrap().mode() & 0o777, 0o700);
    }
}
