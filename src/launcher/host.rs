//! What a plan has to know of this machine: programs, files, and where they truly are. Looking makes nothing.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use imagegen::container::Foreign;
use imagegen::nix::Registration;
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::units::ByteCount;

use super::Accelerator;
use super::config::{Config, DiskImage, Problems, Side};
use super::environment::Environment;
use super::firmware::{self, EfiFacts};
use super::image_cache::{Cache, Entry};
use super::platform::Platform;
use crate::{closure_file, hints, input};

/// More than a toplevel's `system` and `kernel-params` have.
const LINE_MAX: ByteCount = ByteCount(1 << 20);
/// Linux's limit for the path of a socket (unix(7)), without the zero behind it.
const SOCKET_PATH_MAX: usize = 107;

/// The directory for exchange with the guest, in the temporary directory.
pub const EXCHANGE: &str = "xchg";

/// Everything that the plan of a machine depends on, besides its options and environment. All paths are absolute.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The guest's platform.
    pub platform: Platform,
    /// What runs the guest's code.
    pub accelerator: Accelerator,
    /// Where the names of files in the config begin.
    pub current_directory: PathBuf,
    /// QEMU's directory, for what lasts as long as the machine runs.
    pub directory: PathBuf,
    /// The root disk, if there is to be one.
    pub root_disk: Option<PathBuf>,
    /// UEFI's flash.
    pub efi: Option<EfiFacts>,
    /// The TPM.
    pub tpm: Option<TpmFacts>,
    /// What connects the guest with servers on this machine.
    pub netcat: PathBuf,
    /// The store to share.
    pub store_directory: PathBuf,
    /// The store image.
    pub store_image: Option<PathBuf>,
    /// The boot disk.
    pub boot_disk: Option<PathBuf>,
    /// What QEMU loads itself.
    pub direct_boot: Option<DirectBoot>,
    /// The certificates to share.
    pub certificates: Option<PathBuf>,
}

impl Facts {
    /// The directory that is shared as `xchg`.
    pub fn exchange(&self) -> PathBuf {
        self.directory.join(EXCHANGE)
    }
}

/// A direct boot.
#[derive(Debug, Clone)]
pub struct DirectBoot {
    /// The kernel, on this machine.
    pub kernel: PathBuf,
    /// The initrd, on this machine.
    pub initrd: PathBuf,
    /// The system's own kernel parameters.
    pub kernel_params: String,
    /// The toplevel, as the guest names it.
    pub toplevel: String,
}

/// A TPM.
#[derive(Debug, Clone)]
pub struct TpmFacts {
    /// swtpm.
    pub program: PathBuf,
    /// Where it keeps its state.
    pub directory: PathBuf,
}

impl TpmFacts {
    /// Where QEMU finds it.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }
}

/// What was found, and what has still to be built.
pub struct Found {
    /// What the plan depends on; the directory is not there yet.
    pub facts: Facts,
    /// The store image, if the config names none.
    pub store_image: Option<Entry>,
    /// The boot disk, if the config names none.
    pub boot_disk: Option<Entry>,
    /// What the user should know, though the machine can start.
    pub warnings: Vec<String>,
}

/// The guest's platform: the config's, else the toplevel's, else this machine's.
pub fn platform(config: &Config, store: &StoreRoot) -> Platform {
    let of_toplevel = || {
        let toplevel = StorePath::parse(config.toplevel.as_deref()?).ok()?;
        let name = input::read_text(&store.physical(&toplevel).join("system"), LINE_MAX).ok()?;
        Platform::by_name(name.trim())
    };
    config.system.or_else(of_toplevel).or_else(Platform::of_this_machine).unwrap_or(Platform::X86_64)
}

