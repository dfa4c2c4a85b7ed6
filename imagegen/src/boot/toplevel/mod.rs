//! What a NixOS system says about how it is booted: its `boot.json` (bootspec version 1, RFC 0125), or the links of
//! its toplevel where there is none.

mod bootspec;
mod distribution;
mod error;
mod synthesis;

pub use self::bootspec::EXTRA_INITRD;
pub use error::ToplevelError;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use self::bootspec::Document;
use ::bootspec::JSON_FILENAME;
use ::bootspec::v1::BootSpecV1;

use crate::fs::file_source::FileSource;
use crate::nix::store_path::{Resolved, StorePath, StoreRoot};
use crate::units::length;

/// More than any text or boot loader has, and little enough to be read whole.
const SMALL_MAX: u64 = 16 << 20;

/// A system as a boot loader needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The store path that it was read from.
    pub toplevel: StorePath,
    /// The system double, such as `x86_64-linux`.
    pub system: String,
    /// What the distribution calls itself, such as `NixOS`.
    pub distribution: String,
    /// Extensions of its bootspec, and of those of its variants, that are not followed, since nothing is known of them.
    pub unknown_extensions: BTreeSet<String>,
    /// What is started.
    pub boot: Boot,
    /// Variants of the system, by name.
    pub specialisations: BTreeMap<String, Boot>,
}

/// A kernel and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The description, such as `NixOS Xantusia 25.11 (Linux 6.12.48)`.
    pub label: String,
    /// The kernel.
    pub kernel: BootFile,
    /// The initial RAM disk, if there is one.
    pub initrd: Option<BootFile>,
    /// Further initial RAM disks, which somebody else puts on the EFI system partition: paths from its root, without a
    /// slash in front, in the order in which they follow the initrd.
    pub extra_initrds: Vec<String>,
    /// The script that adds secrets to the initrd on the machine where the system is installed, if there is one.
    pub initrd_secrets: Option<InitrdSecrets>,
    /// The flattened device tree that the boot loader is to pass on, if there is one.
    pub device_tree: Option<BootFile>,
    /// The program that the kernel, or its initial RAM disk, is to start.
    pub init: String,
    /// The kernel's parameters, without `init=`.
    pub kernel_params: Vec<String>,
    /// By what systemd-boot sorts the entry, if the system says so.
    pub sort_key: Option<String>,
}

impl System {
    /// The system itself, without a name, then its variants by name.
    pub fn variants(&self) -> impl Iterator<Item = (Option<&str>, &Boot)> {
        let named = self.specialisations.iter().map(|(name, boot)| (Some(name.as_str()), boot));
        std::iter::once((None, &self.boot)).chain(named)
    }

    /// The same without names.
    pub fn boots(&self) -> impl Iterator<Item = &Boot> {
        self.variants().map(|(_, boot)| boot)
    }
}

impl Boot {
    /// What the boot loader reads: kernel, initial RAM disk, device tree.
    pub fn files(&self) -> impl Iterator<Item = &BootFile> {
        std::iter::once(&self.kernel).chain(&self.initrd).chain(&self.device_tree)
    }
}

/// A file of the store that a boot loader reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// The store path that it lies in.
    pub store_path: StorePath,
    /// Its path in there; empty where the store path is the file.
    pub inside: String,
    /// Its bytes.
    pub content: FileSource,
}

impl BootFile {
    /// Its path in the store.
    pub fn logical(&self) -> String {
        let slash = if self.inside.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.store_path, self.inside)
    }

    /// Its first bytes, at most `bytes` of them.
    pub(in crate::boot) fn head(&self, bytes: u64) -> Result<Vec<u8>, ToplevelError> {
        self.content.head(bytes).map_err(ToplevelError::io(Path::new(&self.logical())))
    }

    /// What NixOS names a copy of it: a name that says where it comes from, so that it never changes.
    pub fn copy_name(&self) -> String {
        let base = self.store_path.base_name();
        match self.inside.rsplit('/').next() {
            None | Some("") => base.to_owned(),
            Some(name) => format!("{base}-{name}"),
        }
    }
}

/// A script of a system that adds secrets to its initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitrdSecrets {
    /// The script, whose name becomes a part of the initrd's.
    pub script: BootFile,
    /// Whether it has any to add. NixOS makes a script for every system with an initrd.
    pub adds: bool,
}

