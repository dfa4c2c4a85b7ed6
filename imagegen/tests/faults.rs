//! What goes wrong while an image is written: a sink that fails at each of its calls, and sources that change between
//! the scan and the copy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use imagegen::boot::Loaders;
use imagegen::container::Sink;
use imagegen::fixed;
use imagegen::fs::ext4;
use imagegen::fs::file_source::{FileSource, NamedFile};
use imagegen::image::boot_disk;
use imagegen::image::root_disk::{self, PartitionTable, RootDisk};
use imagegen::image::store_image;
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::nix::closure::{self, Closure};
use imagegen::nix::store_path::StoreRoot;
use imagegen::progress::Progress;
use imagegen::units::{ByteCount, GuestOffset, GuestRange};

/// Fails at its call number `at`, counted from 0, and counts.
struct FaultySink {
    at: usize,
    kind: io::ErrorKind,
    calls: AtomicUsize,
}

impl FaultySink {
    fn new(at: usize, kind: io::ErrorKind) -> Self {
        Self { at, kind, calls: AtomicUsize::new(0) }
    }
}

impl Sink for FaultySink {
    fn data(&self, _offset: GuestOffset, _bytes: &[u8]) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call == self.at { Err(self.kind.into()) } else { Ok(()) }
    }
}

/// Does something when a phase begins, or when the first bytes of one are done.
struct Meanwhile<F> {
    phase: &'static str,
    action: F,
    done: AtomicUsize,
}

impl<F: Fn() + Sync> Progress for Meanwhile<F> {
    fn begin(&self, phase: &'static str, _total: u64) {
        if phase == self.phase && self.done.fetch_add(1, Ordering::Relaxed) == 0 {
            (self.action)();
        }
    }
    fn advance(&self, _amount: u64) {}
    fn end(&self) {}
}

/// A store with one path, which holds a file of 5000 bytes in a directory, an empty one and one of many blocks.
struct Source {
    root: tempfile::TempDir,
}

const NAME: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-source";

impl Source {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let source = Self { root };
        fs::create_dir_all(source.at("directory")).unwrap();
        fs::write(source.at("directory/file"), [7; 5000]).unwrap();
        fs::write(source.at("empty"), "").unwrap();
        fs::write(source.at("large"), vec![1; 2 << 20]).unwrap();
        source
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join("nix/store").join(NAME).join(name)
    }

    fn scan(&self) -> Closure {
        let text = format!("/nix/store/{NAME}\n\n0\n\n0\n");
        let registration = Registration::parse(Path::new("registration"), text.as_bytes()).unwrap();
        closure::scan(registration, StoreRoot::new(self.root.path()), &Job::default()).unwrap()
    }
}

fn options() -> ext4::Options {
    ext4::Options::new(fixed::STORE_IMAGE_LABEL, fixed::STORE_IMAGE_UUID)
}

/// An error with all its causes, as the program shows it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

const KINDS: [io::ErrorKind; 3] =
    [io::ErrorKind::StorageFull, io::ErrorKind::Interrupted, io::ErrorKind::PermissionDenied];

#[test]
fn every_failed_write_of_a_store_image_is_reported() {
    let source = Source::new();
    let closure = source.scan();
    let plan = store_image::plan(&closure, &options(), &Job::default()).unwrap();
    let sink = FaultySink::new(usize::MAX, KINDS[0]);
    plan.write(&sink, &Job::default()).unwrap();
    let calls = sink.calls.into_inner();
    assert!(calls > 3, "{calls}");
    for kind in KINDS {
        for at in 0..calls {
            let error = plan.write(&FaultySink::new(at, kind), &Job::default()).unwrap_err();
            let text = chain(&error);
            assert!(text.contains("cannot write") && text.ends_with(&kind.to_string()), "{at}: {text}");
        }
    }
}

#[test]
fn every_failed_write_of_a_boot_disk_is_reported() {
    let source = Source::new();
    let plan = boot_disk::plan(ByteCount(12 << 20), &loaders(&source), None).unwrap();
    let sink = FaultySink::new(usize::MAX, KINDS[0]);
    plan.write(&sink, &Job::default()).unwrap();
    let calls = sink.calls.into_inner();
    assert!(calls > 5, "{calls}");
    for kind in KINDS {
        for at in 0..calls {
            let error = plan.write(&FaultySink::new(at, kind), &Job::default()).unwrap_err();
            let text = chain(&error);
            assert!(text.contains("cannot write the") && text.ends_with(&kind.to_string()), "{at}: {text}");
        }
    }
}

/// A disk that has everything, with the store or without it.
fn root_disk<'c>(
    closure: &'c Closure,
    source: &Source,
    table: PartitionTable,
    with_store: bool,
) -> RootDisk<'c> {
    let mut disk = root_disk::Options::new(ext4::Options { journal: true, ..options() });
    disk.with_store = with_store;
    disk.table = table;
    disk.loaders = loaders(source);
    RootDisk::new(closure, disk).unwrap()
}

