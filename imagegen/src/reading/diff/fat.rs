//! Two FAT file systems.

use std::collections::{BTreeMap, VecDeque};

use super::{ABSENT, Differences, PIECE, Unreadable, both, differing};
use crate::container::reader::Source;
use crate::fs::fat::reader::{File, FileSystem, Found};
use crate::on_disk::Structure;
use crate::units::index;

const TOO_MANY: &str = "the files have more clusters together than the file system";

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
    let clusters = u64::from(a.boot_sector().clusters).max(b.boot_sector().clusters.into());
    let mut compared_clusters = 0;
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
        let compared = both(a.file(&one), b.file(&other)).and_then(|(left, right)| {
            compared_clusters += left.clusters().max(right.clusters());
            if compared_clusters > clusters {
                // They have clusters in common, and so few could claim to be of any size together.
                return Err(Unreadable { left: TOO_MANY.to_owned(), right: TOO_MANY.to_owned() });
            }
            first_difference(&left, &right)
        });
        match compared {
            Ok(None) => {}
            Ok(Some((at, left, right))) => {
                let guest = a.guest_offset(&one, at).map_or(0, |offset| offset.0);
                let what = format!("first differing byte, at {at:#x} (guest offset {guest:#x})");
                found.add("file", &path, &what, format!("{left:02x}"), format!("{right:02x}"));
            }
            Err(problem) => found.unreadable("file", &path, problem),
        }
    }
    for other in others.values().flatten() {
        found.add("entry", &format!("/{}", other.path), "entry", ABSENT, "there");
    }
    Ok(())
}

/// The first byte in which two files, as far as both go, differ.
fn first_difference(a: &File<'_>, b: &File<'_>) -> Result<Option<(u64, u8, u8)>, Unreadable> {
    let size = a.size().min(b.size());
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut offset = 0;
    loop {
        let (one, other) = both(a.data_from(offset), b.data_from(offset))?;
        // Both have zeros before.
        offset = one.min(other);
        if offset >= size {
            return Ok(None);
        }
        let count = PIECE.min(size - offset);
        left.resize(index(count), 0);
        right.resize(index(count), 0);
        both(a.read_at(&mut left, offset), b.read_at(&mut right, offset))?;
        if let Some(i) = differing(&left, &right) {
            return Ok(Some((offset + i, left[index(i)], right[index(i)])));
        }
        offset += count;
    }
}
