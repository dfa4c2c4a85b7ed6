//! Two FAT file systems.

use std::collections::{BTreeMap, VecDeque};

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
    // A damaged directory may have a name twice.
    let mut others: BTreeMap<String, VecDeque<Found>> = BTreeMap::new();
    for other in other.found {
        others.entry(other.path.clone()).or_default().push_back(other);
    }
    for one in one.found {
        let path = format!("/{}", one.path);
        let Some(other) = others.get_mut(&one.path).and_then(VecDeque::pop_front) else {
            found.add("entry", &path, "entry", "there", ABSENT);
            continue;
        };
        found.fields("entry", &path, &one.entry.raw.fields(), &other.entry.raw.fields());
        if one.entry.is_directory() || other.entry.is_directory() {
            continue;
        }
        let contents = match both(a.contents(&one, u64::MAX), b.contents(&other, u64::MAX)) {
            Ok(contents) => contents,
            Err(problem) => {
                found.unreadable("file", &path, problem);
                continue;
            }
        };
        if let Some(at) = differing(&contents.0, &contents.1) {
            let guest = a.guest_offset(&one, at).map_or(0, |offset| offset.0);
            let what = format!("first differing byte, at {at:#x} (guest offset {guest:#x})");
            let byte = |contents: &[u8]| format!("{:02x}", contents[index(at)]);
            found.add("file", &path, &what, byte(&contents.0), byte(&contents.1));
        }
    }
    for other in others.values().flatten() {
        found.add("entry", &format!("/{}", other.path), "entry", ABSENT, "there");
    }
    Ok(())
}
