//! Closures made for a measurement: the same shape gives the same bytes everywhere.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::nix::closure::hash_missing;
use imagegen::nix::store_path::{STORE_DIR, StoreRoot};

use crate::cli::ShapeArg;

/// A kind of closure and how much of it there is to be.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    kind: ShapeArg,
    files: u64,
    /// The bytes that the files have together, or a little more.
    pub total: u64,
    store_paths: u64,
}

/// Files of a directory, in all shapes but the flat one.
const FILES_PER_DIRECTORY: u64 = 48;
/// So many bytes of text are made once; every file is cut out of it.
const TEXT: usize = 4 << 20;
/// The digits of the hash part of a store path.
const BASE32_DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

impl Shape {
    /// A shape with its own number of files and size, or others.
    pub fn new(kind: ShapeArg, files: Option<u64>, total: Option<u64>) -> Self {
        let (usual_files, usual_total, store_paths) = match kind {
            ShapeArg::ManySmall => (100_000, 200 << 20, 8),
            ShapeArg::Flat => (120_000, 120 << 20, 1),
            ShapeArg::FewHuge => (4, 2 << 30, 4),
            ShapeArg::Mix => (60_000, 2 << 30, 12),
        };
        let files = files.unwrap_or(usual_files);
        Self { kind, files, total: total.unwrap_or(usual_total), store_paths: store_paths.min(files) }
    }

    /// The size of the next file in relation to the others.
    fn weight(&self, random: &mut Random) -> u64 {
        let at_least = |size: u64, random: &mut Random| size + random.below(size);
        match self.kind {
            ShapeArg::ManySmall | ShapeArg::Flat => 1024 + random.below(2048),
            ShapeArg::FewHuge => 1,
            // As on a system: most files have some kilobytes, most bytes are in few files.
            ShapeArg::Mix => match random.below(1000) {
                0..797 => at_least(128 << random.below(7), random),
                797..997 => at_least((16 << 10) << random.below(5), random),
                _ => at_least((1 << 20) << random.below(5), random),
            },
        }
    }

    /// Whether the next file is a program.
    fn executable(&self, random: &mut Random) -> bool {
        self.kind == ShapeArg::Mix && random.below(20) == 0
    }

    /// The directory of a file within its store path.
    fn directory(&self, file: u64) -> PathBuf {
        let number = file / FILES_PER_DIRECTORY;
        match self.kind {
            ShapeArg::Flat => PathBuf::from("all"),
            _ => PathBuf::from(format!("share/{:02x}/{number:04x}", number % 64)),
        }
    }
}

/// What is made in a directory, for `--store-root` and `--registration`.
pub const ROOT: &str = "root";
const REGISTRATION: &str = "registration";

/// Refuses a directory that has a closure already.
pub fn check_free(directory: &Path) -> anyhow::Result<()> {
    for name in [ROOT, REGISTRATION].map(|name| directory.join(name)) {
        ensure!(!name.exists(), "`{}` is there already; name another directory", name.display());
    }
    Ok(())
}

/// Makes a closure: `DIRECTORY/root` for `--store-root`, `DIRECTORY/registration`. The directory may not have either.
pub fn make(shape: Shape, directory: &Path) -> anyhow::Result<()> {
    check_free(directory)?;
    let root = directory.join(ROOT);
    let store = root.join("nix/store");
    fs::create_dir_all(&store).with_context(|| format!("cannot create `{}`", store.display()))?;
    let names = write_store_paths(&shape, &store)?;
    write_registration(&register(&root, &names)?, directory)
}

/// Writes a registration to its place in a directory.
pub fn write_registration(registration: &Registration, directory: &Path) -> anyhow::Result<()> {
    let file = directory.join(REGISTRATION);
    fs::write(&file, registration.to_string()).with_context(|| format!("cannot write `{}`", file.display()))
}

