//! Output files that appear whole or not at all.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// A file that gets its name when it is finished.
///
/// While it is written it has no name at all (`O_TMPFILE`), so that even a killed process leaves nothing behind.
/// Where the file system cannot do that, it is a hidden file beside the target, removed on drop and by
/// [`remove_unfinished`].
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    target: PathBuf,
    /// The hidden name, on file systems without `O_TMPFILE`.
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
    /// The path ends in `/`, `..` or nothing.
    #[error("`{0}` has no file name")]
    NoName(String),
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
        let directory = directory_of(target);
        let error = |source: io::Error| OutputError::Create {
            target: target.display().to_string(),
            directory: directory.display().to_string(),
            source,
        };
        let mode = Mode::from_raw_mode(0o666);
        match rustix::fs::open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
            Ok(fd) => Ok(Self { file: fd.into(), target: target.to_owned(), hidden: None }),
            // What kernels and file systems without O_TMPFILE answer (open(2)).
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                Self::create_hidden(target).map_err(error)
            }
            Err(errno) => Err(error(errno.into())),
        }
    }

    /// The file to write and read.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name, in the place of any earlier file of that name.
    pub fn finish(mut self) -> Result<(), OutputError> {
        let error =
            |source: io::Error| OutputError::Finish { target: self.target.display().to_string(), source };
        if self.hidden.is_none() {
            match link_open_file(&self.file, &self.target) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(error(errno.into())),
            }
            // A link cannot replace a file; a rename can.
            let hidden = hidden_name(&self.target);
            remember(&hidden);
            let linked = link_open_file(&self.file, &hidden);
            if let Err(errno) = linked {
                forget(&hidden);
                return Err(error(errno.into()));
            }
            self.hidden = Some(hidden);
        }
        if let Some(hidden) = &self.hidden {
            std::fs::rename(hidden, &self.target).map_err(error)?;
            forget(hidden);
            self.hidden = None;
        }
        Ok(())
    }

    fn create_hidden(target: &Path) -> io::Result<Self> {
        let hidden = hidden_name(target);
        remember(&hidden);
        match File::options().read(true).write(true).create_new(true).open(&hidden) {
            Ok(file) => Ok(Self { file, target: target.to_owned(), hidden: Some(hidden) }),
            Err(error) => {
                forget(&hidden);
                Err(error)
            }
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

fn check_target(target: &Path) -> Result<(), OutputError> {
    let shown = || target.display().to_string();
    if target.file_name().is_none() {
        return Err(OutputError::NoName(shown()));
    }
    // What cannot be examined will fail on creation, with the system's own reason.
    let Ok(found) = target.metadata() else { return Ok(()) };
    if found.is_file() {
        return Ok(());
    }
    let kind = if found.is_dir() { "directory" } else { "device, pipe or socket" };
    Err(OutputError::NotAFile { target: shown(), kind })
}

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A name beside the target that no other process uses.
fn hidden_name(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default();
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.part", std::process::id()));
    target.with_file_name(hidden)
}

fn link_open_file(file: &File, name: &Path) -> Result<(), rustix::io::Errno> {
    use std::os::fd::AsRawFd;
    // linkat(2) by descriptor alone needs CAP_DAC_READ_SEARCH; by /proc it needs nothing.
    let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, magic, CWD, name, AtFlags::SYMLINK_FOLLOW)
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
    fn impossible_targets_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| OutputFile::create(&directory.path().join(name)).unwrap_err().to_string();
        assert!(at("missing/disk.img").contains("missing"));
        assert!(at("").contains("is a directory"));
        assert!(OutputFile::create(Path::new("/dev/null")).unwrap_err().to_string().contains("device"));
        assert!(OutputFile::create(Path::new("/")).unwrap_err().to_string().contains("no file name"));
    }
}
