//! The same inputs give the same bytes: wherever, whenever and by whomever they are made. docs/reproducibility.md is
//! the promise that this file tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use testkit::random::Random;
use testkit::system::System;
use testkit::{imagegen, text, tool};

/// What the pinned images are made with, besides their inputs. `@root@`, `@variables@` and so on are paths.
const PRODUCTS: [(&str, &str); 8] = [
    ("store.raw", "store-image --store-root @root@ --registration @registration@ --format raw"),
    (
        "store.qcow2",
        "store-image --store-root @root@ --registration @registration@ --label other \
         --uuid 01234567-89ab-cdef-0123-456789abcdef --additional-space 20M",
    ),
    (
        "boot.raw",
        "boot-disk --store-root @root@ --toplevel @new@ --loader systemd-boot --format raw --size 12M",
    ),
    (
        "boot.qcow2",
        "boot-disk --store-root @root@ --toplevel @new@ --generation 7=@old@ --loader systemd-boot --timeout 3 \
         --kernel-param panic=1",
    ),
    (
        "root.raw",
        "root-disk --store-root @root@ --registration @registration@ --toplevel @new@ --with-store --format raw \
         --additional-space 8M",
    ),
    (
        "root-efi.qcow2",
        "root-disk --store-root @root@ --registration @registration@ --toplevel @new@ --with-store \
         --partition-table efi --loader systemd-boot --additional-space 8M",
    ),
    ("overlay.qcow2", "disk create --backing store.qcow2 --backing-format qcow2"),
    ("variables.fd", "efi-vars create --template @variables@ --boot-disk-entry"),
];

/// The digests that the products must have.
const PINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/digests.txt");

/// Where the inputs are, and how the program is called.
struct Setting {
    root: PathBuf,
    registration: PathBuf,
    variables: PathBuf,
    toplevels: [String; 2],
    /// Made on its own, for the outputs.
    directory: PathBuf,
    /// A shell script that runs its arguments in the end.
    script: String,
    environment: Vec<(&'static str, String)>,
    jobs: usize,
}

impl Setting {
    fn usual(system: &System, directory: &Path) -> Self {
        Self {
            root: system.store.root.path().to_owned(),
            registration: system.registration.clone(),
            variables: system.variables.clone(),
            toplevels: system.toplevels.clone(),
            directory: directory.to_owned(),
            script: "exec \"$@\"".to_owned(),
            environment: Vec::new(),
            jobs: 2,
        }
    }

    /// Makes all products and gives the digest of each.
    fn make(&self) -> BTreeMap<String, String> {
        let made = PRODUCTS.map(|(name, arguments)| {
            let output = self.directory.join(name);
            let mut command = Command::new("sh");
            command.args(["-c", &self.script, "sh", env!("CARGO_BIN_EXE_nix-imagegen"), "--quiet"]);
            command.args(arguments.split_whitespace().map(|word| self.filled_in(word)));
            command.arg("-o").arg(&output).envs(self.environment.iter().cloned());
            if name.starts_with("store") || name.starts_with("root") {
                command.args(["--jobs", &self.jobs.to_string()]);
            }
            let result = command.output().unwrap();
            assert!(result.status.success(), "{command:?}: {}", String::from_utf8_lossy(&result.stderr));
            (name.to_owned(), sha256(&output))
        });
        made.into_iter().collect()
    }