/// The source's closure with the hashes that a database must have.
fn hashed(source: &Source) -> Closure {
    let mut closure = source.scan();
    closure::fill_in_hashes(&mut closure, &Job::default()).unwrap();
    closure
}

#[test]
fn every_failed_write_of_a_root_disk_is_reported() {
    let source = Source::new();
    let closure = hashed(&source);
    let table = PartitionTable::Efi { boot_end: ByteCount(20 << 20) };
    let disk = root_disk(&closure, &source, table, true);
    let plan = disk.plan(&Job::default()).unwrap();
    let sink = FaultySink::new(usize::MAX, KINDS[0]);
    plan.write(&sink, &Job::default()).unwrap();
    let calls = sink.calls.into_inner();
    assert!(calls > 12, "{calls}");
    for kind in KINDS {
        for at in 0..calls {
            let error = plan.write(&FaultySink::new(at, kind), &Job::default()).unwrap_err();
            let text = chain(&error);
            assert!(text.contains("cannot write") && text.ends_with(&kind.to_string()), "{at}: {text}");
        }
    }
}

/// Remembers the ranges that are written.
#[derive(Default)]
struct Ranges(Mutex<Vec<GuestRange>>);

impl Sink for Ranges {
    fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        let end = offset.advanced(bytes.len().try_into().unwrap());
        self.0.lock().unwrap().push(offset..end);
        Ok(())
    }
}

#[test]
fn a_root_disk_is_written_within_what_its_plan_allocates_and_its_size() {
    let source = Source::new();
    let closure = hashed(&source);
    let boot_end = ByteCount(20 << 20);
    let tables = [
        PartitionTable::None,
        PartitionTable::Legacy,
        PartitionTable::Efi { boot_end },
        PartitionTable::Hybrid { boot_end },
    ];
    for table in tables {
        let disk = root_disk(&closure, &source, table, true);
        let plan = disk.plan(&Job::default()).unwrap();
        let allocated = plan.allocated();
        assert!(allocated.iter().zip(&allocated[1..]).all(|(a, b)| a.end <= b.start), "{table:?}");
        assert!(allocated.last().unwrap().end.0 <= plan.size().0, "{table:?}");
        let sink = Ranges::default();
        plan.write(&sink, &Job::default()).unwrap();
        let mut written = sink.0.into_inner().unwrap();
        written.sort_by_key(|range| range.start);
        assert!(written.iter().zip(&written[1..]).all(|(a, b)| a.end <= b.start), "{table:?}");
        for range in written {
            let holds = |found: &&GuestRange| found.start <= range.start && range.end <= found.end;
            assert!(allocated.iter().any(|found| holds(&found)), "{table:?}: {range:?}");
        }
    }
}

#[test]
fn a_boot_file_that_changes_before_it_is_copied_to_a_root_disk_is_named() {
    for (what, change, message) in CHANGES {
        let source = Source::new();
        let closure = hashed(&source);
        let disk = root_disk(&closure, &source, PartitionTable::Legacy, false);
        let plan = disk.plan(&Job::default()).unwrap();
        change(&source);
        let error = plan.write(&FaultySink::new(usize::MAX, KINDS[0]), &Job::default()).unwrap_err();
        let text = chain(&error);
        // In ext4's words, where FAT and the store have others.
        let is_told = text.contains(message) || text.contains("was planned with 5000 bytes");
        assert!(text.contains("directory/file") && is_told, "{what}: {text}");
    }
}

fn loaders(source: &Source) -> Loaders {
    let content = FileSource::File { physical: source.at("directory/file"), size: 5000 };
    let empty = FileSource::File { physical: source.at("empty"), size: 0 };
    let files = vec![
        NamedFile::new("loader/loader.conf", FileSource::bytes(*b"timeout 5\n")),
        NamedFile::new("EFI/nixos/kernel.efi", content),
        NamedFile::new("EFI/nixos/empty.efi", empty),
    ];
    let mut loaders = Loaders::default();
    loaders.add_files(files);
    loaders
}

/// What may happen to a file, and what an error says of it.
type Change = (&'static str, fn(&Source), &'static str);

const CHANGES: [Change; 8] = [
    (
        "grows",
        |source| fs::write(source.at("directory/file"), [7; 5001]).unwrap(),
        "changed while it was read",
    ),
    ("grows much", |source| fs::write(source.at("directory/file"), [7; 1 << 20]).unwrap(), "changed while"),
    (
        "shrinks",
        |source| fs::write(source.at("directory/file"), [7; 4999]).unwrap(),
        "changed while it was read",
    ),
    ("is emptied", |source| fs::write(source.at("directory/file"), "").unwrap(), "changed while it was read"),
    ("vanishes", |source| fs::remove_file(source.at("directory/file")).unwrap(), "No such file"),
    (
        "vanishes with its directory",
        |source| fs::remove_dir_all(source.at("directory")).unwrap(),
        "No such file",
    ),
    ("becomes a link", become_a_link, "symbolic link"),
    ("becomes a directory", become_a_directory, "directory"),
];

