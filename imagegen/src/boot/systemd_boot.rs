//! systemd-boot: the files that `bootctl install` and NixOS's installer put on the EFI system partition.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use super::toplevel::{self, Boot, BootFile, ToplevelError};
use super::{Generations, Timeout};
use crate::content::{Content, NamedContent};
use crate::fixed;
use crate::store_path::{ResolveError, StorePath, StoreRoot};

/// Where systemd keeps the program, below its store path.
const PROGRAMS: &str = "lib/systemd/boot/efi";
/// NixOS's default for generations whose `boot.json` names no key.
const SORT_KEY: &str = "nixos";

/// How the menu looks and behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long the menu waits.
    pub timeout: Timeout,
    /// Whether kernel parameters may be edited in the menu.
    pub editor: bool,
    /// The resolution of the menu.
    pub console_mode: ConsoleMode,
    /// Parameters that every entry gets after its own.
    pub kernel_params: Vec<String>,
    /// The machine's ID, which some tools look for in entries.
    pub machine_id: Option<String>,
}

impl Default for Settings {
    /// What NixOS's options for systemd-boot are unless they are set.
    fn default() -> Self {
        Self {
            timeout: Timeout::Seconds(5),
            editor: true,
            console_mode: ConsoleMode::Keep,
            kernel_params: Vec::new(),
            machine_id: None,
        }
    }
}

/// The resolution of the menu, in the words of `loader.conf(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleMode {
    /// As the firmware left it.
    Keep,
    /// Chosen by systemd-boot.
    Auto,
    /// The highest that there is.
    Max,
    /// A UEFI text mode.
    Mode(u32),
}

/// A console mode that `loader.conf` does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a console mode: write keep, auto, max or a number")]
pub struct ConsoleModeError(String);

/// The program, for one kind of processor.
#[derive(Debug, Clone)]
pub struct Program {
    store_path: StorePath,
    architecture: Architecture,
    bytes: Arc<[u8]>,
}

/// A processor as UEFI file names know it (UEFI 2.10, section 3.5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `x86_64-linux`.
    X64,
    /// `i686-linux`.
    Ia32,
    /// `aarch64-linux`.
    Aa64,
    /// `riscv64-linux`.
    Riscv64,
}

/// Why systemd-boot cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum SystemdBootError {
    /// No name is known for such a processor.
    #[error("systemd-boot is not installed for `{0}`; known are x86_64, i686, aarch64 and riscv64")]
    Architecture(String),
    /// The store path has no such program.
    #[error("cannot find systemd-boot; give --systemd STORE_PATH, a systemd with `{PROGRAMS}`")]
    Missing {
        /// What stood in the way.
        source: ResolveError,
    },
    /// The program cannot be read.
    #[error(transparent)]
    Read(#[from] ToplevelError),
    /// It has no `MZ` at its beginning.
    #[error("`{path}` is not an EFI program")]
    NotAProgram {
        /// The file on this machine.
        path: String,
    },
    /// It would end the line, and the rest become another option.
    #[error("the kernel parameter {0:?} contains a control character, which a boot entry cannot hold")]
    Parameter(String),
    /// systemd-boot would read it as a pattern.
    #[error("`{0}` cannot be the default: systemd-boot reads `*`, `?`, `[` and `\\` in its name as patterns")]
    DefaultPattern(String),
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
        let architecture = Architecture::of_system(system)?;
        let directory = systemd.map_or_else(|| format!("{toplevel}/systemd"), StorePath::to_string);
        let path = Path::new(&directory).join(PROGRAMS).join(architecture.program());
        let found = store.resolve(&path).map_err(|source| SystemdBootError::Missing { source })?;
        let bytes = toplevel::read_small("systemd-boot program", &found.physical)?;
        if !bytes.starts_with(b"MZ") {
            return Err(SystemdBootError::NotAProgram { path: found.physical.display().to_string() });
        }
        Ok(Self { store_path: found.store_path, architecture, bytes: bytes.into() })
    }

    /// Where in the store it was found.
    pub fn store_path(&self) -> &StorePath {
        &self.store_path
    }

    /// What it runs on.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }
}

/// The files of the EFI system partition. Kernels and initrds that generations share are there once.
pub fn files(
    generations: &Generations,
    program: &Program,
    settings: &Settings,
) -> Result<Vec<NamedContent>, SystemdBootError> {
    if let Some(bad) = settings.kernel_params.iter().find(|p| p.contains(char::is_control)) {
        return Err(SystemdBootError::Parameter(bad.clone()));
    }
    let program_file = |path| NamedContent::new(path, Content::Bytes(program.bytes.clone()));
    let mut files = vec![
        program_file(program.architecture.program_path()),
        program_file(format!("EFI/BOOT/{}", program.architecture.fallback())),
        text_file("loader/loader.conf", loader_conf(generations, settings)?),
        // What says to bootctl and kernel-install that entries are files here, one for each.
        text_file("loader/entries.srel", "type1\n".to_owned()),
    ];
    for entry in entries(generations) {
        files.push(text_file(&format!("loader/entries/{}", entry.file_name()), entry.text(settings)));
        files.extend(
            entry.boot.files().map(|file| NamedContent::new(path_on_esp(file), file.content.clone())),
        );
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();
    Ok(files)
}

fn text_file(path: &str, text: String) -> NamedContent {
    NamedContent::new(path, Content::bytes(text.into_bytes()))
}

/// The menu's settings, as NixOS writes them.
fn loader_conf(generations: &Generations, settings: &Settings) -> Result<String, SystemdBootError> {
    let default = Entry {
        number: generations.default().number,
        specialisation: generations.default_specialisation(),
        boot: &generations.default().system.boot,
    }
    .file_name();
    if default.contains(['*', '?', '[', '\\']) {
        return Err(SystemdBootError::DefaultPattern(default));
    }
    let mut lines = vec![("timeout", settings.timeout.to_string()), ("default", default)];
    if !settings.editor {
        lines.push(("editor", "0".to_owned()));
    }
    lines.push(("console-mode", settings.console_mode.to_string()));
    Ok(lines_of(&lines))
}

/// An entry of the menu.
struct Entry<'a> {
    number: u32,
    specialisation: Option<&'a str>,
    boot: &'a Boot,
}

