//! What a plan has to know of this machine: programs, files, and their paths after all links. Looking makes nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use imagegen::firmware::efi_vars::LoadOption;
use imagegen::nix::Registration;
use imagegen::nix::store_path::{StorePath, StoreRoot};

use super::Accelerator;
use super::config::{Config, DiskImage, Problems, Side};
use super::direct_boot::{DirectBoot, LINE_MAX};
use super::environment::Environment;
use super::firmware::{self, EfiFlash};
use super::image_cache::{Cache, Image};
use super::own_disks;
use super::platform::Platform;
use super::search::{Search, program};
use super::shell::Variables;
use super::toplevel;
use super::tpm::Swtpm;
use super::working_directory::EXCHANGE;
use crate::derivation::product;
use crate::{closure_file, input};

/// Linux's limit for the path of a socket (unix(7)), without the zero behind it.
const SOCKET_PATH_MAX: usize = 107;

/// Everything that the plan of a machine depends on, besides its options and environment. All paths are absolute.
pub struct Host {
    /// The guest's platform.
    pub platform: Platform,
    /// What runs the guest's code.
    pub accelerator: Accelerator,
    /// The paths of the config are relative to it.
    pub current_directory: PathBuf,
    /// QEMU's working directory.
    pub directory: PathBuf,
    /// The root disk, if there is to be one.
    pub root_disk: Option<PathBuf>,
    /// UEFI's flash.
    pub efi: Option<EfiFlash>,
    /// The TPM.
    pub tpm: Option<Swtpm>,
    /// `nc`, which connects the guest with servers on this machine.
    pub netcat: PathBuf,
    /// The store that the guest shares.
    pub store_directory: PathBuf,
    /// The store image.
    pub store_image: Option<Image>,
    /// The boot disk.
    pub boot_disk: Option<Image>,
    /// What QEMU loads itself.
    pub direct_boot: Option<DirectBoot>,
    /// The certificates that the guest shares.
    pub certificates: Option<PathBuf>,
}

impl Host {
    /// Lets QEMU work in a directory. EFI variables that are the machine's only while it runs go there, with this boot entry.
    pub fn enter(&mut self, directory: &Path, entry: Option<&LoadOption>) {
        directory.clone_into(&mut self.directory);
        if let Some(efi) = &mut self.efi {
            efi.variables = directory.join(&efi.variables);
            efi.entry = entry.cloned();
        }
    }

    /// The directory that is shared as `xchg`.
    pub fn exchange(&self) -> PathBuf {
        self.directory.join(EXCHANGE)
    }
}

/// A machine to plan: all that its plan depends on.
pub struct Machine<'m> {
    pub config: &'m Config,
    pub environment: &'m Environment,
    pub host: &'m Host,
}

/// The variables as the script's last lines see them. By then it has set some itself, and has changed to its temporary
/// directory.
impl Variables for Machine<'_> {
    fn get(&self, name: &str) -> Option<&OsStr> {
        let host = self.host;
        let own = match name {
            "TMPDIR" | "PWD" => Some(&host.directory),
            "NIX_DISK_IMAGE" => host.root_disk.as_ref(),
            "NIX_EFI_VARS" => host.efi.as_ref().map(|efi| &efi.variables),
            "NIX_SWTPM_DIR" => host.tpm.as_ref().map(|tpm| &tpm.directory),
            _ => None,
        };
        own.map(|path| path.as_os_str()).or_else(|| self.environment.get_any(name))
    }
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

/// Looks at everything and reports what is missing. The working directory and the accelerator are the caller's to set.
pub fn find(
    config: &Config,
    environment: &Environment,
    store: &StoreRoot,
    platform: Platform,
    qemu: Option<&Path>,
    problems: &mut Problems,
) -> anyhow::Result<Host> {
    let current_directory = std::env::current_dir()?;
    let cache = Cache::of(environment);
    let mut search = Search {
        config,
        environment,
        store,
        platform,
        qemu,
        current_directory: current_directory.clone(),
        problems,
    };
    let root_disk = search.root_disk();
    let store_image = search.store_image(&cache);
    let boot_disk = search.boot_disk(&cache);
    let others = [("storeImage", store_image.as_ref()), ("bootDisk", boot_disk.as_ref())];
    own_disks::check(&mut search, root_disk.as_deref(), others);
    let efi = firmware::find(&mut search, boot_disk.as_ref().and_then(Image::path_of_config));
    let tpm = search.tpm();
    let netcat = search.netcat();
    let direct_boot = search.direct_boot();
    search.additional_paths();
    Ok(Host {
        platform,
        accelerator: Accelerator::Tcg,
        store_directory: search.absolute(&store.directory()),
        certificates: search.certificates(),
        current_directory,
        directory: PathBuf::new(),
        root_disk,
        efi,
        tpm,
        netcat,
        store_image,
        boot_disk,
        direct_boot,
    })
}

