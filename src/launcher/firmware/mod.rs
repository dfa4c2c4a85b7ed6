//! The UEFI firmware and the machine's own copy of its variables.

mod build;
mod file_names;

use std::fs;
use std::path::{Path, PathBuf};

use imagegen::firmware::efi_vars::{EfiText, GLOBAL_VARIABLE, IMAGE_MAX, LoadOption, VariableStore};
use imagegen::units::ByteCount;

use super::platform::{Firmware, Platform};
use super::search::Search;
use crate::derivation::product::EFI_VARS;
use crate::input;

pub use build::mismatch;

/// The two flash chips.
pub struct EfiFlash {
    /// The firmware's code.
    pub firmware: PathBuf,
    /// The variables, which the machine writes to. A name alone is one in the machine's working directory.
    pub variables: PathBuf,
    /// What the variables are copied from, unless the machine has some already.
    pub template: Option<PathBuf>,
    /// A boot entry to add to that copy.
    pub entry: Option<LoadOption>,
    /// The code runs in system management mode, and nothing else can write to its variables.
    pub smm: bool,
}

/// Finds the firmware and, where the machine has no variables yet, a template for them.
pub fn find(search: &mut Search<'_>, boot_disk: Option<&Path>) -> Option<EfiFlash> {
    if !search.config.boots_by_efi() {
        return None;
    }
    let platform = search.platform;
    let variables = own_variables(search);
    let firmware = search.config.efi.firmware.as_deref().map(|path| search.absolute(path));
    if let Some(firmware) = &firmware
        && let Some(what) = build::not_code(platform, firmware)
    {
        let code = code_for(platform, firmware);
        let remedy = code.map(|code| format!("; the code beside it is `{}`", code.display()));
        search.problems.add("efi.firmware", what + &remedy.unwrap_or_default());
        return None;
    }

    let mut template = None;
    if variables.is_absolute() && variables.exists() {
        search.need_file("efiVars", &variables);
    } else {
        template = find_template(search, boot_disk, firmware.as_deref());
        if template.is_none() {
            let package = platform.hardware().firmware_package;
            if search.config.of_image {
                let what = format!(
                    "there is no UEFI firmware for it on this machine; install the package {package}"
                );
                return search.problems.none("efi.firmware", what);
            }
            let what = format_args!(
                "the machine has no EFI variables yet, and there are none to copy; install the package {package} or name \
                 some"
            );
            search.problems.add("efi.variables", what);
        }
    }
    let source = template.as_deref().unwrap_or(&variables);
    if let Some(what) = build::not_variables(source) {
        search.problems.add(option_of(search, template.as_deref()), what);
        return None;
    }
    let firmware = match firmware {
        Some(firmware) => {
            search.need_file("efi.firmware", &firmware);
            check_pair(search, &firmware, &variables, template.as_deref());
            firmware
        }
        None => known_firmware(search, source).unwrap_or_else(|what| {
            // Missing variables have been reported already.
            if source.exists() {
                search.problems.add("efi.firmware", what);
            }
            PathBuf::new()
        }),
    };
    let smm = platform == Platform::X86_64 && file_names::needs_smm(&firmware);
    Some(EfiFlash { firmware, variables, template, entry: None, smm })
}

/// Where the machine keeps its variables. That of an image alone keeps none, unless the environment names a file.
fn own_variables(search: &mut Search<'_>) -> PathBuf {
    let config = search.config;
    let variables = match search.environment.path("NIX_EFI_VARS") {
        Some(path) => path.to_owned(),
        None if config.of_image => return EFI_VARS.into(),
        None => {
            let by_name = || PathBuf::from(format!("./{}-efi-vars.fd", config.name));
            config.efi_vars.clone().unwrap_or_else(by_name)
        }
    };
    search.real_path("efiVars", &variables)
}

fn find_template(
    search: &mut Search<'_>,
    boot_disk: Option<&Path>,
    firmware: Option<&Path>,
) -> Option<PathBuf> {
    let efi = &search.config.efi;
    let of_config = efi.variables.as_deref().map(|path| search.absolute(path));
    let of_disk = boot_disk.map(|disk| disk.with_file_name(EFI_VARS)).filter(|file| file.is_file());
    if efi.keep_variables == Some(true)
        && let (Some(disk), None) = (boot_disk, &of_disk)
    {
        let what = format!("there is no `{EFI_VARS}` beside the boot disk `{}`", disk.display());
        search.problems.add("efi.keepVariables", what);
    }
    if let Some(path) = &of_config {
        search.need_file("efi.variables", path);
    }
    let kept = match efi.keep_variables {
        Some(true) => of_disk.or(of_config),
        Some(false) => of_config,
        // A template that the config names comes before one that lies beside the disk.
        None => of_config.or(of_disk),
    };
    kept.or_else(|| match firmware {
        Some(firmware) => variables_for(search.platform, firmware),
        None => of_qemu(search)
            .map(|[_, variables]| variables)
            .or_else(|| installed(search.platform).next().map(|known| PathBuf::from(known.variables))),
    })
}

/// The code and variables that came with a QEMU which is not the distribution's, such as Nix's.
fn of_qemu(search: &Search<'_>) -> Option<[PathBuf; 2]> {
    let program = search.qemu?.canonicalize().ok()?;
    let prefix = program.parent()?.parent().filter(|prefix| *prefix != Path::new("/usr"))?;
    // QEMU's own names stand last.
    let known = search.platform.hardware().firmware.last()?;
    let [code, variables] = [known.code, known.variables]
        .map(|path| Some(prefix.join("share/qemu").join(Path::new(path).file_name()?)));
    let pair = [code?, variables?];
    pair.iter().all(|file| file.is_file()).then_some(pair)
}

