//! Sinks that can share the blocks of source files: what is shared and what is written make the same image as writing
//! alone. That real file systems share is for tests/sharing.rs of the program to show.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use imagegen::container::{Format, ImageFile, Part, REFLINK_PIECE, Sink};
use imagegen::fixed;
use imagegen::fs::ext4;
use imagegen::image::store_image::{self, Plan, StoreImageError};
use imagegen::job::Job;
use imagegen::nix::closure::{self, Closure};
use imagegen::nix::store_path::StoreRoot;
use imagegen::nix::{Registration, nar};
use imagegen::progress::Progress;
use imagegen::units::GuestOffset;

const NAME: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-source";
const PIECE: usize = 64 << 10;
const _: () = assert!(REFLINK_PIECE == 64 << 10);
const MIB: usize = 1 << 20;

/// A store with one path.
struct Source {
    root: tempfile::TempDir,
}

impl Source {
    /// Files of all kinds: zeros in them, before them and behind them, and small ones between the large.
    fn new() -> Self {
        let source = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir_all(source.at("")).unwrap();
        let noise = noise(20 * MIB + 777);
        fs::write(source.at("a-small"), &noise[..5000]).unwrap();
        fs::write(source.at("b-noise"), &noise).unwrap();
        let mut bytes = noise[..6 * MIB + 4095].to_vec();
        bytes[MIB..2 * MIB].fill(0);
        bytes[3 * MIB - 7..3 * MIB + 4 * PIECE + 7].fill(0);
        // Stretches too short to share, zeros too short to leave out.
        for i in 0..16 {
            bytes[4 * MIB + i * PIECE + 100..][..PIECE / 2].fill(0);
            bytes[5 * MIB + i * PIECE..][..i % 2 * PIECE].fill(0);
        }
        fs::write(source.at("c-with-zeros"), &bytes).unwrap();
        bytes.fill(0);
        fs::write(source.at("d-zeros"), &bytes).unwrap();
        bytes[..5].fill(1);
        fs::write(source.at("e-begins"), &bytes).unwrap();
        bytes.rotate_left(5);
        fs::write(source.at("f-ends"), &bytes).unwrap();
        let sparse = File::create(source.at("g-sparse")).unwrap();
        sparse.set_len(9 << 20).unwrap();
        sparse.write_all_at(&noise[..2 * MIB], 3 << 20).unwrap();
        fs::write(source.at("h-below"), &noise[..MIB - 1]).unwrap();
        fs::write(source.at("i-limit"), &noise[..MIB]).unwrap();
        for name in ["j-equal", "k-equal"] {
            fs::write(source.at(name), Self::equal()).unwrap();
        }
        source
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join("nix/store").join(NAME).join(name)
    }

    /// What is in two of the files; no block of another has it.
    fn equal() -> Vec<u8> {
        noise(4 * MIB).split_off(MIB + 1)
    }

    fn scan(&self) -> Closure {
        let text = format!("/nix/store/{NAME}\n\n0\n\n0\n");
        let registration = Registration::parse("registration".as_ref(), text.as_bytes()).unwrap();
        closure::scan(registration, StoreRoot::new(self.root.path()), &Job::default()).unwrap()
    }
}

/// Bytes without zeros (xorshift).
fn noise(bytes: usize) -> Vec<u8> {
    let mut x: u64 = 88_172_645_463_325_252;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes().map(|byte| byte | 1)
    };
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend(next());
    }
    noise.truncate(bytes);
    noise
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

fn plan(closure: &Closure) -> Plan<'_> {
    let options = ext4::Options::new("nix-store", fixed::STORE_IMAGE_UUID);
    store_image::plan(closure, &options, &Job::default()).unwrap()
}

/// An image in memory that shares, except at one call, and says what.
struct Sharer {
    image: Mutex<Vec<u8>>,
    calls: AtomicUsize,
    refuses_at: usize,
    shared: Mutex<Vec<Range<u64>>>,
    written: AtomicU64,
}

impl Sharer {
    fn new(size: u64, refuses_at: usize) -> Self {
        Self {
            image: Mutex::new(vec![0; self::size(size)]),
            calls: AtomicUsize::new(0),
            refuses_at,
            shared: Mutex::default(),
            written: AtomicU64::new(0),
        }
    }

