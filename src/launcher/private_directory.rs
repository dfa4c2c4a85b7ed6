//! Directories in which only this user and root can make or exchange files.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail, ensure};
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

/// Adds the directory's path to an error.
fn at<T>(path: &Path, result: io::Result<T>) -> anyhow::Result<T> {
    result.with_context(|| format!("cannot use the directory `{}`", path.display()))
}

impl PrivateDirectory {
    /// Opens a directory, which must be no link. The directories above it are checked too, as far as others could
    /// exchange it there.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let (parent, path) = resolve_parent(path)?;
        let directory = Self::open_last(path)?;
        check_above(&parent)?;
        Ok(directory)
    }

    /// The same. What is missing of the path is made first, for this user alone whatever the umask.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        make_missing(path)?;
        Self::open(path)
    }

    /// The same without a check of the directories above it, for a path that the user has chosen.
    pub fn create_there(path: &Path) -> anyhow::Result<Self> {
        make_missing(path)?;
        Self::open_last(path.to_owned())
    }

    /// Takes others' permissions to a directory in this one away, if it exists.
    pub fn close_within(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        if is_missing(&path) {
            return Ok(());
        }
        let within = Self::open_last(path)?;
        at(&within.path, within.file.set_permissions(PermissionsExt::from_mode(OWNER_ONLY)))
    }

    /// Refuses a directory of root's.
    pub fn own(self) -> anyhow::Result<Self> {
        let owner = at(&self.path, self.file.metadata())?.uid();
        check_owner(&self.path, owner, owner == rustix::process::geteuid().as_raw())?;
        Ok(self)
    }

    /// The directory's path, no part of which is a link.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open directory.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Opens a directory without following a link that has its name, and checks it.
    fn open_last(path: PathBuf) -> anyhow::Result<Self> {
        let shown = path.display();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match retry_on_intr(|| rustix::fs::openat(CWD, &path, flags, Mode::empty())) {
            Err(Errno::LOOP | Errno::NOTDIR) if path.is_symlink() => {
                bail!("`{shown}` is a link, and where it leads may change; name the directory itself")
            }
            Err(Errno::NOTDIR) => bail!("`{shown}` is not a directory; remove it"),
            opened => File::from(at(&path, opened.map_err(io::Error::from))?),
        };
        let found = at(&path, file.metadata())?;
        check_owner(&path, found.uid(), is_trusted(found.uid()))?;
        check_mode(&path, found.mode())?;
        Ok(Self { file, path })
    }
}

fn check_owner(path: &Path, owner: u32, is_trusted: bool) -> anyhow::Result<()> {
    let shown = path.display();
    ensure!(
        is_trusted,
        "`{shown}` belongs to another user (number {owner}), who could exchange what is in it"
    );
    Ok(())
}

fn check_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    ensure!(
        mode & OTHERS_WRITE == 0,
        "others can write to `{}` (mode {:04o}) and exchange what is in it; run `chmod go-w` on it",
        path.display(),
        mode & 0o7777
    );
    Ok(())
}

/// The directory above, without links, and the path in it.
fn resolve_parent(path: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let absolute = at(path, std::path::absolute(path))?;
    // A path that ends in `/..` has no last name that could be a link.
    let has_name =
        !matches!(absolute.components().next_back(), Some(Component::RootDir | Component::ParentDir));
    if let Some((parent, name)) = absolute.parent().zip(absolute.file_name()).filter(|_| has_name) {
        let parent = at(path, parent.canonicalize())?;
        let path = parent.join(name);
        return Ok((parent, path));
    }
    let path = at(path, absolute.canonicalize())?;
    Ok((path.parent().unwrap_or(&path).to_owned(), path))
}

/// Checks that others cannot exchange a directory on the way. In a sticky directory they can write but exchange nothing.
fn check_above(parent: &Path) -> anyhow::Result<()> {
    for path in parent.ancestors() {
        let found = at(path, path.symlink_metadata())?;
        check_owner(path, found.uid(), is_trusted(found.uid()) || is_root_unmapped(found.uid()))?;
        if found.mode() & STICKY == 0 {
            check_mode(path, found.mode())?;
        }
    }
    Ok(())
}

/// Whether the owner is this user or root.
pub fn is_trusted(owner: u32) -> bool {
    owner == rustix::process::geteuid().as_raw() || owner == 0
}

/// In a user namespace without root, root's files appear as the overflow user's (`user_namespaces(7)`).
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

fn make_missing(path: &Path) -> anyhow::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| is_missing(path)).collect();
    for directory in missing.into_iter().rev() {
        at(directory, make(directory))?;
    }
    Ok(())
}

/// Makes a directory for this user alone. Another process may have made it first.
fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(OWNER_ONLY).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // An unusual umask may have taken permissions from the owner.
        made => made.and_then(|()| std::fs::set_permissions(path, PermissionsExt::from_mode(OWNER_ONLY))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn told<T>(result: anyhow::Result<T>, what: &str) -> bool {
        result.is_err_and(|error| error.to_string().contains(what))
    }

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
        assert!(told(PrivateDirectory::open(&at("link")), "is a link"));
        assert!(told(PrivateDirectory::create(&at("link/")), "is a link"));
        assert!(told(PrivateDirectory::create(&at("file")), "is not a directory"));
        assert!(PrivateDirectory::create(&at("file/x")).is_err());
        assert_eq!(PrivateDirectory::open(&at("link/directory")).unwrap().path(), real.path());

        std::os::unix::fs::symlink(at("file"), at("real/xchg")).unwrap();
        let real = PrivateDirectory::open(&at("real")).unwrap();
        assert!(told(real.close_within("xchg"), "is a link"));
        real.close_within("none").unwrap();
        set_mode(&at("real/directory"), 0o755);
        real.close_within("directory").unwrap();
        assert_eq!(at("real/directory").metadata().unwrap().mode() & 0o777, 0o700);
    }
}
