//! Images that are made when a machine starts, and kept for the next time, in `$XDG_CACHE_HOME/nix-imagegen`.
//!
//! An image's name is a digest of its inputs. Whoever makes an image holds the exclusive lock of a file beside it. While
//! a machine runs from the image, QEMU holds a lock of the image itself. Images are removed a month after their last use.
//!
//! Nobody else can write to the directory, and an image is used only if its [`seal`] proves it whole.

mod directory;
mod seal;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use data_encoding::HEXLOWER;
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::output::{Access, OutputFile};
use rustix::fs::FlockOperation;
use rustix::io::retry_on_intr;
use sha2::{Digest, Sha256};

use super::config::Config;
use super::environment::Environment;
use super::platform::Platform;
use crate::closure_file;
use crate::progress::Reporter;
use directory::CacheDirectory;
use seal::{Damage, Seal};

/// A part of every name. Raise it when the same inputs give other images.
const GENERATION: &str = concat!("nix-imagegen ", env!("CARGO_PKG_VERSION"), " just in time 2");

/// The directory with the images.
pub struct Cache {
    directory: PathBuf,
}

/// An image that the machine only reads; QEMU writes to a layer over it.
pub struct Image {
    /// Where it is or will be.
    pub path: PathBuf,
    /// How it is made, unless the config names it: the subcommand, and the options that say from what.
    pub recipe: Option<Vec<OsString>>,
}

impl Image {
    /// One that is there.
    pub fn of_config(path: PathBuf) -> Self {
        Self { path, recipe: None }
    }

    /// Its path, unless it is the cache's.
    pub fn path_of_config(&self) -> Option<&Path> {
        self.recipe.is_none().then_some(&self.path)
    }
}

impl Cache {
    /// The user's cache: in `XDG_CACHE_HOME` if it is absolute (the XDG base directory specification), else in
    /// `~/.cache`. Without either it is in `/var/tmp`, with the user's number in its name.
    pub fn of(environment: &Environment) -> Self {
        let absolute = |name| environment.path(name).filter(|path| path.is_absolute());
        let of_home = || absolute("HOME").map(|home| home.join(".cache"));
        let base = absolute("XDG_CACHE_HOME").map(Path::to_owned).or_else(of_home);
        let directory = base.map_or_else(
            || {
                let user = rustix::process::geteuid().as_raw();
                without_links(Path::new("/var/tmp")).join(format!("nix-imagegen-{user}"))
            },
            |base| without_links(&base).join("nix-imagegen"),
        );
        Self { directory }
    }

    /// The store image of a registration. Store paths never change, so their names and hashes identify what is in them.
    pub fn store_image(&self, registration: &Path, store: &StoreRoot) -> anyhow::Result<Image> {
        let bytes = closure_file::read(registration, "registration")?;
        let key = digest(&[b"store image", &store_bytes(store), &bytes]);
        let recipe = vec!["store-image".into(), "--registration".into(), registration.into()];
        Ok(Image { path: self.directory.join(format!("{key}-store.qcow2")), recipe: Some(recipe) })
    }

    /// The boot disk of a system, with loaders for the firmware that the machine has.
    pub fn boot_disk(
        &self,
        toplevel: &StorePath,
        store: &StoreRoot,
        platform: Platform,
        config: &Config,
    ) -> anyhow::Result<Image> {
        let by_efi = config.use_efi_boot || platform == Platform::Aarch64;
        let loaders = match (by_efi, config.use_bios_boot) {
            (true, true) => "systemd-boot,grub",
            (true, false) => "systemd-boot",
            (false, _) => "grub",
        };
        let physical = store.physical(toplevel);
        physical.symlink_metadata().with_context(|| format!("cannot find `{}`", physical.display()))?;
        let system = toplevel.to_string();
        let key = digest(&[b"boot disk", &store_bytes(store), system.as_bytes(), loaders.as_bytes()]);
        let words = ["boot-disk", "--toplevel", &system, "--loader", loaders];
        let recipe = words.map(OsString::from).into();
        Ok(Image { path: self.directory.join(format!("{key}-boot.qcow2")), recipe: Some(recipe) })
    }

