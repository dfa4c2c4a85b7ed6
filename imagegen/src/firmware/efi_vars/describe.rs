//! The values of well-known variables, as people read them.

use super::boot_order::boot_numbers;
use super::device_path::DevicePath;
use super::load_option::LoadOption;
use super::variable::{GLOBAL_VARIABLE, Variable};

/// The value of a variable that the UEFI specification defines (section 3.3), in one line.
///
/// Boot entries become title and path, orders their numbers, console paths their text form. `None` for variables that
/// are not known, and for values that are not what their variable should hold.
pub fn describe(variable: &Variable) -> Option<String> {
    if variable.vendor != GLOBAL_VARIABLE {
        return None;
    }
    let name = variable.name.to_string();
    let data = variable.data.as_slice();
    match name.as_str() {
        "BootOrder" | "DriverOrder" | "SysPrepOrder" => {
            let numbers = boot_numbers(data).ok()?;
            Some(numbers.iter().map(|number| format!("{number:04X}")).collect::<Vec<_>>().join(","))
        }
        "BootNext" | "BootCurrent" => Some(format!("{:04X}", number(data)?)),
        "Timeout" => Some(format!("{} s", number(data)?)),
        "ConIn" | "ConOut" | "ErrOut" | "ConInDev" | "ConOutDev" | "ErrOutDev" => {
            match DevicePath::split_from(data) {
                Ok((path, [])) => Some(path.to_string()),
                _ => None,
            }
        }
        "Lang" | "PlatformLang" => {
            let text = data.split(|byte| *byte == 0).next()?;
            let printable = text.iter().all(u8::is_ascii_graphic);
            printable.then(|| String::from_utf8_lossy(text).into_owned())
        }
        name => {
            let number = ["Boot", "Driver", "SysPrep"].iter().find_map(|kind| name.strip_prefix(kind))?;
            if number.len() != 4 || !number.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            let option = LoadOption::decode(data).ok()?;
            let state = if option.attributes & LoadOption::ACTIVE == 0 { " (inactive)" } else { "" };
            let path = option.file_path_list.first().map(ToString::to_string).unwrap_or_default();
            Some(format!("{}{state}: {path}", option.description))
        }
    }
}

fn number(data: &[u8]) -> Option<u16> {
    data.try_into().ok().map(u16::from_le_bytes)
}
