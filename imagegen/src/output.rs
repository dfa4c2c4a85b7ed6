//! Output files that appear whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

/// A file that gets its name when it is finished.
///
/// While it is written it has no name at all (`O_TMPFILE`), so that even a killed process leaves nothing behind.
/// Where the file system cannot do that, it is a hidden file beside the target, removed on drop and by
/// [`remove_unfinished`]. To replace an earlier file it needs a hidden name too, for as long as two system calls
/// take. What a process that was killed meanwhile leaves is removed when the next one begins to write the target.
#[derive(Debug)]
pub struct OutputFile {
    /// Locked, so that nobody takes the hidden file for one that was left behind.
    file: File,
    target: PathBuf,
    /// The hidden name, if it has one.
    hidden: Option<PathBuf>,
}

/// The target could not be opened, or not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The directory is missing or cannot be written.
    #[error("cannot create `{target}` in `{directory}`; the directory must exist and be writable")]
    Create {
        /// The file asked for.
        target: String,
        /// Its directory.
        directory: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something other than a regular file has the name.
    #[error("`{target}` is a {kind}; name a regular file or a new one")]
    NotAFile {
        /// The file asked for.
        target: String,
        /// What it is.
        kind: &'static str,
    },
    /// A device cannot be replaced as a file can.
    #[error(
        "`{0}` is a block device, which cannot be written whole or not at all; \
         write a raw image to a file and copy it: `dd if=FILE of={0} bs=4M conv=fsync`"
    )]
    BlockDevice(String),
    /// The path ends in `/`, `..` or nothing.
    #[error("`{0}` has no file name")]
    NoName(String),
    /// The output would destroy what it is made from.
    #[error("`{target}` is, or lies in, the input `{input}`; name another file for the output")]
    Input {
        /// The file asked for.
        target: String,
        /// What is read.
        input: String,
    },
    /// The finished file could not be given its name.
    #[error("cannot put the finished file in place as `{target}`")]
    Finish {
        /// The file asked for.
        target: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Hidden names in use, for [`remove_unfinished`].
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl OutputFile {
    /// Starts a file that will be `target`. Nothing is visible there until [`OutputFile::finish`].
    pub fn create(target: &Path) -> Result<Self, OutputError> {
        check_target(target)?;
        remove_abandoned(target);
        let directory = directory_of(target);
        let error = |source: io::Error| OutputError::Create {
            target: target.display().to_string(),
            directory: directory.display().to_string(),
            source,
        };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match retry_on_intr(|| rustix::fs::open(directory, flags, Mode::from_raw_mode(0o666))) {
            Ok(fd) => {
                let file = File::from(fd);
                lock(&file);
                Ok(Self { file, target: target.to_owned(), hidden: None })
            }
            // What kernels and file systems without O_TMPFILE answer (open(2)).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Self::create_hidden(target).map_err(error),
            Err(errno) => Err(error(errno.into())),
        }
    }

    /// The file to write and read.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name, in the place of any earlier file of that name.
    pub fn finish(mut self) -> Result<(), OutputError> {
        self.put_in_place()
            .map_err(|source| OutputError::Finish { target: self.target.display().to_string(), source })
    }

    fn put_in_place(&mut self) -> io::Result<()> {
        if self.hidden.is_none() {
            match link_open_file(&self.file, &self.target) {
                // A link cannot replace a file; a rename can.
                Err(Errno::EXIST) => {}
                result => return Ok(result?),
            }
            let (hidden, ()) =
                with_hidden_name(&self.target, |hidden| Ok(link_open_file(&self.file, hidden)?))?;
            self.hidden = Some(hidden);
        }
        if let Some(hidden) = &self.hidden {
            std::fs::rename(hidden, &self.target)?;
            forget(hidden);
            self.hidden = None;
        }
        Ok(())
    }

    /// Gives the file its name, unless there is a file of that name by now; says whether it did.
    pub fn finish_if_new(mut self) -> Result<bool, OutputError> {
        let placed = match self.hidden.clone() {
            None => link_open_file(&self.file, &self.target),
            Some(hidden) => rename_if_new(&hidden, &self.target).inspect(|()| {
                forget(&hidden);
                self.hidden = None;
            }),
        };
        match placed {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => {
                let target = self.target.display().to_string();
                Err(OutputError::Finish { target, source: errno.into() })
            }
        }
    }

    fn create_hidden(target: &Path) -> io::Result<Self> {
        loop {
            let (hidden, file) = with_hidden_name(target, |hidden| {
                File::options().read(true).write(true).create_new(true).open(hidden)
            })?;
            lock(&file);
            // Another process may have found it before it was locked.
            if file.metadata()?.nlink() > 0 {
                return Ok(Self { file, target: target.to_owned(), hidden: Some(hidden) });
            }
            forget(&hidden);
        }
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(hidden) = self.hidden.take() {
            // The write has already failed; there is nobody to tell that the clean-up did too.
            let _ = std::fs::remove_file(&hidden);
            forget(&hidden);
        }
    }
}

/// Removes every hidden file that is still being written. For a program that was told to stop and is about to.
pub fn remove_unfinished() {
    for hidden in UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = std::fs::remove_file(hidden);
    }
}

