//! systemd-boot: the files that `bootctl install` and NixOS's installer put on the EFI system partition.

mod entry;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::toplevel::{self, Boot, ToplevelError};
use super::{Architecture, Generations, Menu, efi_program};
use crate::error_kind::ErrorKind;
use crate::fs::file_source::{FileSource, NamedFile};
use crate::nix::store_path::{ResolveError, StorePath, StoreRoot};
use crate::units::length;
use entry::{Entry, file_name, initrd_path, path_on_esp};

/// Where systemd keeps the program, below its store path.
const PROGRAMS: &str = "lib/systemd/boot/efi";

/// The program, for one kind of processor.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where in the store it was found.
    pub(super) store_path: StorePath,
    /// What it runs on.
    pub(super) architecture: Architecture,
    bytes: Arc<[u8]>,
}

/// Why systemd-boot cannot be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum SystemdBootError {
    /// No name is known for such a processor.
    #[error("systemd-boot is not installed for `{0}`; known are x86_64, i686, aarch64 and riscv64")]
    Architecture(String),
    /// The store path has no such program.
    #[error("cannot find systemd-boot in a systemd with `{PROGRAMS}`")]
    Missing { source: ResolveError },
    /// The program cannot be read.
    #[error(transparent)]
    Read(#[from] ToplevelError),
    /// The firmware would not start a program or kernel, or an entry cannot hold a parameter.
    #[error("{0}")]
    Invalid(String),
    /// More parameters than a kernel takes.
    #[error("{0}")]
    CommandLineTooLong(String),
}

impl SystemdBootError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Architecture(_) => ErrorKind::Unsupported,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Read(error) => error.kind(),
            Self::CommandLineTooLong(_) => ErrorKind::TooLarge,
            Self::Invalid(_) => ErrorKind::InvalidInput,
        }
    }
}

impl Program {
    /// Reads the program for a system double such as `x86_64-linux` from a systemd, or from that which a toplevel
    /// links to.
    pub fn read(
        store: &StoreRoot,
        system: &str,
        systemd: Option<&StorePath>,
        toplevel: &StorePath,
    ) -> Result<Self, SystemdBootError> {
        let architecture = Architecture::of_system(system)
            .ok_or_else(|| SystemdBootError::Architecture(system.to_owned()))?;
        let directory = systemd.map_or_else(|| format!("{toplevel}/systemd"), StorePath::to_string);
        let path = Path::new(&directory).join(PROGRAMS).join(architecture.program());
        let found = store.resolve(&path).map_err(|source| SystemdBootError::Missing { source })?;
        let bytes = toplevel::read_small("systemd-boot program", &found.physical)?;
        efi_program::check(&bytes, length(bytes.len()), architecture).map_err(|problem| {
            let path = found.physical.display();
            SystemdBootError::Invalid(format!("`{path}` is not an EFI program: {problem}"))
        })?;
        Ok(Self { store_path: found.store_path, architecture, bytes: bytes.into() })
    }
}

/// The files of the EFI system partition. Kernels and initrds that generations share are there once.
pub fn files(
    generations: &Generations,
    program: &Program,
    menu: &Menu,
) -> Result<Vec<NamedFile>, SystemdBootError> {
    if let Some(bad) = menu.kernel_params.iter().find(|p| p.contains(char::is_control)) {
        return Err(SystemdBootError::Invalid(format!(
            "the kernel parameter {bad:?} contains a control character, which a boot entry cannot hold"
        )));
    }
    let program_file = |path| NamedFile::new(path, FileSource::Bytes(program.bytes.clone()));
    let mut files = vec![
        program_file(program.architecture.program_path()),
        program_file(program.architecture.fallback_path()),
        // What says to bootctl and kernel-install that entries are files here, one for each.
        text_file("loader/entries.srel", "type1\n".to_owned()),
    ];
    let mut kernels = BTreeSet::new();
    let mut default = String::new();
    // The system that boots by default: its installer writes all entries.
    let distribution = generations.distribution();
    for generation in generations.list() {
        for (specialisation, boot) in generation.system.variants() {
            if kernels.insert(boot.kernel.logical()) {
                check_kernel(boot, program.architecture)?;
            }
            let variant = specialisation.map(|name| format!(" ({name})")).unwrap_or_default();
            let title = format!("{distribution}{variant}");
            let text = Entry { title, generation, boot }.text(menu)?;
            let name = file_name(&text);
            files.push(text_file(&format!("loader/entries/{name}"), text));
            files.extend(boot_files(boot));
            if generation.number == generations.default().number
                && specialisation == generations.default_specialisation()
            {
                default = name;
            }
        }
    }
    files.push(text_file("loader/loader.conf", loader_conf(default, menu)));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();
    Ok(files)
}

fn check_kernel(boot: &Boot, architecture: Architecture) -> Result<(), SystemdBootError> {
    let kernel = &boot.kernel;
    let head = kernel.head(efi_program::HEAD)?;
    efi_program::check(&head, kernel.content.size(), architecture).map_err(|problem| {
        let such_as = match architecture {
            Architecture::X64 | Architecture::Ia32 => "a bzImage",
            Architecture::Aa64 | Architecture::Riscv64 => "an Image that is not compressed",
        };
        SystemdBootError::Invalid(format!(
            "the kernel `{}` cannot be started by systemd-boot: {problem}; name a kernel with EFI stub, such as {such_as}",
            kernel.logical()
        ))
    })
}

/// What the entry of a system names.
fn boot_files(boot: &Boot) -> impl Iterator<Item = NamedFile> {
    let initrd = boot.initrd.iter().map(|initrd| (initrd_path(boot, initrd), initrd));
    let others = std::iter::once(&boot.kernel).chain(&boot.device_tree);
    others
        .map(|file| (path_on_esp(file), file))
        .chain(initrd)
        .map(|(path, file)| NamedFile::new(path, file.content.clone()))
}

fn text_file(path: &str, text: String) -> NamedFile {
    NamedFile::new(path, FileSource::bytes(text.into_bytes()))
}

/// The menu's settings, as NixOS writes them.
fn loader_conf(default: String, menu: &Menu) -> String {
    let mut lines = vec![("timeout", menu.timeout.to_string()), ("default", default)];
    if !menu.editor {
        lines.push(("editor", "0".to_owned()));
    }
    lines.push(("console-mode", menu.console_mode.to_string()));
    lines.iter().flat_map(|(key, value)| [*key, " ", value, "\n"]).collect()
}
