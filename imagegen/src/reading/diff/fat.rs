//! Two FAT file systems.

use std::collections::{BTreeMap, VecDeque};

use super::{ABSENT, Differences, Sides, Unreadable, both, files};
use crate::container::reader::{ReadError, Source};
use crate::fs::fat::reader::{BootSector, FileSystem, Found};
use crate::on_disk::Structure;

const TOO_MANY: &str = "the files have more clusters together than the file system";

pub fn compare(found: &mut Differences, place: &str, sides: Sides<'_>) -> Result<(), Unreadable> {
    let (a, b) = both(FileSystem::open(sides.left), FileSystem::open(sides.right))?;
    found.fields("file-system", place, &a.boot_sector().fields(), &b.boot_sector().fields());
    let (one, other) = both(a.list(), b.list())?;
    let label = |label: Option<String>| label.unwrap_or_else(|| ABSENT.to_owned());
    found.add("file-system", place, "label", label(one.label), label(other.label));
    let room = |boot: &BootSector| u64::from(boot.clusters) * boot.cluster_size;
    let bytes = room(a.boot_sector()).max(room(b.boot_sector()));
    let mut compared_bytes = 0;
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
            compared_bytes += left.size().max(right.size());
            if compared_bytes > bytes {
                // They have clusters in common, and so few could claim to be of any size together.
                let problem = || Err::<(), _>(ReadError::damaged(TOO_MANY));
                both(problem(), problem())?;
            }
            files(found, &path, Sides { left: &left, right: &right })
        });
        if let Err(problem) = compared {
            found.unreadable("file", &path, problem);
        }
    }
    for other in others.values().flatten() {
        found.add("entry", &format!("/{}", other.path), "entry", ABSENT, "there");
    }
    Ok(())
}