/// The registration of store paths below `root`, with the hashes that Nix would find.
fn register(root: &Path, names: &[String]) -> anyhow::Result<Registration> {
    let unhashed: Vec<_> = names.iter().map(|name| format!("{STORE_DIR}/{name}\n\n0\n\n0\n")).collect();
    let mut registration = Registration::parse(Path::new(REGISTRATION), unhashed.concat().as_bytes())?;
    hash_missing(&mut registration, StoreRoot::new(root), &Job::default())?;
    Ok(registration)
}

/// Gives the names of the store paths.
fn write_store_paths(shape: &Shape, store: &Path) -> anyhow::Result<Vec<String>> {
    let mut random = Random(0x6E69_782D_696D_6167);
    let text = text(&mut random);
    let mut sizes = Random(0x7368_6170_6573_0001);
    let weights: Vec<u64> = (0..shape.files).map(|_| shape.weight(&mut sizes)).collect();
    let (all_weights, mut weights) = (weights.iter().sum(), weights.into_iter());
    let paths = shape.store_paths;
    let mut names = Vec::new();
    for path in 0..paths {
        let name = format!("{}-part-{path}", digits(&mut random));
        let top = store.join(&name);
        names.push(name);
        let files = shape.files * path / paths..shape.files * (path + 1) / paths;
        let first = files.start;
        for file in files {
            let directory = top.join(shape.directory(file - first));
            if file == first || (file - first).is_multiple_of(FILES_PER_DIRECTORY) {
                fs::create_dir_all(&directory)
                    .with_context(|| format!("cannot create `{}`", directory.display()))?;
            }
            let size = scaled(shape.total, weights.next().unwrap_or_default(), all_weights);
            let target = directory.join(format!("file-{file:06}"));
            let mode = if shape.executable(&mut random) { 0o555 } else { 0o444 };
            write_file(&target, size, mode, &text, &mut random)
                .with_context(|| format!("cannot write `{}`", target.display()))?;
            if shape.kind == ShapeArg::Mix && file % 16 == 0 {
                let link = directory.join(format!("link-{file:06}"));
                symlink(format!("file-{file:06}"), &link)
                    .with_context(|| format!("cannot write `{}`", link.display()))?;
            }
        }
    }
    Ok(names)
}

/// `total * part / whole`, rounded down.
fn scaled(total: u64, part: u64, whole: u64) -> u64 {
    let scaled = u128::from(total) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(total)
}

fn write_file(path: &Path, size: u64, mode: u32, text: &[u8], random: &mut Random) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut left = size;
    while left > 0 {
        let piece = &text[random.index(text.len() / 2)..];
        let piece = &piece[..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        file.write_all(piece)?;
        left -= u64::try_from(piece.len()).unwrap_or(left);
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// Words out of a small dictionary with noise between them; it compresses to about a third, as programs do.
fn text(random: &mut Random) -> Vec<u8> {
    let words: Vec<[u8; 8]> = (0..1024).map(|_| random.next().to_le_bytes()).collect();
    let mut text = Vec::with_capacity(TEXT);
    while text.len() < TEXT {
        let choice = random.next();
        // Low numbers come often.
        let word = (choice & 1023) & (choice >> 10);
        let word = words[usize::try_from(word & 1023).unwrap_or(0)];
        text.extend_from_slice(&word);
        text.extend_from_slice(&choice.to_le_bytes()[5..7]);
    }
    text.truncate(TEXT);
    text
}

fn digits(random: &mut Random) -> String {
    let digit = |_| char::from(BASE32_DIGITS[random.index(32)]);
    (0..32).map(digit).collect()
}

/// The `SplitMix64` generator (Steele, Lea, Flood 2014): small, quick, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not zero.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// The same for a place in a list.
    fn index(&mut self, limit: usize) -> usize {
        u64::try_from(limit).map(|limit| self.below(limit)).and_then(usize::try_from).unwrap_or_default()
    }
}
