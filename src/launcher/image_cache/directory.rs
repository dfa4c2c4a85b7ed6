//! The open directory of the cache. Its files are opened relative to it, without following links or waiting for pipes.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rustix::fs::{Access, AtFlags, FileType, FlockOperation, Mode, OFlags, RawMode};
use rustix::io::{Errno, retry_on_intr};

use super::super::private_directory::{PrivateDirectory, is_trusted};
use super::seal::{Damage, Seal};

/// How long an image is kept after its last use.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The endings of the files of one image: the image, its seal, and the lock of whoever makes it.
pub const IMAGE: &str = "qcow2";
pub const SEAL: &str = "seal";
pub const LOCK: &str = "lock";
const OWNER_ONLY: RawMode = 0o600;

/// The open directory.
pub struct CacheDirectory {
    directory: PrivateDirectory,
}

impl CacheDirectory {
    /// Opens the directory. Makes it if it is missing.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let directory = PrivateDirectory::create(directory)
            .context("cannot use the cache; set XDG_CACHE_HOME to a directory that only you can write to")?;
        Ok(Self { directory })
    }

    /// The path of a name.
    pub fn path(&self, name: &Path) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Opens a file of this user's or root's that nobody else can write to.
    pub fn file(&self, name: &Path) -> Result<Option<File>, Damage> {
        let file = match self.open_at(name, OFlags::RDONLY) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(Damage::NotOwn),
            Err(errno) => return Err(io::Error::from(errno).into()),
        };
        if is_own(&file.metadata()?) { Ok(Some(file)) } else { Err(Damage::NotOwn) }
    }

    /// Takes others' permissions to a new file away, and opens it.
    pub fn close(&self, name: &Path) -> Result<Option<File>, Damage> {
        let file = self.open_at(name, OFlags::RDONLY).map_err(io::Error::from)?;
        file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
        self.file(name)
    }

    /// Whether files can be made here.
    pub fn is_writable(&self) -> bool {
        rustix::fs::access(self.directory.path(), Access::WRITE_OK).is_ok()
    }

    /// The lock of whoever makes an image. Nothing if the cache has none and cannot be written to.
    pub fn lock(&self, name: &Path) -> anyhow::Result<Option<File>> {
        let context = || format!("cannot use `{}`", self.path(name).display());
        let open = || self.open_at(name, OFlags::RDWR | OFlags::CREATE);
        let opened = match open() {
            Ok(file) if file.metadata().is_ok_and(|found| is_own(&found)) => Ok(file),
            Ok(_) | Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => {
                self.clear(name)?;
                open()
            }
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => match self.open_at(name, OFlags::RDONLY) {
                Err(Errno::NOENT) => return Ok(None),
                opened => opened,
            },
            failed => failed,
        };
        opened.map(Some).with_context(context)
    }

    /// Removes whatever has a file's name and is not this user's file.
    pub fn clear(&self, name: &Path) -> anyhow::Result<()> {
        let directory = self.directory.file();
        let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let is_directory = found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_dir());
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(directory, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => {
                let path = self.path(name);
                Err(errno).with_context(|| format!("`{}` is no file of the cache; remove it", path.display()))
            }
        }
    }

    /// Removes images that nobody has used for long and nobody uses now. Whatever cannot be removed stays.
    pub fn remove_unused(&self) {
        let Ok(entries) = std::fs::read_dir(self.directory.path()) else { return };
        for name in entries.filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name()))) {
            if name.extension().is_none_or(|extension| extension != LOCK) {
                continue;
            }
            // The lock stays: another process may have just opened it.
            let Ok(Some(lock)) = self.file(&name) else { continue };
            let last_use = lock.metadata().and_then(|found| found.modified());
            let is_old = last_use.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT));
            if !is_old || !is_unused(&lock) {
                continue;
            }
            let image = self.file(&name.with_extension(IMAGE));
            if matches!(&image, Ok(Some(image)) if !is_unused(image)) {
                continue;
            }
            for ending in [IMAGE, SEAL] {
                let name = name.with_extension(ending);
                let _ = rustix::fs::unlinkat(self.directory.file(), name, AtFlags::empty());
            }
        }
    }

    /// The seal of an image, if it has one.
    pub fn seal(&self, image: &Path) -> Option<Seal> {
        Seal::read(&self.file(&image.with_extension(SEAL)).ok()??)
    }

    fn open_at(&self, name: &Path, flags: OFlags) -> Result<File, Errno> {
        // Without O_NONBLOCK, a pipe under the name would be waited for.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let directory = self.directory.file().as_fd();
        retry_on_intr(|| rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(OWNER_ONLY)))
            .map(File::from)
    }
}

/// Records the time of an image's last use. A cache that cannot be written to keeps all images anyway.
pub fn used_now(lock: &File) {
    let _ = lock.set_modified(SystemTime::now());
}

fn is_own(found: &Metadata) -> bool {
    found.is_file() && is_trusted(found.uid()) && found.mode() & 0o022 == 0
}

fn is_unused(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}
