//! Two FAT file systems.

use std::collections::BTreeMap;

use super::{ABSENT, Differences, Unreadable, both, differing};
use crate::container::reader::Source;
use crate::esp::reader::{FileSystem, Found};
use crate::structure::Structure;
use crate::units::index;

pub fn compare(
    found: &mut Differences,
    place: &str,
    left: &dyn Source,
    right: &dyn Source,
) -> Result<(), Unreadable> {
    let (a, b) = both(FileSystem::open(left), FileSystem::open(right))?;
    found.fields("file-system", place, &a.boot_sector().fields(), &b.boot_sector().fields());
    let (one, other) = both(a.list(), b.list())?;
    let label = |label: Option<String>| label.unwrap_or_else(|| ABSENT.to_owned());
    found.add("file-system", place, "label", label(one.label), label(other.label));
    let mut others: BTreeMap<String, Found> =
        other.found.into_iter().map(|found| (found.path.clone(), found)).collect();
    for one in one.found {
        let path = format!("/{}", one.path);
        let Some(other) = others.remove(&one.path) else {
            found.add("entry", &path, "entry", "there", ABSENT);
            continue;
        };
        found.fields("entry", &path, &one.entry.raw.fields(), &other.entry.raw.fields());
        if one.entry.is_directory() || other.entry.is_directory() {
            continue;
        }
        let contents = both(a.contents(&one, u64::MAX), b.contents(&other, u64::MAX))?;
        if let Some(at) = differing(&contents.0, &contents.1) {
            let guest = a.guest_offset(&one, at).map_or(0, |offset| offset.0);
            let what = format!("first differing byte, at {at:#x} (guest offset {guest:#x})");
            let byte = |contents: &[u8]| format!("{:02x}", contents[index(at)]);
            found.add("file", &path, &what, byte(&contents.0), byte(&contents.1));
        }
    }
    for path in others.keys() {
        found.add("entry", &format!("/{path}"), "entry", ABSENT, "there");
    }
    Ok(())
}
