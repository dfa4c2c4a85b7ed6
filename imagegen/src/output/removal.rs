//! Removes a directory, whatever a guest or a benchmarked tool left there.
//!
//! Links are not followed, and mounted file systems are not touched. The tree may be deeper than a process can have
//! directories open: what is deeper than a fixed number of levels is moved up to the top directory first.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

/// How many directories are open at once.
const DEPTH_MAX: usize = 32;
/// How many of the files that stay are named.
const NAMED_MAX: usize = 10;
const OWNER_ONLY: u32 = 0o700;

/// What could not be removed.
#[derive(Debug, Default)]
pub struct Left {
    /// The first ones, with the reasons.
    pub named: Vec<(PathBuf, io::Error)>,
    /// How many more there are.
    pub more: u64,
}

/// Removes a directory of this user's and all that is in it.
pub fn remove(directory: &Path) -> Left {
    let mut removal = Removal { top: directory, left: Left::default(), stay: BTreeSet::new(), moved: 0 };
    match removal.run() {
        Ok(()) => {}
        // Whoever started the machine may have removed it first.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // The files that stay are named already.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && !removal.left.named.is_empty() => {}
        Err(error) => removal.leave(directory.to_owned(), error),
    }
    removal.left
}

struct Removal<'p> {
    top: &'p Path,
    left: Left,
    /// Names in the top directory that cannot be removed.
    stay: BTreeSet<OsString>,
    /// How many directories were moved up.
    moved: u64,
}

/// A directory on the way down.
struct Level {
    entries: Dir,
    path: PathBuf,
    /// Something was removed since the entries were last read from the start.
    is_changed: bool,
    /// Something in it stays.
    has_left: bool,
}

impl Level {
    fn new(directory: OwnedFd, path: PathBuf) -> io::Result<Self> {
        Ok(Self { entries: Dir::new(directory)?, path, is_changed: false, has_left: false })
    }
}

impl Removal<'_> {
    fn run(&mut self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::open(self.top, flags, Mode::empty())?;
        loop {
            let moved = self.moved;
            let again = rustix::fs::openat(&top, ".", flags, Mode::empty())?;
            self.empty(top.as_fd(), Level::new(again, self.top.to_owned())?);
            if moved == self.moved {
                break;
            }
        }
        Ok(rustix::fs::unlinkat(CWD, self.top, AtFlags::REMOVEDIR)?)
    }

    /// Removes all in a directory.
    fn empty(&mut self, top: BorrowedFd<'_>, first: Level) {
        let mut levels = vec![first];
        while let Some(level) = levels.last_mut() {
            match level.entries.next() {
                Some(Ok(entry)) => {
                    let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
                    let is_known = levels.len() == 1 && self.stay.contains(&name);
                    if name != "." && name != ".." && !is_known {
                        self.entry(top, &mut levels, &name, entry.file_type());
                    }
                }
                // A file system may pass over names while others are removed.
                None if level.is_changed && !level.has_left => {
                    level.is_changed = false;
                    level.entries.rewind();
                }
                Some(Err(errno)) => {
                    level.has_left = true;
                    let path = level.path.clone();
                    self.leave(path, errno.into());
                    self.go_up(&mut levels);
                }
                None => self.go_up(&mut levels),
            }
        }
    }

    /// Removes a file, or goes down into a directory.
    fn entry(&mut self, top: BorrowedFd<'_>, levels: &mut Vec<Level>, name: &OsStr, kind: FileType) {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return };
        let Ok(directory) = level.entries.fd() else { return };
        let path = level.path.join(name);
        let result = match unlink_or_open(directory, name, kind) {
            Ok(None) => {
                level.is_changed = true;
                return;
            }
            Ok(Some(_)) if depth >= DEPTH_MAX => {
                self.move_up(directory, name, top).map(|()| level.is_changed = true)
            }
            Ok(Some(opened)) => Level::new(opened, path.clone()).map(|level| levels.push(level)),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.stays(levels, name, Some((path, error)));
        }
    }

    /// Moves a directory up to the top directory.
    fn move_up(&mut self, from: BorrowedFd<'_>, name: &OsStr, top: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            self.moved += 1;
            let new = format!("moved-up-{}", self.moved);
            match rustix::fs::renameat_with(from, name, top, &new, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                // The file system has only the plain call. That replaces no directory that has something in it.
                Err(Errno::INVAL) => return Ok(rustix::fs::renameat(from, name, top, &new)?),
                moved => return Ok(moved?),
            }
        }
    }

    /// Leaves the last directory, and removes it from the one above.
    fn go_up(&mut self, levels: &mut Vec<Level>) {
        let Some(done) = levels.pop() else { return };
        let Some(above) = levels.last_mut() else { return };
        let Some(name) = done.path.file_name() else { return };
        let removed = above
            .entries
            .fd()
            .map_or_else(Err, |directory| rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR));
        match removed {
            Ok(()) | Err(Errno::NOENT) => above.is_changed = true,
            // The files in it that stay are named already.
            Err(_) if done.has_left => self.stays(levels, name, None),
            Err(errno) => self.stays(levels, name, Some((done.path.clone(), errno.into()))),
        }
    }

    /// Keeps that a name stays in the last directory; without a reason if what stays in it is named already.
    fn stays(&mut self, levels: &mut [Level], name: &OsStr, reason: Option<(PathBuf, io::Error)>) {
        if let Some((path, error)) = reason {
            self.leave(path, error);
        }
        if levels.len() == 1 {
            self.stay.insert(name.to_owned());
        }
        if let Some(level) = levels.last_mut() {
            level.has_left = true;
        }
    }

    fn leave(&mut self, path: PathBuf, error: io::Error) {
        if self.left.named.len() < NAMED_MAX {
            self.left.named.push((path, error));
        } else {
            self.left.more += 1;
        }
    }
}