/// Reads what the system at `toplevel` says, follows every path in it and checks that the files are there.
pub fn read(store: &StoreRoot, toplevel: &StorePath) -> Result<System, ToplevelError> {
    let reader = Reader { store, toplevel: toplevel.to_string() };
    let directory = PathBuf::from(toplevel.to_string());
    let mut document = if reader.exists(&directory, JSON_FILENAME)? {
        let file = directory.join(JSON_FILENAME);
        let physical = reader.resolve("bootspec", &file)?.physical;
        Document::parse(&physical, &reader.text("bootspec", &file)?)?
    } else {
        reader.synthesize(&directory)?
    };
    let mut unknown_extensions = std::mem::take(&mut document.unknown_extensions);
    let specialisations = std::mem::take(&mut document.specialisations)
        .into_iter()
        .map(|(name, specialisation)| {
            reader.check_specialisation_name(&name)?;
            unknown_extensions.extend(specialisation.unknown_extensions.iter().cloned());
            let boot = reader.boot(specialisation)?;
            Ok((name, boot))
        })
        .collect::<Result<_, ToplevelError>>()?;
    Ok(System {
        toplevel: toplevel.clone(),
        system: document.bootspec.system.clone(),
        distribution: reader.distribution(&directory, &document.bootspec)?,
        unknown_extensions,
        boot: reader.boot(document)?,
        specialisations,
    })
}

struct Reader<'a> {
    store: &'a StoreRoot,
    /// The system, for messages.
    toplevel: String,
}