/// The distributions' pairs of which both files exist.
fn installed(platform: Platform) -> impl Iterator<Item = &'static Firmware> {
    let known = platform.hardware().firmware.iter();
    known.filter(|known| [known.code, known.variables].iter().all(|path| Path::new(path).is_file()))
}

/// The first variables beside a firmware's code that are of the same build.
fn variables_for(platform: Platform, firmware: &Path) -> Option<PathBuf> {
    file_names::variables_beside(firmware)
        .into_iter()
        .find(|path| mismatch(platform, firmware, path).is_none())
}

/// Reports a pair that the config names and that is none: the machine would start, and lose every variable.
fn check_pair(search: &mut Search<'_>, firmware: &Path, variables: &Path, template: Option<&Path>) {
    let platform = search.platform;
    let source = template.unwrap_or(variables);
    // A file that is missing or of another kind has been reported already.
    if !(firmware.is_file() && source.is_file()) {
        return;
    }
    let Some(what) = mismatch(platform, firmware, source) else { return };
    let of_firmware = variables_for(platform, firmware);
    let remedy = match (template, of_firmware) {
        (None, _) if !build::is_store(variables) => {
            "remove it, and the machine begins with empty variables, or name another file as efiVars"
                .to_owned()
        }
        (None, of_firmware) => conversion(variables, of_firmware.as_deref()),
        (Some(_), Some(other)) => {
            let other = other.display();
            format!("the variables that go with it are `{other}`: name them as efi.variables")
        }
        (Some(template), None) => code_for(platform, template).map_or_else(
            || "name two files of one build as efi.firmware and efi.variables".to_owned(),
            |code| format!("the code that goes with them is `{}`: name it as efi.firmware", code.display()),
        ),
    };
    search.problems.add(option_of(search, template), format_args!("{what}; {remedy}"));
}

/// The option for the variables: the machine's own, or their template.
const fn option_of(search: &Search<'_>, template: Option<&Path>) -> &'static str {
    match template {
        None => "efiVars",
        Some(_) if search.config.efi.variables.is_some() => "efi.variables",
        Some(_) => "efi.firmware",
    }
}

/// What to do with a machine's variables when their firmware is gone.
fn conversion(variables: &Path, of_firmware: Option<&Path>) -> String {
    let quoted = |path: &Path| shell_words::quote(&path.display().to_string()).into_owned();
    let name = variables.file_stem().map_or_else(|| "efi-vars".into(), |name| name.to_string_lossy());
    let new = variables.with_file_name(format!("{name}-converted.fd"));
    let template = of_firmware.map_or_else(|| "VARIABLES_OF_THAT_FIRMWARE".to_owned(), quoted);
    format!(
        "`nix-imagegen efi-vars convert {} --template {template} -o {}` makes variables of them for the firmware that is there: \
         name that file as efiVars, or put it in the place of the old one; without the old one, the machine begins with \
         empty variables",
        quoted(variables),
        quoted(&new)
    )
}

/// The first code beside variables that is of the same build.
fn code_for(platform: Platform, variables: &Path) -> Option<PathBuf> {
    file_names::code_beside(variables).into_iter().find(|code| mismatch(platform, code, variables).is_none())
}

/// The firmware that variables belong to: by its name one beside them or beside their template, else by their size one
/// of the distributions'. Variables with keys belong to code that checks signatures.
fn known_firmware(search: &Search<'_>, variables: &Path) -> Result<PathBuf, String> {
    let platform = search.platform;
    let size = length(variables);
    let of_config = search.config.efi.variables.as_deref().map(|path| search.absolute(path));
    let origins = of_config.into_iter().filter(|path| length(path) == size).chain([variables.to_owned()]);
    if let Some(code) = origins.into_iter().find_map(|path| code_for(platform, &path)) {
        return Ok(code);
    }
    let with_keys = platform == Platform::X86_64 && has_keys(variables);
    let fitting = platform.hardware().firmware.iter().filter(|known| known.variables_size == size);
    let codes = fitting.flat_map(|known| {
        let secure = if with_keys { file_names::secure_beside(Path::new(known.code)) } else { Vec::new() };
        secure.into_iter().chain([PathBuf::from(known.code)])
    });
    let found = codes
        .chain(of_qemu(search).map(|[code, _]| code))
        .find(|path| path.is_file() && mismatch(platform, path, variables).is_none());
    found.ok_or_else(|| {
        let package = platform.hardware().firmware_package;
        let shown = variables.display();
        let other = installed(platform).find(|known| known.variables_size != size);
        match other {
            Some(other) if build::is_store(variables) => format!(
                "`{shown}` has {}, and no firmware of that build is on this machine (there is `{}`); {}",
                build::build(platform, size),
                other.code,
                conversion(variables, Some(Path::new(other.variables)))
            ),
            _ => format!(
                "there is no known firmware for variables of {size} bytes (`{shown}`); install the package {package} or \
                 name the firmware"
            ),
        }
    })
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Whether a platform key is enrolled. Firmware checks signatures then.
fn has_keys(variables: &Path) -> bool {
    let Ok(image) = input::read(variables, ByteCount(IMAGE_MAX)) else { return false };
    VariableStore::parse(&image)
        .is_ok_and(|store| store.get(&EfiText::until_nul("PK"), GLOBAL_VARIABLE).is_some())
}
