//! The invariants of what reads files by name. An input is a list of changes to such a file, as in `images.rs`; where there
//! are several files to choose from, its first byte does.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use imagegen::container::Format;
use imagegen::container::reader::{Backing, Image, Source, Totals};
use imagegen::image::root_disk;
use imagegen::job::Job;
use imagegen::nix::closure::scan;
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::nix::{Registration, database};
use imagegen::reading::bootable::Bootable;
use imagegen::reading::diff::{Difference, diff};
use imagegen::reading::inspect::inspect;
use serde_json::Value;

use super::images::{Base, Patched, boot_disk, packed_image, qcow2_image, store_image};
use super::invariants::{KERNEL, TOPLEVEL, registration};
use super::seeds;

/// The extents of a qcow2 image make up its whole disk, and reading ends.
pub fn qcow2(bytes: &[u8]) {
    with_file(qcow2_image(), bytes, read_qcow2);
}

/// The same of one whose clusters are compressed.
pub fn qcow2_packed(bytes: &[u8]) {
    with_file(packed_image(), bytes, read_qcow2);
}

fn read_qcow2(path: &Path) {
    let Ok(image) = Image::open(path, Some(Format::Qcow2), &Backing::Near(Vec::new())) else { return };
    for offset in [0, 65_000, 1 << 20, image.size().saturating_sub(4096)] {
        let _ = image.bytes(offset, 4096);
    }
    let layer = &image.layers()[0];
    if let Ok(extents) = layer.allocation() {
        let mut end = 0;
        for extent in &extents {
            assert_eq!(extent.guest.start, end);
            end = extent.guest.end;
        }
        assert_eq!(end, layer.virtual_size());
        let totals = Totals::of(&extents);
        let all = [totals.data_bytes, totals.compressed_bytes, totals.zero_bytes, totals.unallocated_bytes];
        assert_eq!(all.iter().sum::<u64>(), end);
    }
}

