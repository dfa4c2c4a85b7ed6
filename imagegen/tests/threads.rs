//! Store images of many paths of all shapes, made by one thread and by many: every NAR is hashed to its last byte, however
//! its blocks, those of another path on the same thread, and those of a second thread fall together.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use imagegen::container::Sink;
use imagegen::fixed;
use imagegen::fs::ext4;
use imagegen::image::store_image::{self, StoreImageError, Verified};
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::nix::closure::{self, Closure};
use imagegen::nix::store_path::StoreRoot;
use imagegen::progress::{Progress, Silent};
use imagegen::units::GuestOffset;
use sha2::{Digest, Sha256};
use testkit::random::Random;

const MIB: usize = 1 << 20;
const JOBS: [usize; 4] = [1, 2, 3, 8];

/// A path, and the hash and length of its NAR, made by other crates.
struct Expected {
    name: String,
    hash: String,
    size: usize,
}

struct Store {
    root: tempfile::TempDir,
    paths: Vec<Expected>,
}

impl Store {
    fn new() -> Self {
        let mut store = Self { root: tempfile::tempdir().unwrap(), paths: Vec::new() };
        let mut random = Random::new(1);
        store.add("empty-directory", |at| fs::create_dir(at).unwrap());
        store.add("empty-file", |at| fs::write(at, "").unwrap());
        store.add("one-file", |at| fs::write(at, random.bytes(3 * MIB + 1)).unwrap());
        store.add("holes", |at| {
            fs::create_dir(at).unwrap();
            let sparse = File::create(at.join("sparse")).unwrap();
            sparse.set_len(70 << 20).unwrap();
            sparse.write_all_at(&random.bytes(5000), 1 << 20).unwrap();
            sparse.write_all_at(&random.bytes(5000), 40 << 20).unwrap();
            fs::write(at.join("zeros"), vec![0; MIB]).unwrap();
        });
        // More than may be read without a second thread, of large files and of small ones.
        store.add("large", |at| {
            fs::create_dir(at).unwrap();
            fs::write(at.join("a"), random.bytes(20 * MIB)).unwrap();
            fs::write(at.join("b"), random.bytes(MIB + 77)).unwrap();
        });
        store.add("many", |at| {
            fs::create_dir(at).unwrap();
            for number in 0..1500 {
                let bytes = random.bytes(4096 + number);
                fs::write(at.join(number.to_string()), bytes).unwrap();
            }
        });
        for number in 0..24 {
            store.add(&format!("mixed-{number}"), |at| mixed(at, &mut random));
        }
        store
    }

    fn add(&mut self, name: &str, fill: impl FnOnce(&Path)) {
        let name = format!("{:032}-{name}", self.paths.len());
        let at = self.root.path().join("nix/store").join(&name);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fill(&at);
        let mut nar = Vec::new();
        let size = nix_nar::Encoder::new(&at).unwrap().read_to_end(&mut nar).unwrap();
        self.paths.push(Expected { name, hash: HEXLOWER.encode(&Sha256::digest(nar)), size });
    }

    /// The closure, where one path may be registered with the hash of another one.
    fn scan(&self, wrong: Option<usize>) -> Closure {
        let mut text = String::new();
        for (i, Expected { name, hash, size }) in self.paths.iter().enumerate() {
            let hash = if wrong == Some(i) { &self.paths[(i + 1) % self.paths.len()].hash } else { hash };
            write!(text, "/nix/store/{name}\n{hash}\n{size}\n\n0\n").unwrap();
        }
        let registration = Registration::parse(Path::new("registration"), text.as_bytes()).unwrap();
        closure::scan(registration, StoreRoot::new(self.root.path()), &Job::default()).unwrap()
    }
}

/// Files of all sizes around blocks of the hash, of the file system and of what is read at once.
fn mixed(at: &Path, random: &mut Random) {
    fs::create_dir(at).unwrap();
    for number in 0..=random.below(30) {
        let around = [0, 55, 64, 512, 4096, 8192, 128 << 10, 256 << 10][random.below(8)];
        let size = (around + random.below(130)).saturating_sub(65);
        fs::write(at.join(format!("file-{number}")), random.bytes(size)).unwrap();
    }
    fs::create_dir(at.join("directory")).unwrap();
    symlink("../file-0", at.join("directory/link")).unwrap();
    fs::hard_link(at.join("file-0"), at.join("directory/further-name")).unwrap();
}

/// Keeps the hashes of all pages that are written.
#[derive(Default)]
struct Pages(Mutex<BTreeMap<u64, [u8; 32]>>);