/// Looks at everything; what is missing goes to the problems.
pub fn find(
    config: &Config,
    environment: &Environment,
    store: &StoreRoot,
    platform: Platform,
    problems: &mut Problems,
) -> anyhow::Result<Found> {
    let current_directory = std::env::current_dir()?;
    let cache = Cache::of(environment);
    let mut search = Search { config, environment, store, current_directory, problems };

    let root_disk = search.root_disk();
    let (store_image, store_entry) = search.store_image(&cache);
    let (boot_disk, boot_entry) = search.boot_disk(&cache, platform);
    let beside_boot_disk = boot_disk.as_deref().filter(|_| boot_entry.is_none()).map(Path::to_owned);
    let efi = firmware::find(&mut search, platform, beside_boot_disk.as_deref());
    let tpm = search.tpm();
    let netcat = search.netcat();
    let direct_boot = search.direct_boot();
    search.additional_paths();
    let store_directory = search.absolute(&store.directory());
    let (certificates, warnings) = search.certificates();
    let facts = Facts {
        platform,
        accelerator: Accelerator::Tcg,
        current_directory: search.current_directory.clone(),
        directory: PathBuf::new(),
        root_disk,
        efi,
        tpm,
        netcat,
        store_directory,
        store_image,
        boot_disk,
        direct_boot,
        certificates,
    };
    Ok(Found { facts, store_image: store_entry, boot_disk: boot_entry, warnings })
}

/// Looks things up for one config.
pub(super) struct Search<'a> {
    pub config: &'a Config,
    pub environment: &'a Environment,
    store: &'a StoreRoot,
    current_directory: PathBuf,
    pub problems: &'a mut Problems,
}