impl Reader<'_> {
    /// Checks a description and finds its files.
    fn boot(&self, document: Document) -> Result<Boot, ToplevelError> {
        let Document { bootspec, systemd_boot, extra_initrd, .. } = document;
        self.check_text("label", &bootspec.label)?;
        for parameter in &bootspec.kernel_params {
            self.check_text("kernel parameter", parameter)?;
        }
        self.resolve("init program", &bootspec.init)?;
        let init = shown(&bootspec.init);
        if init.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(self.unusable("path of the init program", &init));
        }
        if let Some(sort_key) = &systemd_boot.sort_key {
            self.check_text("sort key", sort_key)?;
        }
        let optional = |what, path: Option<PathBuf>| path.map(|path| self.boot_file(what, &path)).transpose();
        Ok(Boot {
            label: bootspec.label,
            kernel: self.boot_file("kernel", &bootspec.kernel)?,
            initrd: optional("initrd", bootspec.initrd)?,
            extra_initrds: self.extra_initrds(&extra_initrd.paths)?,
            initrd_secrets: bootspec.initrd_secrets.map(|script| self.initrd_secrets(&script)).transpose()?,
            device_tree: optional("device tree", systemd_boot.devicetree)?,
            init,
            kernel_params: bootspec.kernel_params,
            sort_key: systemd_boot.sort_key,
        })
    }

    /// What the distribution calls itself: what its `os-release` says, else what its label begins with.
    fn distribution(&self, toplevel: &Path, bootspec: &BootSpecV1) -> Result<String, ToplevelError> {
        // Files of that kind may be missing, or lead out of the store.
        let small = |name: &str| {
            let found = self.store.resolve(&toplevel.join(name)).ok()?;
            String::from_utf8(read_small("file", &found.physical).ok()?).ok()
        };
        let version = small("nixos-version");
        let name = small("etc/os-release")
            .and_then(|text| distribution::in_os_release(&text))
            .unwrap_or_else(|| distribution::in_label(&bootspec.label, version.as_deref().map(str::trim)));
        self.check_text("distribution name", &name)?;
        Ok(name)
    }

    /// Paths from the root of the EFI system partition. systemd-boot repeats them on the kernel's command line, where a
    /// space would end them, and one of the other characters is none of a name's on FAT.
    fn extra_initrds(&self, paths: &[String]) -> Result<Vec<String>, ToplevelError> {
        let is_bad = |c: char| c.is_whitespace() || c.is_control() || "\\:*?\"<>|".contains(c);
        paths
            .iter()
            .map(|path| {
                let relative = path.trim_start_matches('/');
                let names_are_good = relative.split('/').all(|name| !matches!(name, "" | "." | ".."));
                if names_are_good && !relative.contains(is_bad) {
                    Ok(relative.to_owned())
                } else {
                    Err(self.unusable("path in `org.nixos.extra-initrd.v1`", path))
                }
            })
            .collect()
    }

    fn initrd_secrets(&self, script: &Path) -> Result<InitrdSecrets, ToplevelError> {
        let script = self.boot_file("initrd script", script)?;
        let FileSource::File { physical, .. } = &script.content else {
            return Ok(InitrdSecrets { script, adds: true });
        };
        let text = String::from_utf8(read_small("initrd script", physical)?);
        let adds = !text.is_ok_and(|text| adds_nothing(&text));
        Ok(InitrdSecrets { script, adds })
    }

    fn boot_file(&self, what: &'static str, path: &Path) -> Result<BootFile, ToplevelError> {
        let found = self.resolve(what, path)?;
        let physical = found.physical;
        let metadata = physical.metadata().map_err(ToplevelError::io(&physical))?;
        if !metadata.is_file() {
            return Err(ToplevelError::not_a_file(what, &physical));
        }
        let inside = found.inner.to_str().ok_or_else(|| self.unusable(what, &shown(path)))?.to_owned();
        let size = metadata.len();
        let file =
            BootFile { store_path: found.store_path, inside, content: FileSource::File { physical, size } };
        if size == 0 {
            let (path, toplevel) = (file.logical(), &self.toplevel);
            return Err(ToplevelError::Unusable(format!(
                "the {what} `{path}` is empty (0 bytes), so that nothing would boot; build {toplevel} again"
            )));
        }
        Ok(file)
    }

    /// Boot menus are files of lines: a line break would be the beginning of something else.
    fn check_text(&self, what: &'static str, text: &str) -> Result<(), ToplevelError> {
        if text.contains(char::is_control) { Err(self.unusable(what, text)) } else { Ok(()) }
    }

    /// The name becomes part of file names and titles.
    fn check_specialisation_name(&self, name: &str) -> Result<(), ToplevelError> {
        let bad = name.is_empty() || name.contains(|c: char| c == '/' || c.is_control());
        if bad { Err(self.unusable("specialisation name", name)) } else { Ok(()) }
    }

    fn unusable(&self, what: &'static str, value: &str) -> ToplevelError {
        ToplevelError::Unusable(format!("{} has an unusable {what}: {value:?}", self.toplevel))
    }

    fn resolve(&self, what: &'static str, path: &Path) -> Result<Resolved, ToplevelError> {
        self.store.resolve(path).map_err(|source| ToplevelError::Resolve {
            what,
            toplevel: self.toplevel.clone(),
            source,
        })
    }

    /// Whether a directory has an entry, even if it is a link that leads nowhere.
    fn exists(&self, directory: &Path, name: &str) -> Result<bool, ToplevelError> {
        let path = self.resolve("toplevel", directory)?.physical.join(name);
        match path.symlink_metadata() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ToplevelError::io(&path)(error)),
        }
    }

    /// The names in a directory, sorted.
    fn list(&self, what: &'static str, directory: &Path) -> Result<Vec<String>, ToplevelError> {
        let physical = self.resolve(what, directory)?.physical;
        let io = ToplevelError::io(&physical);
        let mut names = Vec::new();
        for entry in physical.read_dir().map_err(&io)? {
            let name = entry.map_err(&io)?.file_name();
            names.push(name.into_string().map_err(|name| self.unusable(what, &name.to_string_lossy()))?);
        }
        names.sort_unstable();
        Ok(names)
    }

    fn text(&self, what: &'static str, path: &Path) -> Result<String, ToplevelError> {
        let path = self.resolve(what, path)?.physical;
        String::from_utf8(read_small(what, &path)?)
            .map_err(|_| ToplevelError::Unusable(format!("`{}` is not UTF-8 text", path.display())))
    }
}

/// Whether NixOS's script for initrd secrets has none to add. It then says `exit 0`, not indented, before the part
/// that would append to the initrd.
fn adds_nothing(script: &str) -> bool {
    script
        .lines()
        .find(|line| *line == "exit 0" || line.contains(">>") || line.contains("cpio"))
        .is_none_or(|line| line == "exit 0")
}

/// Reads a file that is expected to be small.
pub(in crate::boot) fn read_small(what: &'static str, path: &Path) -> Result<Vec<u8>, ToplevelError> {
    let io = ToplevelError::io(path);
    // Opening a fifo would wait for somebody to write.
    if !path.metadata().map_err(&io)?.is_file() {
        return Err(ToplevelError::not_a_file(what, path));
    }
    let file = File::open(path).map_err(&io)?;
    let mut bytes = Vec::new();
    file.take(SMALL_MAX + 1).read_to_end(&mut bytes).map_err(&io)?;
    if length(bytes.len()) > SMALL_MAX {
        return Err(ToplevelError::TooLong(path.to_owned()));
    }
    Ok(bytes)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
