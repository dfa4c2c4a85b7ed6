//! Adding a boot entry, as an operating system's installer does.

use super::EfiVarsError;
use super::device_path::Node;
use super::load_option::LoadOption;
use super::store::VariableStore;
use super::text::EfiText;
use super::variable::{Attributes, Authentication, GLOBAL_VARIABLE, Variable};
use crate::guid::Guid;

/// Makes `option` the first boot entry, and gives its number.
///
/// An entry for the same file on the same partition, as FAT tells files apart, is written anew in its place; otherwise the
/// entry takes the lowest number that no `Boot####` variable has. Its number goes to the front of `BootOrder`, the others
/// keep their order. This is what `bootctl install` does to a machine's own variables. An error leaves the store
/// as it was.
pub fn install_boot_entry(store: &mut VariableStore<'_>, option: &LoadOption) -> Result<u16, EfiVarsError> {
    let mut changed = store.clone();
    let number = entry_number(store, option).ok_or(EfiVarsError::NoBootNumber)?;
    set_global(&mut changed, &format!("Boot{number:04X}"), option.encode()?)?;

    let order = match store.get(&EfiText::until_nul("BootOrder"), GLOBAL_VARIABLE) {
        Some(order) => boot_numbers(&order.data)?,
        None => Vec::new(),
    };
    let others = order.into_iter().filter(|other| *other != number);
    let order = std::iter::once(number).chain(others).flat_map(u16::to_le_bytes).collect();
    set_global(&mut changed, "BootOrder", order)?;

    *store = changed;
    Ok(number)
}

/// The numbers in a `BootOrder` variable.
pub(super) fn boot_numbers(data: &[u8]) -> Result<Vec<u16>, EfiVarsError> {
    match data.as_chunks::<2>() {
        (numbers, []) => Ok(numbers.iter().copied().map(u16::from_le_bytes).collect()),
        _ => Err(EfiVarsError::BootOrder(data.len())),
    }
}

/// The number of the entry that `option` replaces, or the lowest free one.
fn entry_number(store: &VariableStore<'_>, option: &LoadOption) -> Option<u16> {
    let entries: Vec<(u16, &Variable)> =
        store.variables().iter().filter_map(|variable| Some((boot_number(variable)?, variable))).collect();
    // An entry that cannot be read is another program's, and stays.
    let same = |entry: &Variable| {
        let target = target(option);
        target.is_some() && LoadOption::decode(&entry.data).is_ok_and(|entry| self::target(&entry) == target)
    };
    let replaced = entries.iter().filter(|(_, entry)| same(entry)).map(|(number, _)| *number).min();
    replaced.or_else(|| (0..=u16::MAX).find(|free| entries.iter().all(|(number, _)| number != free)))
}

/// The number in the name of a `Boot####` variable: four digits, capital letters.
fn boot_number(variable: &Variable) -> Option<u16> {
    let digits = String::from_utf16(variable.name.units().strip_prefix(&[0x42, 0x6f, 0x6f, 0x74])?).ok()?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    let well_formed = variable.vendor == GLOBAL_VARIABLE && digits.len() == 4 && digits.bytes().all(is_digit);
    if well_formed { u16::from_str_radix(&digits, 16).ok() } else { None }
}

/// The partition and file that an entry starts, whether or not it also says where the disk is. Case makes no difference
/// to FAT, nor does it to firmware, which writes some paths in capitals; nor do slashes and doubled backslashes.
fn target(option: &LoadOption) -> Option<(Guid, Vec<String>)> {
    let mut nodes = option.file_path_list.first()?.nodes().iter();
    let drive = nodes.find_map(Node::hard_drive)?;
    // A path may be in several nodes, which are one after the other (UEFI 2.10, section 10.3.5.4).
    let mut path = Vec::new();
    for node in nodes {
        // Names with half a surrogate pair are on no FAT file system.
        let text = String::from_utf16(node.file_path()?.units()).ok()?;
        path.extend(text.split(['\\', '/']).filter(|name| !name.is_empty()).map(folded));
    }
    (!path.is_empty()).then_some((drive.guid()?, path))
}

/// A name in capitals, each character by itself, as FAT compares them.
fn folded(name: &str) -> String {
    let capital = |c: char| {
        let mut capitals = c.to_uppercase();
        capitals.next().filter(|_| capitals.len() == 0).unwrap_or(c)
    };
    name.chars().map(capital).collect()
}

fn set_global(store: &mut VariableStore<'_>, name: &str, data: Vec<u8>) -> Result<(), EfiVarsError> {
    store.set(Variable {
        name: EfiText::until_nul(name),
        vendor: GLOBAL_VARIABLE,
        attributes: Attributes::NV_BS_RT,
        data,
        authentication: Authentication::default(),
    })
}