impl Search<'_> {
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

    fn store_image(&mut self, cache: &Cache) -> Option<Image> {
        if !self.config.use_nix_store_image {
            return None;
        }
        if let Some(image) = &self.config.store_image {
            return Some(Image::of_config(self.image("storeImage", image, product::STORE_IMAGE)));
        }
        // Without either, the rules have reported it.
        let registration = self.absolute(self.config.registration.as_deref()?);
        let image = cache.store_image(&registration, self.store);
        self.found("registration", image)
    }

    fn boot_disk(&mut self, cache: &Cache) -> Option<Image> {
        if !self.config.use_boot_loader {
            return None;
        }
        if let Some(disk) = &self.config.boot_disk {
            return Some(Image::of_config(self.image("bootDisk", disk, product::BOOT_DISK)));
        }
        if self.platform == Platform::Aarch64
            && !self.config.boots_directly()
            && !self.config.use_efi_boot
            && self.config.bios.is_none()
        {
            let what = "an aarch64 machine has no BIOS that starts a loader; set useEFIBoot";
            self.problems.add("useBootLoader", what);
        }
        let toplevel = toplevel::store_path(self.config.toplevel.as_deref()?);
        let image =
            toplevel.and_then(|toplevel| cache.boot_disk(&toplevel, self.store, self.platform, self.config));
        self.found("toplevel", image)
    }

    fn tpm(&mut self) -> Option<Swtpm> {
        if !self.config.tpm.enable {
            return None;
        }
        let package = self.config.tpm.package.as_deref().map(|package| self.absolute(package));
        let program = program(self.environment, package.as_deref(), "swtpm").unwrap_or_else(|| {
            self.problems
                .add("tpm.enable", "there is no swtpm; install it (Debian: swtpm) or set tpm.package");
            PathBuf::new()
        });
        let by_name = PathBuf::from(format!("{}-swtpm", self.config.name));
        let directory = self.environment.path("NIX_SWTPM_DIR").map_or(by_name, Path::to_owned);
        let tpm = Swtpm { program, directory: self.real_path("tpm.enable", &directory) };
        let socket = tpm.socket();
        if socket.as_os_str().as_bytes().contains(&b',') || socket.as_os_str().len() > SOCKET_PATH_MAX {
            let what = format_args!(
                "swtpm cannot have its socket at `{}`, whose path has a comma or more than {SOCKET_PATH_MAX} bytes; set \
                 NIX_SWTPM_DIR to another directory",
                socket.display()
            );
            self.problems.add("tpm.enable", what);
        }
        Some(tpm)
    }

    fn netcat(&mut self) -> PathBuf {
        let found = program(self.environment, None, "nc");
        let rule = self.config.forward_ports.iter().position(|rule| rule.from == Side::Guest);
        if let (Some(i), None) = (rule, &found) {
            let what = "there is no nc, which connects the guest to this machine; install it (Debian: \
                        netcat-openbsd)";
            self.problems.add(format_args!("forwardPorts.<entry {}>.from", i + 1), what);
        }
        found.unwrap_or_default()
    }

    fn direct_boot(&mut self) -> Option<DirectBoot> {
        let toplevel = self.config.toplevel.as_deref().filter(|_| self.config.boots_directly())?;
        let found = DirectBoot::of_toplevel(toplevel, self.store, &self.current_directory);
        let mut direct = self.found("toplevel", found)?;
        if let Some(initrd) = &self.config.direct_boot.initrd {
            let in_store = self.store.resolve(initrd).map(|found| found.physical);
            direct.initrd = self.absolute(&in_store.unwrap_or_else(|_| initrd.clone()));
            self.need_file("directBoot.initrd", &direct.initrd);
        }
        Some(direct)
    }

    /// Checks that the paths are registered: the guest has no others. A finished image is taken as it is.
    fn additional_paths(&mut self) {
        let (wanted, Some(file)) = (&self.config.additional_paths, &self.config.registration) else { return };
        if wanted.is_empty() {
            return;
        }
        let file = self.absolute(file);
        let parsed = closure_file::read(&file, "registration")
            .and_then(|bytes| Ok(Registration::parse(&file, &bytes)?));
        let Some(registration) = self.found("registration", parsed) else { return };
        for (i, path) in (1..).zip(wanted) {
            if !registration.paths().iter().any(|entry| entry.path.to_string() == *path) {
                let what = format_args!("`{path}` is not in the registration `{}`", file.display());
                self.problems.add(format_args!("additionalPaths.<entry {i}>"), what);
            }
        }
    }

    fn certificates(&self) -> Option<PathBuf> {
        let file = self.environment.path("NIX_SSL_CERT_FILE").filter(|_| self.config.use_host_certs)?;
        Some(self.absolute(file)).filter(|path| path.is_file())
    }
}
