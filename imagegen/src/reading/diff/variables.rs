//! Two variable stores.

use super::{ABSENT, Differences, Sides, Unreadable, both};
use crate::firmware::efi_vars::{Variable, describe};
use crate::on_disk;
use crate::reading::probe::{flash_image, variable_store};
use crate::text::{shown, shown_utf16};

pub fn compare(found: &mut Differences, sides: Sides<'_>) -> Result<(), Unreadable> {
    let (a, b) = both(flash_image(sides.left), flash_image(sides.right))?;
    let (a, b) = both(variable_store(&a), variable_store(&b))?;
    let place = |variable: &Variable| {
        format!("{} ({})", shown_utf16(variable.name.units().iter().copied()), variable.vendor)
    };
    for one in a.variables() {
        match b.get(&one.name, one.vendor) {
            Some(other) => {
                found.add("efi-variable", &place(one), "attributes", one.attributes, other.attributes);
                found.add("efi-variable", &place(one), "value", value(one), value(other));
            }
            None => found.add("efi-variable", &place(one), "variable", "there", ABSENT),
        }
    }
    for other in b.variables() {
        if a.get(&other.name, other.vendor).is_none() {
            found.add("efi-variable", &place(other), "variable", ABSENT, "there");
        }
    }
    Ok(())
}

/// The meaning, and the bytes, which may differ where the meaning does not.
fn value(variable: &Variable) -> String {
    let bytes = on_disk::bytes(&variable.data);
    describe(variable).map_or(bytes.clone(), |text| format!("{} [{bytes}]", shown(text.as_bytes())))
}
