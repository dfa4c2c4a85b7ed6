//! Images that are made when a machine starts, and kept for the next time, in `$XDG_CACHE_HOME/nix-imagegen`.
//!
//! An image's name is the digest of all that it follows from. While it is made, its lock is held alone; while a machine
//! runs from it, the lock is shared, by QEMU itself. What has not been used for a month goes.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use data_encoding::HEXLOWER;
use imagegen::store_path::{StorePath, StoreRoot};
use rustix::fs::FlockOperation;
use rustix::io::retry_on_intr;
use sha2::{Digest, Sha256};

use super::config::Config;
use super::environment::Environment;
use super::platform::Platform;

/// To be raised when the same inputs give other images.
const GENERATION: &str = concat!("nix-imagegen ", env!("CARGO_PKG_VERSION"), " just in time 1");
/// How long an image is kept after its last use.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The directory with the images.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

/// An image that may be there already.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The image.
    pub image: PathBuf,
    /// What it is made of.
    pub recipe: Recipe,
}

/// What an image is made of.
#[derive(Debug, Clone)]
pub enum Recipe {
    /// The store paths of a registration.
    StoreImage {
        /// The registration.
        registration: PathBuf,
    },
    /// A system's kernel, initrd and boot loader.
    BootDisk {
        /// The system.
        toplevel: StorePath,
        /// The names of its loaders, as `boot-disk` takes them.
        loaders: Vec<&'static str>,
    },
}

impl Cache {
    /// The user's: `XDG_CACHE_HOME` if it is absolute (the XDG base directory specification), else `~/.cache`.
    pub fn of(environment: &Environment) -> Self {
        let given = environment.path("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(Path::to_owned);
        let of_home = || environment.path("HOME").map(|home| home.join(".cache"));
        let base = given.or_else(of_home).unwrap_or_else(|| PathBuf::from("/var/tmp"));
        Self { directory: base.join("nix-imagegen") }
    }

    /// The store image of a registration. Store paths never change, so their names and hashes say all of them.
    pub fn store_image(&self, registration: &Path, store: &StoreRoot) -> anyhow::Result<Entry> {
        let contents =
            fs::read(registration).with_context(|| format!("cannot read `{}`", registration.display()))?;
        let key = digest(&[b"store image", &store_bytes(store), &contents]);
        let recipe = Recipe::StoreImage { registration: registration.to_owned() };
        Ok(Entry { image: self.directory.join(format!("{key}-store.qcow2")), recipe })
    }

    /// The boot disk of a system, with loaders for the firmware that the machine has.
    pub fn boot_disk(
        &self,
        toplevel: &StorePath,
        store: &StoreRoot,
        platform: Platform,
        config: &Config,
    ) -> anyhow::Result<Entry> {
        let by_efi = config.use_efi_boot || platform == Platform::Aarch64;
        let mut loaders = Vec::new();
        loaders.extend(by_efi.then_some("systemd-boot"));
        loaders.extend((config.use_bios_boot || !by_efi).then_some("grub"));
        let physical = store.physical(toplevel);
        physical.symlink_metadata().with_context(|| format!("cannot find `{}`", physical.display()))?;
        let key = digest(&[
            b"boot disk",
            &store_bytes(store),
            toplevel.to_string().as_bytes(),
            loaders.join(",").as_bytes(),
        ]);
        let recipe = Recipe::BootDisk { toplevel: toplevel.clone(), loaders };
        Ok(Entry { image: self.directory.join(format!("{key}-boot.qcow2")), recipe })
    }

    /// Makes the image unless it is there; `make` is told where, and leaves it there whole or not at all. Whoever comes
    /// while another makes it waits, after `wait` was called. The file it gives holds the lock while it is open.
    pub fn provide(
        &self,
        entry: &Entry,
        make: impl FnOnce() -> anyhow::Result<()>,
        wait: impl FnOnce(),
    ) -> anyhow::Result<OwnedFd> {
        let context = || format!("cannot use the cache `{}`", self.directory.display());
        fs::create_dir_all(&self.directory).with_context(context)?;
        let path = lock_of(&entry.image);
        let lock =
            File::options().create(true).truncate(false).write(true).open(&path).with_context(context)?;

        let mut wait = Some(wait);
        let mut take = |at_once, waiting| {
            retry_on_intr(|| rustix::fs::flock(&lock, at_once)).or_else(|_| {
                if let Some(wait) = wait.take() {
                    wait();
                }
                retry_on_intr(|| rustix::fs::flock(&lock, waiting)).with_context(context)
            })
        };
        take(FlockOperation::NonBlockingLockShared, FlockOperation::LockShared)?;
        if !entry.image.exists() {
            take(FlockOperation::NonBlockingLockExclusive, FlockOperation::LockExclusive)?;
            if !entry.image.exists() {
                self.remove_unused();
                make()?;
            }
            // To turn one lock into the other is not one step, but nobody removes what is so new.
            rustix::fs::flock(&lock, FlockOperation::LockShared).with_context(context)?;
        }
        // The time of the last use.
        lock.set_modified(SystemTime::now()).with_context(context)?;
        Ok(lock.into())
    }

    /// Removes what nobody has used for long, and nobody uses. Whatever cannot be removed stays.
    fn remove_unused(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.extension().is_none_or(|extension| extension != "lock") {
                continue;
            }
            let Ok(lock) = File::options().write(true).open(&path) else { continue };
            let last_use = lock.metadata().and_then(|metadata| metadata.modified());
            let is_old = last_use.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT));
            if is_old && rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // The lock stays: another process may have just opened it.
                let _ = fs::remove_file(path.with_extension("qcow2"));
            }
        }
    }
}

fn lock_of(image: &Path) -> PathBuf {
    image.with_extension("lock")
}

/// The place of the store, so that two stores never share an image.
fn store_bytes(store: &StoreRoot) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let directory = store.directory();
    directory.canonicalize().unwrap_or(directory).as_os_str().as_bytes().to_owned()
}

/// A digest of the parts, each with its length before it, so that no two lists of parts look alike.
fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in [GENERATION.as_bytes()].iter().chain(parts) {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    HEXLOWER.encode(&hasher.finalize()[..16])
}