/// Refuses a target that is one of `inputs`, or lies in a directory among them.
pub fn check_apart<'p>(target: &Path, inputs: impl IntoIterator<Item = &'p Path>) -> Result<(), OutputError> {
    // Where that cannot be found out, nothing can be created either.
    let Some(place) = place_of(target) else { return Ok(()) };
    for input in inputs {
        let is_inside = |input: Option<PathBuf>| input.is_some_and(|input| place.starts_with(input));
        // The name, and what a link of that name leads to.
        if is_inside(place_of(input)) || is_inside(input.canonicalize().ok()) {
            let (target, input) = (target.display().to_string(), input.display().to_string());
            return Err(OutputError::Input { target, input });
        }
    }
    Ok(())
}

/// The absolute path of a file that need not exist: its directory without links, and its own name.
pub fn place_of(file: &Path) -> Option<PathBuf> {
    Some(directory_of(file).canonicalize().ok()?.join(file.file_name()?))
}

fn check_target(target: &Path) -> Result<(), OutputError> {
    let shown = || target.display().to_string();
    if target.file_name().is_none() {
        return Err(OutputError::NoName(shown()));
    }
    // What cannot be examined will fail on creation, with the system's own reason.
    let Ok(found) = target.metadata() else { return Ok(()) };
    let kind = match found.file_type() {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_block_device() => return Err(OutputError::BlockDevice(shown())),
        kind if kind.is_dir() => "directory",
        _ => "character device, pipe or socket",
    };
    Err(OutputError::NotAFile { target: shown(), kind })
}

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes something under a name beside the target that is not taken, and gives both.
fn with_hidden_name<T>(
    target: &Path,
    mut make: impl FnMut(&Path) -> io::Result<T>,
) -> io::Result<(PathBuf, T)> {
    // In another container, another process may have the same number.
    let mut attempt = 0;
    loop {
        let hidden = hidden_name(target, attempt);
        // Before it exists, so that a signal in between finds it.
        remember(&hidden);
        match make(&hidden) {
            Ok(value) => return Ok((hidden, value)),
            Err(error) => {
                forget(&hidden);
                if error.kind() != io::ErrorKind::AlreadyExists || attempt == HIDDEN_NAMES_MAX {
                    return Err(error);
                }
            }
        }
        attempt += 1;
    }
}

/// How many hidden names are tried.
const HIDDEN_NAMES_MAX: u32 = 100;
/// How hidden names end.
const HIDDEN_SUFFIX: &str = ".part";

fn hidden_name(target: &Path, attempt: u32) -> PathBuf {
    let mut name = hidden_prefix(target);
    name.push(format!("{}-{attempt}{HIDDEN_SUFFIX}", std::process::id()));
    target.with_file_name(name)
}

/// How the hidden names of a target begin. A name of 255 bytes leaves no room for more, so that its end is cut.
fn hidden_prefix(target: &Path) -> OsString {
    const LENGTH_MAX: usize = 200;
    let name = target.file_name().unwrap_or_default().as_bytes();
    let mut prefix = OsString::from(".");
    prefix.push(OsStr::from_bytes(&name[..name.len().min(LENGTH_MAX)]));
    prefix.push(".");
    prefix
}

/// Removes hidden files of the target that nobody holds the lock of: those who wrote them were killed. That it may
/// fail is no reason not to go on.
fn remove_abandoned(target: &Path) {
    let prefix = hidden_prefix(target);
    let Ok(entries) = std::fs::read_dir(directory_of(target)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let middle = name.as_bytes().strip_prefix(prefix.as_bytes());
        let middle = middle.and_then(|rest| rest.strip_suffix(HIDDEN_SUFFIX.as_bytes()));
        let is_ours = middle.is_some_and(|rest| rest.iter().all(|&b| b.is_ascii_digit() || b == b'-'));
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|file| lock(&file)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Takes a file's lock, unless another process has it or the file system knows no locks.
fn lock(file: &File) -> bool {
    retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)).is_ok()
}

fn link_open_file(file: &File, name: &Path) -> Result<(), Errno> {
    // linkat(2) by descriptor alone needs CAP_DAC_READ_SEARCH; by /proc it needs nothing.
    let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
    retry_on_intr(|| rustix::fs::linkat(CWD, &magic, CWD, name, AtFlags::SYMLINK_FOLLOW))
}