    fn bytes_shared(&self) -> u64 {
        self.shared.lock().unwrap().iter().map(|range| range.end - range.start).sum()
    }

    fn into_image(self) -> Vec<u8> {
        self.image.into_inner().unwrap()
    }
}

impl Sink for Sharer {
    fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        self.image.lock().unwrap()[size(offset.0)..][..bytes.len()].copy_from_slice(bytes);
        self.written.fetch_add(u64::try_from(bytes.len()).unwrap(), Ordering::Relaxed);
        Ok(())
    }

    fn reflink(&self, offset: GuestOffset, source: &File, range: Range<u64>) -> io::Result<bool> {
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.refuses_at {
            return Ok(false);
        }
        assert!(
            [offset.0, range.start, range.end].iter().all(|place| place.is_multiple_of(4096)),
            "{range:?}"
        );
        let mut bytes = vec![0; size(range.end - range.start)];
        source.read_exact_at(&mut bytes, range.start).unwrap();
        let mut at = 0;
        while at < bytes.len() {
            let end = (size(offset.0) + at + 1).next_multiple_of(PIECE) - size(offset.0);
            let end = end.min(bytes.len());
            assert!(bytes[at..end].iter().any(|&byte| byte != 0), "zeros at {at} of {range:?}");
            at = end;
        }
        self.image.lock().unwrap()[size(offset.0)..][..bytes.len()].copy_from_slice(&bytes);
        self.shared.lock().unwrap().push(offset.0..offset.0 + range.end - range.start);
        Ok(true)
    }
}

/// Hides that a sink can share.
struct Writing<'s>(&'s ImageFile<'s>);

impl Sink for Writing<'_> {
    fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        self.0.data(offset, bytes)
    }
}

/// Adds up what is said to be done.
#[derive(Default)]
struct Done(AtomicU64);

impl Progress for Done {
    fn begin(&self, _phase: &'static str, _total: u64) {}
    fn advance(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }
    fn end(&self) {}
}

#[test]
fn what_is_shared_and_what_is_written_are_the_image() {
    let source = Source::new();
    let closure = source.scan();
    let plan = plan(&closure);
    let expected = Sharer::new(plan.size().0, 0);
    plan.write(&expected, &Job::default()).unwrap();
    let bytes: u64 =
        fs::read_dir(source.at("")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    for times in [usize::MAX, 1, 2, 0] {
        let (sink, done) = (Sharer::new(plan.size().0, times), Done::default());
        plan.write(&sink, &Job::default().progress(&done)).unwrap();
        let (shared, written) = (sink.bytes_shared(), sink.written.load(Ordering::Relaxed));
        println!("{times}: {shared} bytes shared, {written} written");
        assert_eq!(done.0.load(Ordering::Relaxed), bytes, "{times}");
        if times == usize::MAX {
            // Of the large files hardly more than their ends is written.
            assert!(shared > 31 << 20 && written < 7 << 20, "{shared} {written}");
        } else {
            assert_eq!(sink.shared.lock().unwrap().len(), times, "nothing is shared after a refusal");
        }
        assert!(sink.into_image() == *expected.image.lock().unwrap(), "{times}");
    }
}

#[test]
fn what_is_hashed_is_not_shared() {
    let source = Source::new();
    let mut closure = source.scan();
    closure::optimise(&mut closure, u32::MAX, &Job::default()).unwrap();
    {
        let plan = plan(&closure);
        let sink = Sharer::new(plan.size().0, usize::MAX);
        plan.write(&sink, &Job::default().verify(false)).unwrap();
        let equal = Source::equal();
        let shared = sink.shared.lock().unwrap().clone();
        let image = sink.into_image();
        // The two equal files are one, which is compared with what was found of it.
        let place =
            image.windows(PIECE).step_by(4096).position(|bytes| *bytes == equal[..PIECE]).unwrap() * 4096;
        assert!(!shared.is_empty());
        assert!(shared.iter().all(|range| !range.contains(&u64::try_from(place).unwrap())));
    }
    let size = nar::size(&closure.tree, closure.roots[0]);
    let text = format!("/nix/store/{NAME}\n{}\n{size}\n\n0\n", "0".repeat(64));
    let registration = Registration::parse("registration".as_ref(), text.as_bytes()).unwrap();
    let closure = closure::scan(registration, StoreRoot::new(source.root.path()), &Job::default()).unwrap();
    let plan = plan(&closure);
    let sink = Sharer::new(plan.size().0, usize::MAX);
    let error = plan.write(&sink, &Job::default()).unwrap_err();
    assert!(matches!(error, StoreImageError::Hash { .. }), "{error}");
    assert!(sink.shared.into_inner().unwrap().is_empty());
    // Nobody compares the hash.
    let sink = Sharer::new(plan.size().0, usize::MAX);
    plan.write(&sink, &Job::default().verify(false)).unwrap();
    assert!(!sink.shared.into_inner().unwrap().is_empty());
}

#[test]
fn image_files_have_the_same_bytes_wherever_they_are() {
    let source = Source::new();
    let closure = source.scan();
    let plan = plan(&closure);
    for format in [Format::Raw, Format::Qcow2] {
        // That of temporary files, and that of the build; the sources are on the first.
        for directory in [std::env::temp_dir(), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))] {
            let [ours, written] = [true, false].map(|shares| {
                let file = tempfile::tempfile_in(&directory).unwrap();
                let image = ImageFile::create(&file, format, plan.size(), &plan.allocated()).unwrap();
                if shares {
                    plan.write(&image, &Job::default()).unwrap();
                } else {
                    plan.write(&Writing(&image), &Job::default()).unwrap();
                }
                image.finish().unwrap();
                let mut bytes = vec![0; size(file.metadata().unwrap().len())];
                file.read_exact_at(&mut bytes, 0).unwrap();
                bytes
            });
            assert!(ours == written, "{format:?} in {}", directory.display());
        }
    }
}