fn entries(generations: &Generations) -> impl Iterator<Item = Entry<'_>> {
    generations.list().iter().flat_map(|generation| {
        let number = generation.number;
        let system = &generation.system;
        let specialisations = system.specialisations.iter().map(move |(name, boot)| Entry {
            number,
            specialisation: Some(name),
            boot,
        });
        std::iter::once(Entry { number, specialisation: None, boot: &system.boot }).chain(specialisations)
    })
}

impl Entry<'_> {
    fn file_name(&self) -> String {
        let specialisation = self.specialisation.map(|name| format!("-specialisation-{name}"));
        format!("nixos-generation-{}{}.conf", self.number, specialisation.unwrap_or_default())
    }

    /// The entry in the form of the Boot Loader Specification, type 1.
    fn text(&self, settings: &Settings) -> String {
        let boot = self.boot;
        let specialisation = self.specialisation.map(|name| format!(" ({name})"));
        let title = format!("NixOS{}", specialisation.unwrap_or_default());
        let version = format!("Generation {} {}, built on {}", self.number, boot.label, fixed::BUILD_DATE);
        let mut options = format!("init={}", boot.init);
        for parameter in boot.kernel_params.iter().chain(&settings.kernel_params) {
            options.push(' ');
            options.push_str(parameter);
        }
        let path = |file| format!("/{}", path_on_esp(file));
        let mut lines = vec![
            ("title", title),
            ("sort-key", boot.sort_key.clone().unwrap_or_else(|| SORT_KEY.to_owned())),
            ("version", version),
            ("linux", path(&boot.kernel)),
        ];
        lines.extend(boot.initrd.as_ref().map(|initrd| ("initrd", path(initrd))));
        lines.push(("options", options));
        lines.extend(settings.machine_id.clone().map(|id| ("machine-id", id)));
        lines.extend(boot.device_tree.as_ref().map(|tree| ("devicetree", path(tree))));
        lines_of(&lines)
    }
}

/// Keys and values, a line each; both files of systemd-boot have this form.
fn lines_of(lines: &[(&str, String)]) -> String {
    lines.iter().flat_map(|(key, value)| [*key, " ", value, "\n"]).collect()
}

/// Where NixOS puts a file of the store.
fn path_on_esp(file: &BootFile) -> String {
    format!("EFI/nixos/{}.efi", file.copy_name())
}

impl fmt::Display for ConsoleMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep"),
            Self::Auto => f.write_str("auto"),
            Self::Max => f.write_str("max"),
            Self::Mode(mode) => write!(f, "{mode}"),
        }
    }
}

impl FromStr for ConsoleMode {
    type Err = ConsoleModeError;

    fn from_str(text: &str) -> Result<Self, ConsoleModeError> {
        match text {
            "keep" => Ok(Self::Keep),
            "auto" => Ok(Self::Auto),
            "max" => Ok(Self::Max),
            number => number.parse().map(Self::Mode).map_err(|_| ConsoleModeError(text.to_owned())),
        }
    }
}

impl Architecture {
    fn of_system(system: &str) -> Result<Self, SystemdBootError> {
        match system {
            "x86_64-linux" => Ok(Self::X64),
            "i686-linux" => Ok(Self::Ia32),
            "aarch64-linux" => Ok(Self::Aa64),
            "riscv64-linux" => Ok(Self::Riscv64),
            other => Err(SystemdBootError::Architecture(other.to_owned())),
        }
    }

    /// Where the program lies on the EFI system partition; the entry in the firmware's variables names it.
    pub fn program_path(self) -> String {
        format!("EFI/systemd/{}", self.program())
    }

    /// systemd's name of the program.
    const fn program(self) -> &'static str {
        match self {
            Self::X64 => "systemd-bootx64.efi",
            Self::Ia32 => "systemd-bootia32.efi",
            Self::Aa64 => "systemd-bootaa64.efi",
            Self::Riscv64 => "systemd-bootriscv64.efi",
        }
    }

    /// What firmware starts from a disk of which it knows nothing.
    const fn fallback(self) -> &'static str {
        match self {
            Self::X64 => "BOOTX64.EFI",
            Self::Ia32 => "BOOTIA32.EFI",
            Self::Aa64 => "BOOTAA64.EFI",
            Self::Riscv64 => "BOOTRISCV64.EFI",
        }
    }
}