    fn filled_in(&self, word: &str) -> String {
        let [old, new] = &self.toplevels;
        word.replace("@root@", text(&self.root))
            .replace("@registration@", text(&self.registration))
            .replace("@variables@", text(&self.variables))
            .replace("@old@", old)
            .replace("@new@", new)
    }
}

fn sha256(path: &Path) -> String {
    tool(&["sha256sum", text(path)])[..64].to_owned()
}

/// Pins the bytes, so that none changes unnoticed. Someone has recorded these digests, substitutes the images by
/// them, or has signed them: a change is allowed with a reason that docs/reproducibility.md and the changelog name,
/// and never in a version that differs in its last number only. To record new ones, after looking at what has
/// changed: `make pin-digests`.
#[test]
fn the_bytes_of_images_are_pinned() {
    let system = System::new();
    let directory = tempfile::tempdir().unwrap();
    let made = Setting::usual(&system, directory.path()).make();
    let lines: Vec<String> = made.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
    let found = lines.concat();
    if std::env::var_os("PIN_DIGESTS").is_some() {
        fs::write(PINS, &found).unwrap();
    }
    assert_eq!(
        found,
        fs::read_to_string(PINS).unwrap(),
        "images have other bytes than this version promises; see docs/reproducibility.md"
    );
    // The pins are of sound images.
    tool(&["e2fsck", "-fn", text(&directory.path().join("store.raw"))]);
    tool(&["e2fsck", "-fn", text(&directory.path().join("root.raw"))]);
    for name in ["store.qcow2", "boot.qcow2", "root-efi.qcow2", "overlay.qcow2"] {
        tool(&["qemu-img", "check", text(&directory.path().join(name))]);
    }
    tool(&["sgdisk", "-v", text(&directory.path().join("boot.raw"))]);
}

#[test]
fn nothing_but_the_contents_decides_the_bytes() {
    let system = System::new();
    let directory = tempfile::tempdir().unwrap();
    let expected = Setting::usual(&system, directory.path()).make();
    for seed in 1..=10 {
        let mut random = Random::new(seed);
        // One side on a file system in memory, the other on a disk, in turns.
        let memory = Path::new("/dev/shm");
        let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (for_source, for_output) = if seed % 2 == 0 { (memory, disk) } else { (disk, memory) };
        let source = tempfile::tempdir_in(for_source).unwrap();
        let output = tempfile::tempdir_in(for_output).unwrap();
        let setting = vary(&system, source.path(), output.path(), &mut random);
        assert_eq!(setting.make(), expected, "seed {seed}: {}", setting.script);
        // Whoever runs the tests may have been left without the right to remove what was made read-only.
        tool(&["chmod", "-R", "u+rwX", text(source.path())]);
    }
}

/// The same inputs in other circumstances, all at once.
fn vary(system: &System, source: &Path, output: &Path, random: &mut Random) -> Setting {
    replicate(&system.store.directory(), &source.join("nix/store"), random);
    let registration = source.join("another name");
    fs::write(&registration, shuffled(&fs::read_to_string(&system.registration).unwrap(), random)).unwrap();
    let variables = source.join("VARS");
    fs::copy(&system.variables, &variables).unwrap();
    let temporary = output.join("tmp");
    fs::create_dir(&temporary).unwrap();

    let directories: [&Path; 3] = [Path::new("/"), &temporary, source];
    let memory = random.pick(&["unlimited", "4000000", "1500000"]);
    let script = format!(
        "umask {}; ulimit -v {memory}; cd {} || exit 9; exec nice -n {} taskset -c {} \"$@\"",
        random.pick(&["000", "022", "077", "227"]),
        text(random.pick::<&Path>(&directories)),
        random.below(5),
        random.pick(&["0", "0-1023"]),
    );
    let zone = (*random.pick(&["UTC", "Asia/Tokyo", "America/St_Johns", "nonsense"])).to_owned();
    let locale = (*random.pick(&["C", "C.UTF-8", "tr_TR.UTF-8", "nonsense"])).to_owned();
    let environment = vec![
        ("TZ", zone),
        ("LC_ALL", locale.clone()),
        ("LANG", locale),
        ("TMPDIR", text(&temporary).to_owned()),
        ("HOME", format!("/nonexistent/{}", random.next())),
        ("SOURCE_DATE_EPOCH", random.next().to_string()),
        ("RAYON_NUM_THREADS", (1 + random.below(9)).to_string()),
    ];
    let toplevels = system.toplevels.clone();
    let (root, directory, jobs) = (source.to_owned(), output.to_owned(), 1 + random.below(9));
    Setting { root, registration, variables, toplevels, directory, script, environment, jobs }
}

/// The records of a registration in another order, those of references too.
fn shuffled(registration: &str, random: &mut Random) -> String {
    let mut lines = registration.lines();
    let mut records = Vec::new();
    while let Some(path) = lines.next() {
        let mut record = vec![path];
        record.extend(lines.by_ref().take(4));
        let count: usize = record[4].parse().unwrap();
        let mut references: Vec<_> = lines.by_ref().take(count).collect();
        random.shuffle(&mut references);
        record.extend(references);
        records.push(record.join("\n") + "\n");
    }
    random.shuffle(&mut records);
    records.concat()
}

/// Copies a tree with its contents and executable bits, and with nothing else the same.
fn replicate(from: &Path, to: &Path, random: &mut Random) {
    fs::create_dir_all(to).unwrap();
    let mut directories = vec![PathBuf::new()];
    let mut others = Vec::new();
    let mut next = 0;
    while let Some(directory) = directories.get(next).cloned() {
        next += 1;
        for entry in fs::read_dir(from.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let is_directory = entry.file_type().unwrap().is_dir();
            let list = if is_directory { &mut directories } else { &mut others };
            list.push(directory.join(entry.file_name()));
        }
    }
    for directory in &directories {
        fs::create_dir_all(to.join(directory)).unwrap();
        leave_traces(&to.join(directory), random);
    }
    random.shuffle(&mut others);
    let mut made = HashMap::new();
    for path in &others {
        copy(&from.join(path), &to.join(path), &mut made, random);
    }
    // Deepest first, since times of directories change with their entries.
    others.extend(directories.into_iter().rev());
    for path in others {
        disguise(&to.join(path), random);
    }
}

/// Many names that came and went leave their marks in the order that a directory lists.
fn leave_traces(directory: &Path, random: &mut Random) {
    let names: Vec<PathBuf> =
        (0..random.below(40)).map(|_| directory.join(format!("gone-{}", random.next()))).collect();
    for name in &names {
        fs::write(name, "").unwrap();
    }
    for name in &names {
        fs::remove_file(name).unwrap();
    }
}

/// Copies a file, perhaps as a link to one of the same contents, perhaps with holes for zeros; or a symbolic link.
fn copy(from: &Path, to: &Path, made: &mut HashMap<(Vec<u8>, bool), PathBuf>, random: &mut Random) {
    if let Ok(target) = fs::read_link(from) {
        return symlink(target, to).unwrap();
    }
    let contents = fs::read(from).unwrap();
    let executable = fs::metadata(from).unwrap().permissions().mode() & 0o100 != 0;
    if let Some(first) = made.get(&(contents.clone(), executable))
        && random.below(2) == 0
    {
        return fs::hard_link(first, to).unwrap();
    }
    let file = File::create(to).unwrap();
    if random.below(2) == 0 {
        file.set_len(contents.len().try_into().unwrap()).unwrap();
        for (i, block) in contents.chunks(4096).enumerate().filter(|(_, block)| block.iter().any(|&b| b != 0))
        {
            file.write_all_at(block, u64::try_from(i).unwrap() * 4096).unwrap();
        }
    } else {
        file.write_all_at(&contents, 0).unwrap();
    }
    let modes: &[u32] =
        if executable { &[0o755, 0o500, 0o777, 0o544] } else { &[0o644, 0o400, 0o666, 0o655] };
    fs::set_permissions(to, fs::Permissions::from_mode(*random.pick(modes))).unwrap();
    made.insert((contents, executable), to.to_owned());
}

/// Gives a file another owner (where that may be done), other times and an extended attribute.
fn disguise(path: &Path, random: &mut Random) {
    if rustix::process::geteuid().is_root() {
        let mut id = || Some(u32::try_from(random.below(60_000)).unwrap());
        lchown(path, id(), id()).unwrap();
    }
    if path.is_symlink() {
        return;
    }
    // Not every file system has them.
    let value = random.next().to_string();
    let _ = rustix::fs::setxattr(path, "user.note", value.as_bytes(), rustix::fs::XattrFlags::empty());
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(random.next() % 4_000_000_000);
    let times = FileTimes::new().set_accessed(time).set_modified(time);
    File::open(path).unwrap().set_times(times).unwrap();
    if path.is_dir() {
        let mode = *random.pick(&[0o755, 0o555, 0o700]);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn an_image_can_be_made_again_from_its_report_alone() {
    let system = System::new();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let setting = Setting::usual(&system, directory.path());
    // Relative names mean what they meant.
    let setting = Setting { root: ".".into(), registration: "registration".into(), ..setting };
    let has_report = |name: &str| ["store", "boot", "root"].iter().any(|product| name.starts_with(product));
    for (name, arguments) in PRODUCTS.iter().filter(|(name, _)| has_report(name)) {
        let first = imagegen!()
            .current_dir(system.store.root.path())
            .args(arguments.split_whitespace().map(|word| setting.filled_in(word)))
            .arg("-o")
            .arg(at(name))
            .arg("--report")
            .arg(at("report"))
            .output()
            .unwrap();
        assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));

        let report: serde_json::Value = serde_json::from_slice(&fs::read(at("report")).unwrap()).unwrap();
        let program = &report["program"];
        assert_eq!(program["version"], env!("CARGO_PKG_VERSION"));
        let arguments = program["arguments"].as_array().unwrap();
        let again = imagegen!()
            .current_dir(program["directory"].as_str().unwrap())
            .args(arguments.iter().map(|argument| OsString::from(argument.as_str().unwrap())))
            .arg("-o")
            .arg(at("again"))
            .output()
            .unwrap();
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(report["sha256"], sha256(&at("again")), "{name}");
        if !name.starts_with("boot") {
            assert_eq!(report["registration_sha256"], sha256_of_dump(&system), "{name}");
        }
        assert_eq!(sha256(&at(name)), sha256(&at("again")), "{name}");
    }
}

/// What `nix-store --dump-db` would print is what the tests write, in the order of the names.
fn sha256_of_dump(system: &System) -> String {
    let text = fs::read_to_string(&system.registration).unwrap();
    let mut records: Vec<&str> = text.split_inclusive('\n').collect();
    let mut records: Vec<_> = records.chunks_mut(6).map(|record| record.concat()).collect();
    records.sort();
    let sorted = system.store.root.path().join("sorted");
    fs::write(&sorted, records.concat()).unwrap();
    sha256(&sorted)
}
