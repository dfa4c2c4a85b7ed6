//! What a NixOS system says about how it is booted: its `boot.json` (bootspec version 1, RFC 0125), or the links of
//! its toplevel where there is none.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bootspec::v1::{BootSpecV1, GenerationV1, SpecialisationV1};
use bootspec::{Extensions, JSON_FILENAME, SpecialisationName, SystemConfigurationRoot};
use serde::Deserialize;

use crate::content::Content;
use crate::store_path::{ResolveError, Resolved, StorePath, StoreRoot};
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
    /// The system itself, then its variants by name.
    pub fn boots(&self) -> impl Iterator<Item = &Boot> {
        std::iter::once(&self.boot).chain(self.specialisations.values())
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
    pub content: Content,
}

impl BootFile {
    /// What NixOS names a copy of it: a name that says where it comes from, so that it never changes.
    pub fn copy_name(&self) -> String {
        let base = self.store_path.base_name();
        match self.inside.rsplit('/').next() {
            None | Some("") => base.to_owned(),
            Some(name) => format!("{base}-{name}"),
        }
    }
}

/// What to do with a system whose initrd is to get secrets on the machine that it is installed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitrdSecrets {
    /// It is an error.
    Refuse,
    /// The initrd is installed without them.
    LeaveOut,
}

/// Why a system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ToplevelError {
    /// A link of the toplevel, or a path in its `boot.json`, leads nowhere.
    #[error("cannot find the {what} of {toplevel}")]
    Resolve {
        /// What was looked for.
        what: &'static str,
        /// The system.
        toplevel: String,
        /// What stood in the way.
        source: ResolveError,
    },
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Io {
        /// The file on this machine.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something that should be a file is not.
    #[error("the {what} `{path}` is not a regular file")]
    NotAFile {
        /// What it should be.
        what: &'static str,
        /// The file on this machine.
        path: String,
    },
    /// A text or program of absurd length.
    #[error("`{path}` has more than {limit} bytes; is it the right file?", limit = SMALL_MAX)]
    TooLong {
        /// The file on this machine.
        path: String,
    },
    /// A text that is not UTF-8.
    #[error("`{path}` is not UTF-8 text")]
    NotText {
        /// The file on this machine.
        path: String,
    },
    /// The bootspec is not one.
    #[error("`{path}` is not a bootspec of version 1")]
    Bootspec {
        /// The file on this machine.
        path: String,
        /// What the parser found.
        source: serde_json::Error,
    },
    /// A path in the bootspec is not UTF-8, or a name cannot be used in a boot menu.
    #[error("{toplevel} has an unusable {what}: {value:?}")]
    Unusable {
        /// The system.
        toplevel: String,
        /// What it is.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// There is no kernel version to name.
    #[error("`{path}` holds no directory named after the kernel's version")]
    NoKernelVersion {
        /// The directory on this machine.
        path: String,
    },
    /// Secrets would have to be added by a script of the system.
    #[error(
        "{toplevel} adds secrets to its initrd by a script, which cannot run here; \
         give --ignore-initrd-secrets to leave them out"
    )]
    InitrdSecrets {
        /// The system.
        toplevel: String,
    },
}

/// Reads what the system at `toplevel` says, follows every path in it and checks that the files are there.
pub fn read(
    store: &StoreRoot,
    toplevel: &StorePath,
    secrets: InitrdSecrets,
) -> Result<System, ToplevelError> {
    let reader = Reader { store, toplevel: toplevel.to_string(), secrets };
    let directory = PathBuf::from(toplevel.to_string());
    let document = if reader.exists(&directory, JSON_FILENAME)? {
        reader.parse(&directory)?
    } else {
        reader.synthesize(&directory, Depth::System)?
    };
    let GenerationV1 { bootspec, specialisations } = &document.generation;
    let specialisations = specialisations
        .iter()
        .map(|(SpecialisationName(name), specialisation)| {
            reader.check_specialisation_name(name)?;
            Ok((name.clone(), reader.boot(&specialisation.generation.bootspec, &specialisation.extensions)?))
        })
        .collect::<Result<_, ToplevelError>>()?;
    Ok(System {
        toplevel: toplevel.clone(),
        system: bootspec.system.clone(),
        boot: reader.boot(bootspec, &document.extensions)?,
        specialisations,
    })
}