/// Removes a file or an empty directory. Opens a directory that is not empty.
fn unlink_or_open(directory: BorrowedFd<'_>, name: &OsStr, kind: FileType) -> io::Result<Option<OwnedFd>> {
    let is_directory = match kind {
        FileType::Unknown => {
            let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            FileType::from_raw_mode(found.st_mode).is_dir()
        }
        kind => kind.is_dir(),
    };
    let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match rustix::fs::unlinkat(directory, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTEMPTY | Errno::EXIST) => open_own(directory, name).map(Some),
        Err(Errno::BUSY) => Err(mounted()),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a directory in which everything can be removed, unless another file system is mounted there.
fn open_own(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    let found = match rustix::fs::openat2(directory, name, flags, Mode::empty(), within) {
        Ok(found) => found,
        Err(Errno::XDEV) => return Err(mounted()),
        // Before Linux 5.6. This does not recognise a second mount of the same file system.
        Err(Errno::NOSYS | Errno::PERM) => {
            let found = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            if rustix::fs::fstat(&found)?.st_dev != rustix::fs::fstat(directory)?.st_dev {
                return Err(mounted());
            }
            found
        }
        Err(errno) => return Err(errno.into()),
    };
    let mode = rustix::fs::fstat(&found)?.st_mode;
    if mode & OWNER_ONLY != OWNER_ONLY {
        // By its descriptor, since the name could be a link by now. If it fails, opening says why.
        let magic = format!("/proc/self/fd/{}", found.as_raw_fd());
        let _ = rustix::fs::chmod(magic, Mode::from_raw_mode(mode & 0o7777 | OWNER_ONLY));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&found, ".", flags, Mode::empty())?)
}

fn mounted() -> io::Error {
    io::Error::other("something is mounted there")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A directory to remove in one that stays.
    fn machine() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let machine = home.path().join("machine");
        fs::create_dir(&machine).unwrap();
        (home, machine)
    }

    #[test]
    fn a_tree_deeper_than_any_path() {
        // In memory where that can be: a disk takes minutes for as many inodes.
        let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let machine = home.path().join("machine");
        fs::create_dir(&machine).unwrap();
        let mut at = rustix::fs::open(&machine, OFlags::PATH, Mode::empty()).unwrap();
        for level in 0..100_000 {
            // A name that is met again where it is moved to.
            let name = if level % 50 == 49 { "moved-up-1" } else { "d" };
            rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, name, OFlags::PATH, Mode::empty()).unwrap();
        }
        rustix::fs::symlinkat("/", &at, "deepest").unwrap();
        let left = remove(&machine);
        assert!(left.named.is_empty() && !machine.exists(), "{left:?}");
    }

    #[test]
    fn many_names_of_every_kind_and_no_link_is_followed() {
        let (home, machine) = machine();
        let outside = home.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "stays").unwrap();
        for i in 0..10_000 {
            fs::write(machine.join(format!("file {i}\n")), "").unwrap();
        }
        for (i, mode) in [0, 0o555, 0o300, 0o700].into_iter().enumerate() {
            let directory = machine.join(format!("{i}"));
            fs::create_dir(&directory).unwrap();
            fs::hard_link(outside.join("file"), directory.join("hard")).unwrap();
            symlink(&outside, directory.join("link")).unwrap();
            symlink(&directory, directory.join("circle")).unwrap();
            rustix::fs::mknodat(CWD, directory.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        }
        let left = remove(&machine);
        assert!(left.named.is_empty() && !machine.exists(), "{left:?}");
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "stays");
        symlink(&outside, &machine).unwrap();
        assert_eq!(remove(&machine).named.len(), 1, "a link is not the machine's directory");
        assert!(outside.join("file").exists());
        assert!(remove(&home.path().join("none")).named.is_empty());
    }
}