impl Search<'_> {
    /// A name of the config or the environment, without following links.
    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.current_directory.join(path)
    }

    /// Where a file is or will be, after all links.
    pub fn real_path(&mut self, option: &str, path: &Path) -> PathBuf {
        let path = self.absolute(path);
        real_path(&path).unwrap_or_else(|error| {
            self.problems
                .add(option, format_args!("cannot find the directory of `{}`: {error}", path.display()));
            path
        })
    }

    /// Checks that there is a regular file.
    pub fn need_file(&mut self, option: &str, path: &Path) {
        let shown = path.display();
        match path.metadata() {
            Ok(found) if found.is_file() => {}
            Ok(_) => self.problems.add(option, format_args!("`{shown}` is not a regular file")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.problems.add(option, format_args!("there is no file `{shown}`"));
            }
            Err(error) => self.problems.add(option, format_args!("cannot look at `{shown}`: {error}")),
        }
    }

    /// Checks that what is there can be a disk.
    fn need_disk(&mut self, option: &str, path: &Path) {
        let kind = path.metadata().map(|found| found.file_type());
        if kind.is_ok_and(|kind| !kind.is_file() && !kind.is_block_device()) {
            let what = format_args!("`{}` is neither a file nor a block device", path.display());
            self.problems.add(option, what);
        }
    }

    fn root_disk(&mut self) -> Option<PathBuf> {
        let of_config = match &self.config.disk_image {
            DiskImage::None => return None,
            DiskImage::File(path) => path.clone(),
            DiskImage::ByName => PathBuf::from(format!("./{}.qcow2", self.config.name)),
        };
        let path = self.environment.path("NIX_DISK_IMAGE").map_or(of_config, Path::to_owned);
        let path = self.real_path("diskImage", &path);
        self.need_disk("diskImage", &path);
        if !path.exists() && self.config.disk_size.is_none() {
            self.problems.add(
                "diskSize",
                format_args!("`{}` is not there, and has no size to be made with", path.display()),
            );
        }
        Some(path)
    }

    fn store_image(&mut self, cache: &Cache) -> (Option<PathBuf>, Option<Entry>) {
        if !self.config.use_nix_store_image {
            return (None, None);
        }
        if let Some(image) = &self.config.store_image {
            return (Some(self.image("storeImage", image, "nixos.qcow2")), None);
        }
        // Without either there is a problem already.
        let Some(registration) = &self.config.registration else { return (None, None) };
        match cache.store_image(&self.absolute(registration), self.store) {
            Ok(entry) => (Some(entry.image.clone()), Some(entry)),
            Err(error) => {
                self.problems.add("registration", hints::shown(&error));
                (None, None)
            }
        }
    }

    fn boot_disk(&mut self, cache: &Cache, platform: Platform) -> (Option<PathBuf>, Option<Entry>) {
        if !self.config.use_boot_loader {
            return (None, None);
        }
        if let Some(disk) = &self.config.boot_disk {
            return (Some(self.image("bootDisk", disk, "disk.img")), None);
        }
        if platform == Platform::Aarch64
            && !self.config.boots_directly()
            && !self.config.use_efi_boot
            && self.config.bios.is_none()
        {
            let what = "an aarch64 machine has no BIOS that starts a loader; set useEFIBoot";
            self.problems.add("useBootLoader", what);
        }
        let Some(toplevel) = &self.config.toplevel else { return (None, None) };
        let entry = match StorePath::parse(toplevel) {
            Ok(toplevel) => cache
                .boot_disk(&toplevel, self.store, platform, self.config)
                .map_err(|error| hints::shown(&error)),
            Err(error) => Err(error.to_string()),
        };
        match entry {
            Ok(entry) => (Some(entry.image.clone()), Some(entry)),
            Err(error) => {
                self.problems.add("toplevel", error);
                (None, None)
            }
        }
    }

    /// An image, or the one of a name in a directory.
    fn image(&mut self, option: &str, path: &Path, name_in_directory: &str) -> PathBuf {
        let path = self.absolute(path);
        let path = if path.is_dir() { path.join(name_in_directory) } else { path };
        self.need_file(option, &path);
        self.need_image(option, &path);
        path
    }

    /// Checks that a file is no image of a kind that the machine would take for a raw disk.
    fn need_image(&mut self, option: &str, path: &Path) {
        let Ok(found) = path.metadata() else { return };
        // Opening a pipe would wait for its other end.
        let Some(Ok(file)) = found.is_file().then(|| std::fs::File::open(path)) else { return };
        let length = found.len();
        if let Ok(Some(foreign)) = Foreign::of(&file, length) {
            self.problems.add(option, format_args!("`{}` {}", path.display(), foreign.described(path)));
        }
    }

    fn tpm(&mut self) -> Option<TpmFacts> {
        if !self.config.tpm.enable {
            return None;
        }
        let package = self.config.tpm.package.as_deref().map(|package| self.absolute(package));
        let program = self.program(package.as_deref(), "swtpm");
        let program = program.unwrap_or_else(|| {
            self.problems
                .add("tpm.enable", "there is no swtpm; install it (Debian: swtpm) or set tpm.package");
            PathBuf::new()
        });
        let by_name = PathBuf::from(format!("{}-swtpm", self.config.name));
        let directory = self.environment.path("NIX_SWTPM_DIR").map_or(by_name, Path::to_owned);
        let tpm = TpmFacts { program, directory: self.real_path("tpm.enable", &directory) };
        let socket = tpm.socket();
        if socket.as_os_str().as_bytes().contains(&b',') || socket.as_os_str().len() > SOCKET_PATH_MAX {
            let what = format!(
                "swtpm cannot have its socket at `{}`, whose path has a comma or more than {SOCKET_PATH_MAX} bytes; set \
                 NIX_SWTPM_DIR to another directory",
                socket.display()
            );
            self.problems.add("tpm.enable", what);
        }
        Some(tpm)
    }

    fn netcat(&mut self) -> PathBuf {
        let found = self.program(None, "nc");
        let entries = (1..).zip(&self.config.forward_ports);
        if let Some((i, _)) = entries.clone().find(|(_, rule)| rule.from == Side::Guest)
            && found.is_none()
        {
            let what = "there is no nc, which connects the guest to this machine; install it (Debian: \
                        netcat-openbsd)";
            self.problems.add(&format!("forwardPorts.<entry {i}>.from"), what);
        }
        found.unwrap_or_default()
    }

    fn direct_boot(&mut self) -> Option<DirectBoot> {
        let toplevel = self.config.toplevel.as_deref().filter(|_| self.config.boots_directly())?;
        match direct_boot(toplevel, self.store, &self.current_directory) {
            Ok(mut direct) => {
                if let Some(initrd) = &self.config.direct_boot.initrd {
                    let in_store = self.store.resolve(initrd).map(|found| found.physical);
                    direct.initrd = self.absolute(&in_store.unwrap_or_else(|_| initrd.clone()));
                    let initrd = direct.initrd.clone();
                    self.need_file("directBoot.initrd", &initrd);
                }
                Some(direct)
            }
            Err(error) => {
                self.problems.add("toplevel", hints::shown(&error));
                None
            }
        }
    }

    /// The guest can have only what is registered. A finished image is taken as it is.
    fn additional_paths(&mut self) {
        let (wanted, Some(file)) = (&self.config.additional_paths, &self.config.registration) else { return };
        if wanted.is_empty() {
            return;
        }
        let file = self.absolute(file);
        let registration = match closure_file::read(&file, "registration") {
            Ok(bytes) => Registration::parse(&file, &bytes).map_err(|error| error.to_string()),
            Err(error) => Err(hints::shown(&error)),
        };
        let registration = match registration {
            Ok(registration) => registration,
            Err(error) => return self.problems.add("registration", error),
        };
        for (i, path) in (1..).zip(wanted) {
            let is_there = registration.paths().iter().any(|entry| entry.path.to_string() == *path);
            if !is_there {
                let what = format!("`{path}` is not in the registration `{}`", file.display());
                self.problems.add(&format!("additionalPaths.<entry {i}>"), what);
            }
        }
    }

    fn certificates(&mut self) -> (Option<PathBuf>, Vec<String>) {
        if !self.config.use_host_certs {
            return (None, Vec::new());
        }
        let file = self.environment.path("NIX_SSL_CERT_FILE").map(|path| self.absolute(path));
        let file = file.filter(|path| path.is_file());
        let warnings = if file.is_none() {
            vec![
                "useHostCerts: NIX_SSL_CERT_FILE names no file, so the guest gets no certificates".to_owned(),
            ]
        } else {
            Vec::new()
        };
        (file, warnings)
    }

    /// A package's program, or the one on `PATH`.
    fn program(&self, package: Option<&Path>, name: &str) -> Option<PathBuf> {
        program(self.environment, package, name)
    }
}