/// A `boot.json`; a specialisation's has the same form.
type Document = SpecialisationV1;

/// Whether a toplevel may have specialisations of its own; NixOS makes none inside of another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    System,
    Specialisation,
}

/// What systemd-boot's module adds to the document under `org.nixos.systemd-boot`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SystemdBootExtension {
    sort_key: Option<String>,
    devicetree: Option<PathBuf>,
}

struct Reader<'a> {
    store: &'a StoreRoot,
    /// The system, for messages.
    toplevel: String,
    secrets: InitrdSecrets,
}

impl Reader<'_> {
    fn parse(&self, directory: &Path) -> Result<Document, ToplevelError> {
        let Text { path, text } = self.text("bootspec", &directory.join(JSON_FILENAME))?;
        serde_json::from_str(&text).map_err(|source| ToplevelError::Bootspec { path, source })
    }

    /// Makes the document that the files and links of a toplevel imply, as `synthesize` of the bootspec tools does.
    fn synthesize(&self, directory: &Path, depth: Depth) -> Result<Document, ToplevelError> {
        let version = self.text("version", &directory.join("nixos-version"))?.text;
        let system = self.text("system double", &directory.join("system"))?.text;
        let kernel_params = self.text("kernel parameters", &directory.join("kernel-params"))?.text;
        let kernel_version = self.kernel_version(directory)?;
        let path_of = |name: &str| Ok(self.exists(directory, name)?.then(|| directory.join(name)));
        let bootspec = BootSpecV1 {
            label: format!("NixOS {} (Linux {kernel_version})", version.trim_end_matches('\n')),
            kernel: directory.join("kernel"),
            kernel_params: kernel_params.trim_end_matches('\n').split(' ').map(str::to_owned).collect(),
            init: directory.join("init"),
            initrd: path_of("initrd")?,
            initrd_secrets: path_of("append-initrd-secrets")?,
            system: system.trim_end_matches('\n').to_owned(),
            toplevel: SystemConfigurationRoot(directory.to_owned()),
        };
        let specialisations = match depth {
            Depth::System => self.synthesize_specialisations(directory)?,
            Depth::Specialisation => HashMap::new(),
        };
        Ok(Document { generation: GenerationV1 { bootspec, specialisations }, extensions: HashMap::new() })
    }

    fn synthesize_specialisations(
        &self,
        directory: &Path,
    ) -> Result<HashMap<SpecialisationName, Document>, ToplevelError> {
        if !self.exists(directory, "specialisation")? {
            return Ok(HashMap::new());
        }
        let within = directory.join("specialisation");
        let names = self.list("specialisations", &within)?;
        let synthesize = |name: String| {
            let found = self.resolve("specialisation", &within.join(&name))?;
            // The links of its own toplevel, so that `init=` names that one.
            let document = self.synthesize(&found.logical(), Depth::Specialisation)?;
            Ok((SpecialisationName(name), document))
        };
        names.into_iter().map(synthesize).collect()
    }

    /// The name of the directory that holds the kernel's modules.
    fn kernel_version(&self, directory: &Path) -> Result<String, ToplevelError> {
        let modules = directory.join("kernel-modules/lib/modules");
        let names = self.list("kernel modules", &modules)?;
        names.into_iter().next().ok_or_else(|| ToplevelError::NoKernelVersion { path: shown(&modules) })
    }

    /// Checks a description and finds its files.
    fn boot(&self, bootspec: &BootSpecV1, extensions: &Extensions) -> Result<Boot, ToplevelError> {
        self.check_secrets(bootspec)?;
        self.check_text("label", &bootspec.label)?;
        for parameter in &bootspec.kernel_params {
            self.check_text("kernel parameter", parameter)?;
        }
        self.resolve("init program", &bootspec.init)?;
        let init = shown(&bootspec.init);
        if init.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(self.unusable("path of the init program", &init));
        }
        let extension = match extensions.get("org.nixos.systemd-boot") {
            Some(value) => SystemdBootExtension::deserialize(value).map_err(|source| {
                ToplevelError::Bootspec { path: format!("{}/{JSON_FILENAME}", self.toplevel), source }
            })?,
            None => SystemdBootExtension::default(),
        };
        if let Some(sort_key) = &extension.sort_key {
            self.check_text("sort key", sort_key)?;
        }
        let optional =
            |what, path: &Option<PathBuf>| path.as_deref().map(|path| self.boot_file(what, path)).transpose();
        Ok(Boot {
            label: bootspec.label.clone(),
            kernel: self.boot_file("kernel", &bootspec.kernel)?,
            initrd: optional("initrd", &bootspec.initrd)?,
            device_tree: optional("device tree", &extension.devicetree)?,
            init,
            kernel_params: bootspec.kernel_params.clone(),
            sort_key: extension.sort_key,
        })
    }

    fn boot_file(&self, what: &'static str, path: &Path) -> Result<BootFile, ToplevelError> {
        let found = self.resolve(what, path)?;
        let physical = found.physical;
        let io = |source| ToplevelError::Io { path: shown(&physical), source };
        let metadata = physical.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(ToplevelError::NotAFile { what, path: shown(&physical) });
        }
        let inside = found.inner.to_str().ok_or_else(|| self.unusable(what, &shown(path)))?.to_owned();
        let content = Content::File { size: metadata.len(), physical };
        Ok(BootFile { store_path: found.store_path, inside, content })
    }

    /// Every NixOS system with an initrd names a script here; one without secrets ends before it adds any.
    fn check_secrets(&self, bootspec: &BootSpecV1) -> Result<(), ToplevelError> {
        let Some(script) = bootspec.initrd_secrets.as_deref() else { return Ok(()) };
        if self.secrets == InitrdSecrets::LeaveOut || adds_nothing(&self.text("initrd script", script)?.text)
        {
            return Ok(());
        }
        Err(ToplevelError::InitrdSecrets { toplevel: shown(&bootspec.toplevel.0) })
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
        ToplevelError::Unusable { toplevel: self.toplevel.clone(), what, value: value.to_owned() }
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
            Err(source) => Err(ToplevelError::Io { path: shown(&path), source }),
        }
    }

    /// The names in a directory, sorted.
    fn list(&self, what: &'static str, directory: &Path) -> Result<Vec<String>, ToplevelError> {
        let physical = self.resolve(what, directory)?.physical;
        let io = |source| ToplevelError::Io { path: shown(&physical), source };
        let mut names = Vec::new();
        for entry in physical.read_dir().map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            names.push(name.into_string().map_err(|name| self.unusable(what, &name.to_string_lossy()))?);
        }
        names.sort_unstable();
        Ok(names)
    }

    fn text(&self, what: &'static str, path: &Path) -> Result<Text, ToplevelError> {
        let path = self.resolve(what, path)?.physical;
        let bytes = read_small(what, &path)?;
        let path = shown(&path);
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Text { path, text }),
            Err(_) => Err(ToplevelError::NotText { path }),
        }
    }
}

/// A text file's contents and, for messages, where it is.
struct Text {
    path: String,
    text: String,
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
    let io = |source| ToplevelError::Io { path: shown(path), source };
    // Opening a fifo would wait for somebody to write.
    if !path.metadata().map_err(io)?.is_file() {
        return Err(ToplevelError::NotAFile { what, path: shown(path) });
    }
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(SMALL_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
    if length(bytes.len()) > SMALL_MAX {
        return Err(ToplevelError::TooLong { path: shown(path) });
    }
    Ok(bytes)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
