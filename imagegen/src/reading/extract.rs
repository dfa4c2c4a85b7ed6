//! Files out of a file system, into a directory of this machine. The file system may be anybody's: whatever it holds,
//! nothing outside of the target is created, changed or followed.
//!
//! Everything is made anew with `O_EXCL` in a directory that only this user can enter until all is there. Names come
//! from [`Files`], which has none that lead elsewhere, and no symbolic link is ever walked through.

use std::collections::{HashMap, HashSet};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::iter::{ParallelBridge, ParallelIterator};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::container::reader::Source;
use crate::error_kind::ErrorKind;
use crate::fs::FileOnDisk;
use crate::fs::ext4::reader::LOST_FOUND;
use crate::job::Job;
use crate::reading::files::{Entry, Files, FilesError, Node, Type};
use crate::text::shown;
use crate::units::{index, length};

/// How much is read and written at once: what a processor's cache holds.
const PIECE: u64 = 256 << 10;
/// How many of the files that cannot be made are named.
const NAMED: usize = 20;

/// What was extracted.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Extracted {
    /// Regular files, each name of one with several counted.
    pub files: u64,
    /// Directories, the target's own among them if it is one.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of contents, holes among them.
    pub bytes: u64,
    /// Devices, pipes and sockets, which are left out.
    pub special: u64,
    /// The first of them.
    pub first_special: Vec<String>,
}

/// Why files cannot be extracted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The file system cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Where in the file system, fit for a terminal.
        path: String,
        /// Why.
        source: FilesError,
    },
    /// The system said no.
    #[error("cannot {action} `{}`", .path.display())]
    Write {
        /// What was tried.
        action: &'static str,
        /// What it was tried with.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory that contains itself.
    #[error("the directory `{0}` is in the tree twice")]
    Twice(String),
}

impl ExtractError {
    /// The same error for somebody who will give the target another name when it is whole.
    #[must_use]
    pub fn with_path(self, target: &Path, name: &Path) -> Self {
        match self {
            Self::Write { action, path, source } => {
                let path = match path.strip_prefix(target) {
                    Ok(rest) if rest.as_os_str().is_empty() => name.to_owned(),
                    Ok(rest) => name.join(rest),
                    Err(_) => path,
                };
                Self::Write { action, path, source }
            }
            error => error,
        }
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } => source.kind(),
            Self::Write { source, .. } => ErrorKind::of(source),
            Self::Twice(_) => ErrorKind::InvalidInput,
        }
    }
}

/// Makes `target`, which must not exist, out of `node` and all that is below it: contents, names, symbolic links, times,
/// and the permissions of [`Node::permissions`] but for set-user-ID and its like. The owner is this process's user.
/// Names of the same file share it here too. An empty `lost+found` of ext4 is left out. What was made stays where there is an error.
///
/// `path` is where `node` is in the file system, for errors.
pub fn extract(
    files: &Files<'_>,
    node: &Node,
    path: &[u8],
    target: &Path,
    job: &Job<'_>,
) -> Result<Extracted, ExtractError> {
    job.progress.begin("extract", 0);
    let bytes = AtomicU64::new(0);
    let mut walk = Walk {
        files,
        open: Vec::new(),
        entered: HashSet::new(),
        shared: HashMap::new(),
        made: Vec::new(),
        done: Extracted::default(),
    };
    let first = walk.make(node.clone(), path.to_vec(), target.to_owned())?;
    // Files are copied by many threads; one at a time walks, which is the least of the work.
    job.on_threads(usize::MAX, || {
        let walk = &mut walk;
        let tasks = first.into_iter().map(Ok).chain(walk);
        tasks.par_bridge().try_for_each(|task| {
            let copied = task?.copy(files)?;
            bytes.fetch_add(copied, Ordering::Relaxed);
            job.progress.advance(copied);
            Ok(())
        })
    })?;
    // A directory that may not be written takes no new names, and one that takes them gets new times.
    for (directory, permissions, modified) in walk.made.iter().rev() {
        finish(directory, *permissions, *modified)?;
    }
    job.progress.end();
    Ok(Extracted { bytes: bytes.into_inner(), ..walk.done })
}

/// A regular file that is to be copied.
struct Task {
    node: Node,
    /// In the file system.
    path: Vec<u8>,
    target: PathBuf,
    /// Where it has been created already.
    file: Option<File>,
}

/// Makes directories and links on the way, and stops at each file.
struct Walk<'f, 's> {
    files: &'f Files<'s>,
    open: Vec<OpenDirectory>,
    /// Directories that were entered.
    entered: HashSet<u64>,
    /// The first name of files that have several.
    shared: HashMap<u32, PathBuf>,
    /// Directories, with what they get at the end.
    made: Vec<(PathBuf, u16, i64)>,
    done: Extracted,
}

struct OpenDirectory {
    path: Vec<u8>,
    target: PathBuf,
    entries: std::vec::IntoIter<Entry>,
}

