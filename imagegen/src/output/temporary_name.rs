//! Hidden names beside a target while it is written: how they are made, and how abandoned ones are removed.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::directory_of;
use super::removal::remove;

/// Hidden names in use, for [`remove_unfinished`].
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes everything under a hidden name that is still being written. For a program that was told to stop and is about
/// to: whoever needs a hidden name, or gives one back, waits for that end from now on.
pub fn remove_unfinished() {
    let mut unfinished = UNFINISHED.lock();
    for hidden in unfinished.drain(..) {
        // Other threads may still add to a tree.
        for _ in 0..REMOVALS_MAX {
            discard(&hidden);
            if hidden.symlink_metadata().is_err() {
                break;
            }
        }
    }
    // Else those threads would find that their files are gone, and say so, before the program ends.
    std::mem::forget(unfinished);
}

/// How often a tree is removed that others still write into.
const REMOVALS_MAX: u32 = 100;

/// Removes a file or a tree of this user's. What stays has nobody to hear of it.
pub fn discard(hidden: &Path) {
    if std::fs::remove_file(hidden).is_err() {
        // The tree's own directory may be finished, and not writable.
        let _ = std::fs::set_permissions(hidden, Permissions::from_mode(0o700));
        let _ = remove(hidden);
    }
}

/// Makes something under a free name beside the target, and gives both.
pub fn with_hidden_name<T>(
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
/// What follows the target's name in a hidden name, and how it ends. No user gives such a name to a file.
const HIDDEN_MARK: &str = ".nix-imagegen-unfinished-";
const HIDDEN_SUFFIX: &str = ".part";

fn hidden_name(target: &Path, attempt: u32) -> PathBuf {
    let mut name = hidden_prefix(target);
    name.push(format!("{}-{attempt}{HIDDEN_SUFFIX}", std::process::id()));
    target.with_file_name(name)
}

/// How the hidden names of a target begin. A long name is cut off: names have 255 bytes at most.
fn hidden_prefix(target: &Path) -> OsString {
    const LENGTH_MAX: usize = 200;
    let name = target.file_name().unwrap_or_default().as_bytes();
    let mut prefix = OsString::from(".");
    prefix.push(OsStr::from_bytes(&name[..name.len().min(LENGTH_MAX)]));
    prefix.push(HIDDEN_MARK);
    prefix
}

/// Removes hidden files of the target that are not locked: the processes that wrote them were killed. A failure does no harm.
pub fn remove_abandoned(target: &Path) {
    let prefix = hidden_prefix(target);
    let Ok(entries) = std::fs::read_dir(directory_of(target)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let middle = name.as_bytes().strip_prefix(prefix.as_bytes());
        let middle = middle.and_then(|rest| rest.strip_suffix(HIDDEN_SUFFIX.as_bytes()));
        let is_ours = middle.is_some_and(|rest| rest.iter().all(|&b| b.is_ascii_digit() || b == b'-'));
        if is_ours && is_abandoned(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether it is a file of this user without a lock. Links are not followed, and pipes not waited for.
fn is_abandoned(hidden: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = retry_on_intr(|| rustix::fs::open(hidden, flags, Mode::empty())).map(File::from) else {
        return false;
    };
    let is_own = |found: Metadata| found.is_file() && found.uid() == rustix::process::geteuid().as_raw();
    file.metadata().is_ok_and(is_own) && lock(&file)
}

/// Takes a file's lock, unless another process has it or the file system knows no locks.
pub fn lock(file: &File) -> bool {
    retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)).is_ok()
}

/// Makes [`remove_unfinished`] remove the name.
fn remember(hidden: &Path) {
    UNFINISHED.lock().push(hidden.to_owned());
}

/// Keeps [`remove_unfinished`] from removing the name.
pub fn forget(hidden: &Path) {
    UNFINISHED.lock().retain(|name| name != hidden);
}
