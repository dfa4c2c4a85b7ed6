//! The UEFI firmware and the machine's own copy of its variables.

use std::fs;
use std::path::{Path, PathBuf};

use super::facts::Search;
use super::platform::Platform;

/// The two flash chips.
#[derive(Debug, Clone)]
pub struct EfiFacts {
    /// The firmware's code.
    pub firmware: PathBuf,
    /// The variables, which the machine writes.
    pub variables: PathBuf,
    /// What new variables are copied from; nothing where the machine has some.
    pub template: Option<PathBuf>,
}

/// The variables beside a finished boot disk, as the module's derivation has them.
const BESIDE_BOOT_DISK: &str = "efi-vars.fd";

/// Finds the firmware and, where the machine has no variables yet, what to copy them from.
pub fn find(search: &mut Search<'_>, platform: Platform, boot_disk: Option<&Path>) -> Option<EfiFacts> {
    if !search.config.boots_by_efi() {
        return None;
    }
    let by_name = PathBuf::from(format!("./{}-efi-vars.fd", search.config.name));
    let of_config = search.config.efi_vars.clone().unwrap_or(by_name);
    let variables = search.environment.path("NIX_EFI_VARS").map_or(of_config, Path::to_owned);
    let variables = search.real_path("efiVars", &variables);
    let firmware = search.config.efi.firmware.as_deref().map(|path| search.absolute(path));

    let template = if variables.exists() {
        None
    } else {
        let template = template(search, platform, boot_disk, firmware.as_deref());
        if template.is_none() {
            let package = platform.firmware_package();
            search.problems.add(
                "efi.variables",
                format_args!(
                    "the machine has no EFI variables yet, and there are none to copy; install the package {package} or \
                     name some"
                ),
            );
        }
        template
    };
    let source = template.as_deref().unwrap_or(&variables);
    let firmware = match firmware {
        Some(firmware) => {
            search.need_file("efi.firmware", &firmware);
            firmware
        }
        None => known_firmware(source, platform).unwrap_or_else(|what| {
            // Without any variables, the missing firmware has been told already.
            if source.exists() {
                search.problems.add("efi.firmware", what);
            }
            PathBuf::new()
        }),
    };
    Some(EfiFacts { firmware, variables, template })
}

fn template(
    search: &mut Search<'_>,
    platform: Platform,
    boot_disk: Option<&Path>,
    firmware: Option<&Path>,
) -> Option<PathBuf> {
    let efi = &search.config.efi;
    let of_config = efi.variables.as_deref().map(|path| search.absolute(path));
    let of_disk = boot_disk.map(|disk| disk.with_file_name(BESIDE_BOOT_DISK)).filter(|file| file.is_file());
    if efi.keep_variables == Some(true)
        && let (Some(disk), None) = (boot_disk, &of_disk)
    {
        let what = format!("there is no `{BESIDE_BOOT_DISK}` beside the boot disk `{}`", disk.display());
        search.problems.add("efi.keepVariables", what);
    }
    if let Some(path) = &of_config {
        search.need_file("efi.variables", path);
    }
    let kept = match efi.keep_variables {
        Some(true) => of_disk.or(of_config),
        Some(false) => of_config,
        // What the config names itself goes before what happens to lie beside the disk.
        None => of_config.or(of_disk),
    };
    kept.or_else(|| match firmware {
        Some(firmware) => beside_firmware(firmware),
        None => {
            platform.firmware().iter().map(|known| PathBuf::from(known.variables)).find(|path| path.is_file())
        }
    })
}

/// `…_VARS.fd` for `…_CODE.fd`, as all distributions name them.
fn beside_firmware(firmware: &Path) -> Option<PathBuf> {
    let name = firmware.file_name()?.to_str()?;
    let variables = name.replace("CODE", "VARS").replace("code", "vars");
    (variables != name).then(|| firmware.with_file_name(variables)).filter(|path| path.is_file())
}

/// Code and variables share the flash; a pair of the wrong sizes does not start.
fn known_firmware(variables: &Path, platform: Platform) -> Result<PathBuf, String> {
    let size = fs::metadata(variables).map_or(0, |metadata| metadata.len());
    let fitting = platform.firmware().iter().filter(|known| known.variables_size == size);
    let found = fitting.map(|known| PathBuf::from(known.code)).find(|path| path.is_file());
    found.ok_or_else(|| {
        format!(
            "there is no known firmware for variables of {size} bytes (`{}`); install the package {} or name the \
             firmware",
            variables.display(),
            platform.firmware_package()
        )
    })
}
