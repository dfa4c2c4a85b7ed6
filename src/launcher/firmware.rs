//! The UEFI firmware and the machine's own copy of its variables.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use imagegen::output::OutputFile;

use super::config::Config;
use super::{Environment, absolute};

/// The two flash chips.
#[derive(Debug, Clone)]
pub struct Flash {
    /// The firmware's code.
    pub firmware: PathBuf,
    /// The variables, which the machine writes.
    pub variables: PathBuf,
}

/// Where distributions put the code that goes with variables of a size.
const KNOWN_FIRMWARE: [(u64, &[&str]); 2] = [
    (128 << 10, &["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_CODE.fd"]),
    (528 << 10, &["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/edk2/x64/OVMF_CODE.4m.fd"]),
];

/// Finds the firmware and makes the machine's variables where there are none yet.
pub fn flash(
    config: &Config,
    environment: &Environment,
    beside_disk: Option<&Path>,
) -> anyhow::Result<Flash> {
    let default = PathBuf::from(format!("./{}-efi-vars.fd", config.name));
    let variables = environment.efi_vars.as_ref().or(config.efi_vars.as_ref()).unwrap_or(&default);
    let variables = absolute(variables)?;
    if !variables.exists() {
        let template = config.efi.variables.as_deref().or(beside_disk).context(
            "the machine has no EFI variables yet; name a template to copy with efi.variables (such as \
             /usr/share/OVMF/OVMF_VARS.fd), or efiVars for a file that is there",
        )?;
        copy(template, &variables)
            .with_context(|| format!("cannot copy the EFI variables `{}`", template.display()))?;
    }
    let firmware = match &config.efi.firmware {
        Some(firmware) => absolute(firmware)?,
        None => known_firmware(&variables)?,
    };
    if !firmware.is_file() {
        bail!("efi.firmware: there is no file `{}`", firmware.display());
    }
    Ok(Flash { firmware, variables })
}

fn copy(template: &Path, variables: &Path) -> anyhow::Result<()> {
    let mut source = File::open(template)?;
    let output = OutputFile::create(variables)?;
    io::copy(&mut source, &mut output.file())?;
    output.file().set_permissions(fs::Permissions::from_mode(0o644))?;
    output.finish()?;
    Ok(())
}

/// Code and variables share the flash; a pair of the wrong sizes does not start.
fn known_firmware(variables: &Path) -> anyhow::Result<PathBuf> {
    let size =
        fs::metadata(variables).with_context(|| format!("cannot read `{}`", variables.display()))?.len();
    let candidates =
        KNOWN_FIRMWARE.iter().find(|(known, _)| *known == size).map_or(&[][..], |(_, paths)| paths);
    let found = candidates.iter().map(Path::new).find(|path| path.is_file());
    found.map(Path::to_owned).with_context(|| {
        format!(
            "there is no known UEFI firmware for variables of {size} bytes (`{}`); install the package ovmf or name \
             the firmware with efi.firmware",
            variables.display()
        )
    })
}
