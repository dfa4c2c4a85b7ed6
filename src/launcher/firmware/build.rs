//! Whether code and variables are of one build of the firmware.

use std::fs::File;
use std::path::Path;

use imagegen::container::{Format, detect_format};
use imagegen::firmware::efi_vars::Flash;

use crate::launcher::platform::Platform;

/// QEMU's `virt` board has two banks of flash of this size, and takes no image of another size.
const ARM_BANK: u64 = 64 << 20;
/// Code and variables of a PC fill flash of one of these sizes: those that edk2's OVMF is built for.
const PC_FLASH: std::ops::RangeInclusive<u64> = (1 << 20)..=(16 << 20);

/// Why the two files are no pair. Files of which neither begins as an edk2 firmware does are not judged.
pub fn mismatch(platform: Platform, code: &Path, variables: &Path) -> Option<String> {
    let [(code_kind, code_size), (variables_kind, variables_size)] =
        [code, variables].map(|path| look(path).unwrap_or((Flash::Unknown, 0)));
    let [code, variables] = [code, variables].map(Path::display);
    match (code_kind, variables_kind) {
        (Flash::Variables, _) => return Some(format!("`{code}` holds a firmware's variables, not its code")),
        (Flash::Both, _) => {
            return Some(format!(
                "`{code}` holds a firmware and its variables in one, and would never use `{variables}`; name the file of the \
                 code alone, such as OVMF_CODE_4M.fd"
            ));
        }
        (_, Flash::Code | Flash::Both) => {
            return Some(format!("`{variables}` holds a firmware's code, not variables for `{code}`"));
        }
        (Flash::Unknown, Flash::Unknown) => return None,
        _ => {}
    }
    let fit = match platform {
        Platform::X86_64 => {
            let flash = code_size.saturating_add(variables_size);
            flash.is_power_of_two() && PC_FLASH.contains(&flash)
        }
        Platform::Aarch64 => code_size == ARM_BANK && variables_size == ARM_BANK,
    };
    (!fit).then(|| {
        if variables_kind == Flash::Unknown {
            return format!("`{variables}` ({variables_size} bytes) holds no variables of a firmware, as `{code}` needs them");
        }
        let [code_build, variables_build] = [code_size, variables_size].map(|size| build(platform, size));
        format!(
            "`{code}` ({code_build}) and `{variables}` ({variables_build}) are of different builds of the firmware, which \
             would lose every variable"
        )
    })
}

/// Why a file cannot be the code of a machine's firmware, whatever the variables are.
pub fn not_code(platform: Platform, path: &Path) -> Option<String> {
    let (kind, size) = look(path).ok()?;
    let shown = path.display();
    match (kind, platform) {
        (Flash::Variables, _) => Some(format!("`{shown}` holds a firmware's variables, not its code")),
        (_, Platform::X86_64) if size == ARM_BANK => {
            Some(format!("`{shown}` is {}, and the machine is a PC", build(platform, size)))
        }
        _ => not_raw(path),
    }
}

/// Why a file cannot be the variables of any firmware.
pub fn not_variables(path: &Path) -> Option<String> {
    match look(path).ok()? {
        (Flash::Code | Flash::Both, _) => {
            Some(format!("`{}` holds a firmware's code, not variables", path.display()))
        }
        _ => not_raw(path),
    }
}

/// Why a file is not raw, as flash has to be. Fedora has its firmware as qcow2 images too.
fn not_raw(path: &Path) -> Option<String> {
    let is_qcow2 = path.is_file() && detect_format(&File::open(path).ok()?).ok()? == Format::Qcow2;
    is_qcow2.then(|| {
        format!(
            "`{}` is a qcow2 image, and flash is read as raw; make a raw one of it with `qemu-img convert -O raw`",
            path.display()
        )
    })
}

/// Whether a file is a store of variables.
pub fn is_store(path: &Path) -> bool {
    look(path).is_ok_and(|(kind, _)| kind == Flash::Variables)
}

/// An image's kind, and its length in bytes.
fn look(path: &Path) -> std::io::Result<(Flash, u64)> {
    let metadata = path.metadata()?;
    // Opening a pipe would wait for its other end.
    let kind = if metadata.is_file() { Flash::of(&File::open(path)?)? } else { Flash::Unknown };
    Ok((kind, metadata.len()))
}

/// Describes files of this size.
pub fn build(platform: Platform, size: u64) -> String {
    let known = match (platform, size) {
        (_, 1_966_080) => "code of OVMF's 2 MiB build, ",
        (_, 3_653_632) => "code of OVMF's 4 MiB build, ",
        (_, 131_072) => "variables of OVMF's 2 MiB build, ",
        (_, 540_672) => "variables of OVMF's 4 MiB build, ",
        (Platform::X86_64, ARM_BANK) => "for ARM's `virt` board, ",
        _ => "",
    };
    format!("{known}{size} bytes")
}