fn rename_if_new(from: &Path, to: &Path) -> Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that has only the plain call.
        Err(Errno::INVAL) if to.symlink_metadata().is_ok() => Err(Errno::EXIST),
        Err(Errno::INVAL) => rustix::fs::rename(from, to),
        renamed => renamed,
    }
}

fn remember(hidden: &Path) {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(hidden.to_owned());
}

fn forget(hidden: &Path) {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|name| name != hidden);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn entries(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_and_replaces_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("disk.img");
        for content in ["first", "second"] {
            let output = OutputFile::create(&target).unwrap();
            output.file().write_all(content.as_bytes()).unwrap();
            output.finish().unwrap();
            assert_eq!(std::fs::read_to_string(&target).unwrap(), content);
        }
        assert_eq!(entries(directory.path()), ["disk.img"]);
    }

    #[test]
    fn a_file_that_is_there_can_be_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("disk.img");
        for create in [OutputFile::create, |path: &Path| Ok(OutputFile::create_hidden(path).unwrap())] {
            for (content, is_new) in [("first", true), ("second", false)] {
                let output = create(&target).unwrap();
                output.file().write_all(content.as_bytes()).unwrap();
                assert_eq!(output.finish_if_new().unwrap(), is_new);
                assert_eq!(std::fs::read_to_string(&target).unwrap(), "first");
            }
            assert_eq!(entries(directory.path()), ["disk.img"]);
            std::fs::remove_file(&target).unwrap();
        }
    }

    #[test]
    fn an_abandoned_file_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("disk.img");
        drop(OutputFile::create(&target).unwrap());
        let hidden = OutputFile::create_hidden(&target).unwrap();
        assert_eq!(entries(directory.path()).len(), 1);
        drop(hidden);
        assert!(entries(directory.path()).is_empty());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_another_writes_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("disk.img");
        let abandoned = directory.path().join(".disk.img.4194999-0.part");
        let others = directory.path().join(".disk.img.backup.part");
        for name in [&abandoned, &others] {
            std::fs::write(name, "left").unwrap();
        }
        let first = OutputFile::create_hidden(&target).unwrap();
        let second = OutputFile::create_hidden(&target).unwrap();
        drop(OutputFile::create(&target).unwrap());
        assert!(!abandoned.exists() && others.exists());
        first.file().write_all(b"first").unwrap();
        first.finish().unwrap();
        second.finish().unwrap();
        assert_eq!(entries(directory.path()), [".disk.img.backup.part", "disk.img"]);
    }

    #[test]
    fn the_longest_name_can_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("n".repeat(255));
        for _ in 0..2 {
            OutputFile::create(&target).unwrap().finish().unwrap();
            OutputFile::create_hidden(&target).unwrap().finish().unwrap();
        }
        assert_eq!(entries(directory.path()).len(), 1);
    }

    #[test]
    fn a_target_that_changed_meanwhile_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("below");
        std::fs::create_dir(&below).unwrap();
        let target = below.join("disk.img");
        let output = OutputFile::create(&target).unwrap();
        std::fs::create_dir(&target).unwrap();
        let error = output.finish().unwrap_err().to_string();
        assert!(error.contains("cannot put") && error.contains("below/disk.img"), "{error}");
        assert_eq!(entries(&below), ["disk.img"]);

        std::fs::remove_dir(&target).unwrap();
        let output = OutputFile::create(&target).unwrap();
        std::fs::remove_dir(&below).unwrap();
        assert!(output.finish().unwrap_err().to_string().contains("below/disk.img"));
        assert!(entries(directory.path()).is_empty());
    }

    #[test]
    fn inputs_are_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("source")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink("source", at("way")).unwrap();
        for (target, input) in [
            ("file", "file"),
            ("link", "link"),
            ("file", "link"),
            ("source/new", "source"),
            ("way/new", "source"),
            ("source/../file", "file"),
        ] {
            let error = check_apart(&at(target), [at(input).as_path()]).unwrap_err().to_string();
            assert!(error.contains("is, or lies in, the input"), "{error}");
        }
        for target in ["new", "sources", "missing/file"] {
            check_apart(&at(target), [at("source").as_path(), &at("file"), &at("none")]).unwrap();
        }
    }

    #[test]
    fn impossible_targets_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| OutputFile::create(&directory.path().join(name)).unwrap_err().to_string();
        assert!(at("missing/disk.img").contains("missing"));
        assert!(at("").contains("is a directory"), "an empty name is the directory itself");
        assert!(OutputFile::create(Path::new("/dev/null")).unwrap_err().to_string().contains("device"));
        assert!(OutputFile::create(Path::new("/")).unwrap_err().to_string().contains("no file name"));
    }
}