/// `PACKAGE/bin/NAME`, or the first `NAME` on `PATH`, if it is a program.
pub fn program(environment: &Environment, package: Option<&Path>, name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if let Some(package) = package {
        return Some(package.join("bin").join(name)).filter(is_program);
    }
    let path = environment.get("PATH").unwrap_or_default();
    let found = std::env::split_paths(path).map(|directory| directory.join(name)).find(is_program)?;
    std::path::absolute(found).ok()
}

fn direct_boot(toplevel: &str, store: &StoreRoot, current: &Path) -> anyhow::Result<DirectBoot> {
    let toplevel = StorePath::parse(toplevel)?;
    let unresolved = store.physical(&toplevel);
    let resolve = |name: &str| -> anyhow::Result<PathBuf> {
        let found = store.resolve(&Path::new(&toplevel.to_string()).join(name))?.physical;
        // Where the machine's own store is used, its links lead to the same file, and the module names the link.
        let link = unresolved.join(name);
        let is_same =
            link.canonicalize().is_ok_and(|path| found.canonicalize().is_ok_and(|found| path == found));
        Ok(current.join(if is_same { link } else { found }))
    };
    let params = resolve("kernel-params")?;
    let text = input::read_text(&params, LINE_MAX)?;
    Ok(DirectBoot {
        kernel: resolve("kernel")?,
        initrd: resolve("initrd")?,
        kernel_params: text.trim_end_matches('\n').to_owned(),
        toplevel: toplevel.to_string(),
    })
}

/// As `readlink -f`: every link is followed, and the last name need not be there.
fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    let mut path = path.to_owned();
    // As many links as Linux follows.
    for _ in 0..40 {
        if let Ok(found) = path.canonicalize() {
            return Ok(found);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { break };
        let last = parent.canonicalize()?.join(name);
        match last.read_link() {
            // A link that leads nowhere yet.
            Ok(target) => path = last.with_file_name("").join(target),
            Err(_) => return Ok(last),
        }
    }
    Err(std::io::Error::other("it leads through too many links"))
}