impl Iterator for Walk<'_, '_> {
    type Item = Result<Task, ExtractError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let directory = self.open.last_mut()?;
            let Some(entry) = directory.entries.next() else {
                self.open.pop();
                continue;
            };
            let path = [directory.path.as_slice(), b"/", &entry.name].concat();
            let target = directory.target.join(std::ffi::OsStr::from_bytes(&entry.name));
            let node = self.files.node(&entry).map_err(read_error(&path));
            match node.and_then(|node| self.make(node, path, target)) {
                Ok(None) => {}
                Ok(Some(task)) => return Some(Ok(task)),
                Err(error) => {
                    self.open.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Walk<'_, '_> {
    /// Makes anything but the contents of files.
    fn make(&mut self, node: Node, path: Vec<u8>, target: PathBuf) -> Result<Option<Task>, ExtractError> {
        match node.kind {
            Type::Directory => {
                if !self.entered.insert(node.directory_id()) {
                    return Err(ExtractError::Twice(shown(&path)));
                }
                let entries = self.files.entries(&node).map_err(read_error(&path))?.into_iter();
                if entries.len() == 0 && path.strip_prefix(b"/") == Some(LOST_FOUND) {
                    return Ok(None);
                }
                DirBuilder::new().mode(0o700).create(&target).map_err(write_error("create", &target))?;
                self.made.push((target.clone(), node.permissions, node.modified));
                self.open.push(OpenDirectory { path, target, entries });
                self.done.directories += 1;
            }
            Type::Symlink => {
                let to = self.files.link_target(&node).map_err(read_error(&path))?;
                symlink(std::ffi::OsStr::from_bytes(&to), &target)
                    .and_then(|()| set_time(&target, node.modified))
                    .map_err(write_error("create", &target))?;
                self.done.symlinks += 1;
            }
            Type::File => {
                self.done.files += 1;
                if let Some(first) = node.shared.and_then(|number| self.shared.get(&number)) {
                    std::fs::hard_link(first, &target).map_err(write_error("create", &target))?;
                    return Ok(None);
                }
                let mut file = None;
                if let Some(number) = node.shared {
                    // Its next name may come before its contents.
                    file = Some(create(&target)?);
                    self.shared.insert(number, target.clone());
                }
                return Ok(Some(Task { node, path, target, file }));
            }
            Type::Special => {
                self.done.special += 1;
                if self.done.first_special.len() < NAMED {
                    self.done.first_special.push(shown(&path));
                }
            }
        }
        Ok(None)
    }
}

impl Task {
    /// Copies the contents, holes left out; gives their length.
    fn copy(self, files: &Files<'_>) -> Result<u64, ExtractError> {
        let Self { node, path, target, file } = self;
        let contents = files.file(&node, &path).map_err(read_error(&path))?;
        let file = file.map_or_else(|| create(&target), Ok)?;
        copy_data(&contents, &file, &path, &target)?;
        file.set_permissions(Permissions::from_mode((node.permissions & 0o777).into()))
            .and_then(|()| Ok(rustix::fs::futimens(&file, &times(node.modified))?))
            .map_err(write_error("finish", &target))?;
        Ok(contents.size())
    }
}

fn copy_data(contents: &FileOnDisk<'_>, file: &File, path: &[u8], target: &Path) -> Result<(), ExtractError> {
    let size = contents.size();
    let mut buffer = vec![0; index(size.min(PIECE))];
    let mut written = 0;
    let mut offset = 0;
    loop {
        let read = |error| read_error(path)(FilesError::Read(error));
        offset = contents.data_from(offset).map_err(read)?;
        if offset >= size {
            break;
        }
        let piece = &mut buffer[..index((size - offset).min(PIECE))];
        contents.read_at(piece, offset).map_err(read)?;
        file.write_all_at(piece, offset).map_err(write_error("write", target))?;
        offset += length(piece.len());
        written = offset;
    }
    if written < size {
        file.set_len(size).map_err(write_error("write", target))?;
    }
    Ok(())
}

fn create(target: &Path) -> Result<File, ExtractError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(target).map_err(write_error("create", target))
}

/// Gives a directory its permissions and time.
fn finish(directory: &Path, permissions: u16, modified: i64) -> Result<(), ExtractError> {
    std::fs::set_permissions(directory, Permissions::from_mode((permissions & 0o777).into()))
        .and_then(|()| set_time(directory, modified))
        .map_err(write_error("finish", directory))
}

fn set_time(path: &Path, modified: i64) -> io::Result<()> {
    Ok(utimensat(CWD, path, &times(modified), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(modified: i64) -> Timestamps {
    let time = Timespec { tv_sec: modified, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn read_error(path: &[u8]) -> impl FnOnce(FilesError) -> ExtractError {
    move |source| ExtractError::Read { path: shown(path), source }
}

fn write_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ExtractError {
    move |source| ExtractError::Write { action, path: path.to_owned(), source }
}