    /// Opens and locks an image, so that it stays as long as it is open somewhere. A missing or damaged image is made
    /// first; `make` leaves it under its name whole and flushed to the disk, or not at all. If another process is making
    /// the image, this one waits.
    pub fn provide(
        &self,
        path: &Path,
        thoroughly: bool,
        make: impl FnOnce() -> anyhow::Result<()>,
        reporter: &Reporter,
    ) -> anyhow::Result<OwnedFd> {
        let directory = CacheDirectory::open(&self.directory)?;
        let name = Path::new(path.file_name().context("an image has a name")?);
        let lock = directory.lock(&name.with_extension(directory::LOCK))?;
        let image = CachedFile { directory, name, thoroughly, reporter }.provide(lock.as_ref(), make)?;
        // While the lock is still held: whoever removes images needs both.
        let shared = retry_on_intr(|| rustix::fs::flock(&image, FlockOperation::NonBlockingLockShared));
        shared.with_context(|| format!("cannot lock `{}`", path.display()))?;
        lock.iter().for_each(directory::used_now);
        Ok(image.into())
    }
}

/// An image in the open cache.
struct CachedFile<'a> {
    directory: CacheDirectory,
    name: &'a Path,
    thoroughly: bool,
    reporter: &'a Reporter,
}

impl CachedFile<'_> {
    fn provide(
        &self,
        lock: Option<&File>,
        make: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<File> {
        let Self { directory, name, reporter, .. } = self;
        let shown = directory.path(name);
        let shown = shown.display();
        let mut has_waited = false;
        let mut take = |at_once, waiting| match lock {
            None => Ok(()),
            Some(lock) => retry_on_intr(|| rustix::fs::flock(lock, at_once)).or_else(|_| {
                if !std::mem::replace(&mut has_waited, true) {
                    reporter.note(&format!("waiting for another machine that makes `{shown}`"));
                }
                let locked = retry_on_intr(|| rustix::fs::flock(lock, waiting));
                locked.with_context(|| format!("cannot lock `{shown}`"))
            }),
        };
        take(FlockOperation::NonBlockingLockShared, FlockOperation::LockShared)?;
        if let Ok(Some(image)) = self.find() {
            reporter.decided(|| format!("cache: `{shown}` is there and whole"));
            return Ok(image);
        }
        take(FlockOperation::NonBlockingLockExclusive, FlockOperation::LockExclusive)?;
        // Another process may have made it meanwhile.
        let found = self.find();
        if let Ok(Some(image)) = found {
            return Ok(image);
        }
        ensure!(
            directory.is_writable(),
            "the cache cannot be written to and has no whole `{shown}`; set XDG_CACHE_HOME to another directory"
        );
        if let Err(damage) = found {
            reporter.note(&format!("`{shown}` is damaged, and made anew: {damage}"));
            if let Damage::NotOwn = damage {
                directory.clear(name)?;
            }
        }
        reporter.decided(|| format!("cache: `{shown}` is made now"));
        directory.remove_unused();
        make()?;
        let context = || format!("cannot keep `{shown}`");
        let image = directory.close(name).with_context(context)?.with_context(context)?;
        let seal = Seal::of(&image, *reporter).with_context(context)?;
        self.keep(&seal).with_context(context)?;
        Ok(image)
    }

    /// The image, if it is whole. Nothing if no file has its name.
    fn find(&self) -> Result<Option<File>, Damage> {
        let Some(image) = self.directory.file(self.name)? else { return Ok(None) };
        let known = self.directory.seal(self.name).ok_or(Damage::Unknown)?;
        if let Some(again) = known.check(&image, self.thoroughly, self.reporter)? {
            // In a cache that cannot be written to, the next start compares it again.
            let _ = self.keep(&again);
        }
        Ok(Some(image))
    }

    fn keep(&self, seal: &Seal) -> anyhow::Result<()> {
        let name = self.name.with_extension(directory::SEAL);
        if let Err(Damage::NotOwn) = self.directory.file(&name) {
            self.directory.clear(&name)?;
        }
        let output = OutputFile::create_for(&self.directory.path(&name), Access::Private)?.durable(true);
        output.file().write_all(&seal.to_bytes()?)?;
        Ok(output.finish()?)
    }
}

/// The path after all links in the part of it that exists: QEMU is to open what was checked.
fn without_links(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|there| Some((there, there.canonicalize().ok()?)));
    match there.and_then(|(there, real)| Some(real.join(path.strip_prefix(there).ok()?))) {
        Some(real) => real.components().collect(),
        None => path.to_owned(),
    }
}

/// The store's path, so that two stores never share an image.
fn store_bytes(store: &StoreRoot) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let directory = store.directory();
    directory.canonicalize().unwrap_or(directory).as_os_str().as_bytes().to_owned()
}

/// A digest of the parts, each with its length before it, so that no two lists of parts look alike.
fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in [GENERATION.as_bytes()].iter().chain(parts) {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    HEXLOWER.encode(&hasher.finalize()[..16])
}