/// What is in an image is told in words that command no terminal, however damaged it is.
pub fn inspect_image(bytes: &[u8]) {
    let (base, changes) = chosen(bytes);
    with_file(base, changes, |path| {
        let Ok(image) = Image::open(path, None, &Backing::Near(Vec::new())) else { return };
        let Ok(inspection) = inspect(&image) else { return };
        check_texts(&serde_json::to_value(&inspection).unwrap());
        let Ok(bootable) = Bootable::of(&image) else { return };
        let programs = bootable.efi.iter().flat_map(|program| [Some(&program.path), program.name.as_ref()]);
        for text in programs.flatten().chain(&bootable.problems) {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    });
}

fn check_texts(value: &Value) {
    match value {
        Value::String(text) => assert!(!text.contains(char::is_control), "{text:?}"),
        Value::Array(values) => values.iter().for_each(check_texts),
        Value::Object(fields) => fields.values().for_each(check_texts),
        _ => {}
    }
}

/// Two images differ if and only if a guest can see it, and they differ as much the other way round.
pub fn diff_images(bytes: &[u8]) {
    let (base, changes) = chosen(bytes);
    with_file(base, &[], |original| {
        let original = Image::open(original, None, &Backing::Near(Vec::new())).unwrap();
        with_file(base, changes, |damaged| {
            let Ok(other) = Image::open(damaged, None, &Backing::Near(Vec::new())) else { return };
            let Ok(there) = diff(&original, &other, true) else { return };
            check_differences(&there);
            let back = diff(&other, &original, true).unwrap();
            // In words, where a file lies is told of the first image only.
            let turned = |found: Difference| (found.layer, found.place, found.right, found.left);
            let as_is = |found: Difference| (found.layer, found.place, found.left, found.right);
            let mut back: Vec<_> = back.into_iter().map(turned).collect();
            let mut forth: Vec<_> = there.into_iter().map(as_is).collect();
            back.sort();
            forth.sort();
            assert_eq!(back, forth);
            let same = original.size() == other.size() && contents(&original) == contents(&other);
            assert_eq!(forth.is_empty(), same, "{forth:?}");
            if other.size() == original.size() {
                assert_eq!(diff(&other, &other, false).unwrap(), []);
            }
        });
    });
}

fn check_differences(differences: &[Difference]) {
    for Difference { place, what, left, right, .. } in differences {
        assert_ne!(left, right, "{place}: {what}");
        for text in [place, what, left, right] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
}

fn contents(image: &Image) -> Vec<u8> {
    image.bytes(0, image.size().try_into().unwrap()).unwrap()
}

/// What a database says of a closure prints as a registration, and nothing is left beside the database.
pub fn nix_database(bytes: &[u8]) {
    DATABASE.with(|store| {
        let changed = Patched::new(database_file(), bytes);
        let mut whole = database_file().bytes.clone();
        for (offset, patch) in &changed.patches {
            whole[usize::try_from(*offset).unwrap()..][..patch.len()].copy_from_slice(patch);
        }
        let directory = store.path().join(database::DATABASE_DIRECTORY);
        fs::write(directory.join("db.sqlite"), whole).unwrap();
        let path = StorePath::parse(TOPLEVEL).unwrap();
        if let Ok(closure) = database::closure(store.path(), &[path]) {
            registration(closure.to_string().as_bytes());
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "the database and its schema");
    });
}

thread_local! {
    static DATABASE: tempfile::TempDir = {
        let store = tempfile::tempdir().unwrap();
        let directory = store.path().join(database::DATABASE_DIRECTORY);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("schema"), database::SCHEMA.to_string()).unwrap();
        store
    };
    /// Files for images, with what they are copies of; each is put back as it was after use.
    static FILES: RefCell<Vec<(tempfile::NamedTempFile, &'static Base)>> = const { RefCell::new(Vec::new()) };
}

/// Calls `read` with a file that has the changes.
fn with_file(base: &'static Base, changes: &[u8], read: impl FnOnce(&Path)) {
    let unused = FILES.with(|files| {
        let mut files = files.borrow_mut();
        files.iter().position(|(_, of)| std::ptr::eq(*of, base)).map(|i| files.swap_remove(i).0)
    });
    let file = unused.unwrap_or_else(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &base.bytes).unwrap();
        file
    });
    let patches = Patched::new(base, changes).patches;
    for (offset, patch) in &patches {
        file.as_file().write_all_at(patch, *offset).unwrap();
    }
    read(file.path());
    for (offset, patch) in &patches {
        let at = usize::try_from(*offset).unwrap();
        file.as_file().write_all_at(&base.bytes[at..at + patch.len()], *offset).unwrap();
    }
    FILES.with(|files| files.borrow_mut().push((file, base)));
}

/// The image that the first byte chooses, and the rest.
fn chosen(bytes: &[u8]) -> (&'static Base, &[u8]) {
    let (&first, changes) = bytes.split_first().unwrap_or((&0, &[]));
    let images = [boot_disk, store_image, qcow2_image, variable_store];
    (images[usize::from(first) % images.len()](), changes)
}

/// A firmware's flash with some variables.
fn variable_store() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| Base::new(seeds::of("variable_store").swap_remove(0)))
}

/// The database of two store paths, one of which refers to the other; each refers to itself, too.
fn database_file() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let store = tempfile::tempdir().unwrap();
        for path in [TOPLEVEL, KERNEL] {
            fs::create_dir_all(store.path().join(path.trim_start_matches('/'))).unwrap();
        }
        let record = |path: &str, references: &[&str]| {
            let (hash, count) = ("ab".repeat(32), references.len());
            format!("{path}\n{hash}\n96\n\n{count}\n{}\n", references.join("\n"))
        };
        let text = record(TOPLEVEL, &[TOPLEVEL, KERNEL]) + &record(KERNEL, &[KERNEL]);
        let registration = Registration::parse(Path::new("registration"), text.as_bytes()).unwrap();
        let closure = scan(registration, StoreRoot::new(store.path()), &Job::default()).unwrap();
        Base::new(root_disk::database(&closure.registration).unwrap())
    })
}

/// Changes to begin with, to each of the images.
pub fn seeds_with_choice(changes: &[Vec<u8>]) -> Vec<Vec<u8>> {
    (0..4).flat_map(|image| changes.iter().map(move |change| [&[image], &change[..]].concat())).collect()
}