fn become_a_link(source: &Source) {
    // To a file of the same size and contents: it would not be noticed by its bytes.
    fs::rename(source.at("directory/file"), source.at("directory/other")).unwrap();
    symlink("other", source.at("directory/file")).unwrap();
}

fn become_a_directory(source: &Source) {
    fs::remove_file(source.at("directory/file")).unwrap();
    fs::create_dir(source.at("directory/file")).unwrap();
}

#[test]
fn a_source_that_changes_before_it_is_copied_is_named() {
    for (what, change, expected) in CHANGES {
        let source = Source::new();
        let closure = source.scan();
        let plan = store_image::plan(&closure, &options(), &Job::default()).unwrap();
        let meanwhile = Meanwhile { phase: "write", action: || change(&source), done: AtomicUsize::new(0) };
        let sink = FaultySink::new(usize::MAX, KINDS[0]);
        let text = chain(&plan.write(&sink, &Job::default().progress(&meanwhile)).unwrap_err());
        assert_eq!(meanwhile.done.into_inner(), 1);
        assert!(text.contains("directory/file") && text.contains(expected), "{what}: {text}");
    }
}

#[test]
fn equal_files_that_change_after_they_were_compared_are_named() {
    let twins = || {
        let source = Source::new();
        fs::write(source.at("twin"), [7; 5000]).unwrap();
        source
    };
    let sink = FaultySink::new(usize::MAX, KINDS[0]);
    // What stands for both, whether or not the path has a hash.
    let other_contents: Change = (
        "has other contents",
        |source| fs::write(source.at("directory/file"), [8; 5000]).unwrap(),
        "changed while it was read",
    );
    for (what, change, expected) in CHANGES.into_iter().chain([other_contents]) {
        let source = twins();
        let mut closure = source.scan();
        closure::optimise(&mut closure, 65_000, &Job::default()).unwrap();
        change(&source);
        let plan = store_image::plan(&closure, &options(), &Job::default()).unwrap();
        assert_eq!(plan.saved_by_links().linked_files, 1);
        let text = chain(&plan.write(&sink, &Job::default()).unwrap_err());
        assert!(text.contains("directory/file") && text.contains(expected), "{what}: {text}");
    }

    // The other one, where the hash in the registration is that of what it becomes.
    let source = twins();
    let mut closure = source.scan();
    fs::write(source.at("twin"), [8; 5000]).unwrap();
    closure::fill_in_hashes(&mut closure, &Job::default()).unwrap();
    fs::write(source.at("twin"), [7; 5000]).unwrap();
    closure::optimise(&mut closure, 65_000, &Job::default()).unwrap();
    fs::write(source.at("twin"), [8; 5000]).unwrap();
    let plan = store_image::plan(&closure, &options(), &Job::default()).unwrap();
    let text = chain(&plan.write(&sink, &Job::default()).unwrap_err());
    assert!(text.contains("twin` changed") && text.contains("contents of other files"), "{text}");

    // Before they can be compared.
    for (what, change, _) in CHANGES {
        let source = twins();
        let mut closure = source.scan();
        change(&source);
        let text = chain(&closure::optimise(&mut closure, 65_000, &Job::default()).unwrap_err());
        assert!(text.contains("directory/file"), "{what}: {text}");
    }
}

#[test]
fn a_boot_file_that_changes_before_it_is_copied_is_named() {
    for (what, change, expected) in CHANGES {
        let source = Source::new();
        let plan = boot_disk::plan(ByteCount(12 << 20), &loaders(&source), None).unwrap();
        let meanwhile = Meanwhile { phase: "write", action: || change(&source), done: AtomicUsize::new(0) };
        let sink = FaultySink::new(usize::MAX, KINDS[0]);
        let text = chain(&plan.write(&sink, &Job::default().progress(&meanwhile)).unwrap_err());
        let is_told = text.contains(expected) || text.contains("was planned with 5000 bytes");
        assert!(text.contains("directory/file") && is_told, "{what}: {text}");
    }
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
    let source = Source::new();
    let closure = source.scan();
    let plan = store_image::plan(&closure, &options(), &Job::default()).unwrap();
    let disk = boot_disk::plan(ByteCount(12 << 20), &loaders(&source), None).unwrap();
    let file = source.at("directory/file");
    fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let sink = FaultySink::new(usize::MAX, KINDS[0]);
    let text = chain(&plan.write(&sink, &Job::default()).unwrap_err());
    assert!(text.contains("directory/file` changed"), "{text}");
    let text = chain(&disk.write(&sink, &Job::default()).unwrap_err());
    assert!(text.contains("directory/file` was planned with 5000 bytes"), "{text}");
}

#[test]
fn a_directory_that_vanishes_before_it_is_listed_is_named() {
    let source = Source::new();
    fs::remove_dir_all(source.at("")).unwrap();
    let text = format!("/nix/store/{NAME}\n\n0\n\n0\n");
    let registration = Registration::parse(Path::new("registration"), text.as_bytes()).unwrap();
    let error = closure::scan(registration, StoreRoot::new(source.root.path()), &Job::default()).unwrap_err();
    assert!(error.to_string().contains("registered but missing"), "{error}");
}