#[test]
fn parts_share_where_their_pieces_are_those_of_the_disk() {
    let source = Source::new();
    let closure = source.scan();
    let plan = plan(&closure);
    for (start, shares) in [(1 << 20, true), (63 * 512, false)] {
        let disk = Sharer::new(start + plan.size().0, usize::MAX);
        let expected = Sharer::new(start + plan.size().0, 0);
        for disk in [&disk, &expected] {
            plan.write(&Part::new(disk, GuestOffset(start)), &Job::default()).unwrap();
        }
        assert_eq!(disk.bytes_shared() > 0, shares);
        assert!(disk.into_image() == expected.into_image(), "{start}");
    }
}

/// Does something to the source when it is to be shared, and answers.
struct Sabotage<F>(F);

impl<F: Fn() -> io::Result<bool> + Sync> Sink for Sabotage<F> {
    fn data(&self, _offset: GuestOffset, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn reflink(&self, _offset: GuestOffset, _source: &File, _range: Range<u64>) -> io::Result<bool> {
        (self.0)()
    }
}

#[test]
fn a_file_that_changes_before_it_is_shared_is_noticed() {
    let source = Source { root: tempfile::tempdir().unwrap() };
    fs::create_dir_all(source.at("")).unwrap();
    for before in [3 * MIB, 3 * MIB + 1] {
        for after in [0, 4096, 2 * MIB, 3 * MIB - 1, 3 * MIB + 2, 4 * MIB] {
            for shares in [true, false] {
                fs::write(source.at("file"), noise(before)).unwrap();
                let closure = source.scan();
                let sink = Sabotage(|| {
                    let file = File::options().write(true).open(source.at("file")).unwrap();
                    file.set_len(u64::try_from(after).unwrap()).map(|()| shares)
                });
                let error = plan(&closure).write(&sink, &Job::default()).unwrap_err().to_string();
                let named = source.at("file").display().to_string();
                assert!(error.contains(&format!("`{named}` changed while it was read: it has ")), "{error}");
            }
        }
    }
}

#[test]
fn an_error_names_the_file_that_was_to_be_shared() {
    let source = Source::new();
    let closure = source.scan();
    let sink = Sabotage(|| Err(io::ErrorKind::StorageFull.into()));
    let error = plan(&closure).write(&sink, &Job::default()).unwrap_err();
    let inner = std::error::Error::source(&error).map(ToString::to_string);
    assert!(error.to_string().starts_with("cannot share the blocks of `/"), "{error}");
    assert!(error.to_string().ends_with("` with the image"), "{error}");
    assert_eq!(inner.as_deref(), Some("no storage space"));
}