impl Sink for Pages {
    fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        let mut pages = self.0.lock().unwrap();
        for (place, page) in (offset.0..).step_by(4096).zip(bytes.chunks(4096)) {
            // How many zeros go with them depends on what was read at once.
            if page.iter().any(|&byte| byte != 0) {
                let before = pages.insert(place, Sha256::digest(page).into());
                assert!(before.is_none(), "written twice: {place}");
            }
        }
        Ok(())
    }
}

/// Writes the image by so many threads.
fn write(closure: &Closure, jobs: usize) -> Result<(Verified, Pages), StoreImageError> {
    let pages = Pages::default();
    let verified = write_to(&pages, closure, jobs, &Silent)?;
    Ok((verified, pages))
}

fn write_to(
    sink: &impl Sink,
    closure: &Closure,
    jobs: usize,
    progress: &dyn Progress,
) -> Result<Verified, StoreImageError> {
    let options = ext4::Options::new(fixed::STORE_IMAGE_LABEL, fixed::STORE_IMAGE_UUID);
    let plan = store_image::plan(closure, &options, &Job::default().verify(false)).unwrap();
    plan.write(sink, &Job::default().threads(NonZeroUsize::new(jobs)).progress(progress))
}

#[test]
fn all_paths_are_verified_and_written_by_any_number_of_threads() {
    let store = Store::new();
    let paths = u64::try_from(store.paths.len()).unwrap();
    for optimised in [false, true] {
        let mut closure = store.scan(None);
        if optimised {
            closure::optimise(&mut closure, ext4::NAMES_MAX, &Job::default()).unwrap();
        }
        let mut pages = Vec::new();
        for jobs in JOBS.into_iter().chain([2, 2]) {
            let (verified, written) = write(&closure, jobs).unwrap();
            assert_eq!((verified.verified, verified.unverified), (paths, 0), "{jobs}");
            pages.push(written.0.into_inner().unwrap());
        }
        assert!(pages[0].len() > 30 * MIB / 4096, "{}", pages[0].len());
        assert!(pages.iter().all(|others| *others == pages[0]));
    }
}

#[test]
fn a_wrong_hash_is_told_of_each_path() {
    let store = Store::new();
    for (i, Expected { name, .. }) in store.paths.iter().enumerate() {
        let closure = store.scan(Some(i));
        let error = write(&closure, JOBS[i % JOBS.len()]).err().unwrap();
        assert!(
            matches!(&error, StoreImageError::Hash { path, .. } if path.base_name().ends_with(name.as_str())),
            "{name}: {error}"
        );
    }
}

/// Panics when it is called for the last time of so many.
#[derive(Default)]
struct Panicking {
    compresses: bool,
    calls: AtomicUsize,
    last: usize,
}

impl Panicking {
    fn call(&self) {
        assert!(self.calls.fetch_add(1, Ordering::Relaxed) + 1 != self.last, "the test's own panic");
    }
}

impl Sink for Panicking {
    fn data(&self, _offset: GuestOffset, _bytes: &[u8]) -> io::Result<()> {
        self.call();
        Ok(())
    }

    fn compresses(&self) -> bool {
        self.compresses
    }
}

impl Progress for Panicking {
    fn begin(&self, _phase: &'static str, _total: u64) {}

    fn advance(&self, _amount: u64) {
        self.call();
    }

    fn end(&self) {}
}

/// A sink and a listener that panic are the caller's affair: the caller must hear of it, and not wait for ever.
#[test]
fn a_panic_comes_through() {
    let store = Store::new();
    let (done, ends) = mpsc::channel();
    std::thread::spawn(move || {
        let closure = store.scan(None);
        for jobs in JOBS {
            for compresses in [false, true] {
                for last in [1, 2, 20, 70, 90] {
                    let sink = Panicking { compresses, last, ..Panicking::default() };
                    let result = catch_unwind(AssertUnwindSafe(|| write_to(&sink, &closure, jobs, &Silent)));
                    done.send((result.is_err(), "sink", jobs, compresses, last)).unwrap();
                    let progress = Panicking { last, ..Panicking::default() };
                    let sink = Panicking { compresses, ..Panicking::default() };
                    let result =
                        catch_unwind(AssertUnwindSafe(|| write_to(&sink, &closure, jobs, &progress)));
                    done.send((result.is_err(), "progress", jobs, compresses, last)).unwrap();
                }
            }
        }
    });
    let mut count = 0;
    loop {
        match ends.recv_timeout(Duration::from_secs(60)) {
            Ok((panicked, what, jobs, compresses, last)) => {
                assert!(panicked, "{what} {jobs} {compresses} {last}");
                count += 1;
            }
            Err(RecvTimeoutError::Timeout) => unreachable!("it waits for ever after {count}"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    assert_eq!(count, 4 * 2 * 5 * 2);
}
