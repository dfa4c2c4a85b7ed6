//! At the edges of what the formats hold, judged by e2fsck, debugfs and qemu-img. Trees are made here and not on disk:
//! what is large in them is empty or a hole. `make test-slow` runs those that take minutes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use imagegen::container::{Format, ImageFile};
use imagegen::error_kind::Failure;
use imagegen::fixed;
use imagegen::fs::ext4::{self, Options};
use imagegen::fs::file_tree::{NodeId, Tree, TreeBuilder};
use imagegen::image::store_image;
use imagegen::job::Job;
use imagegen::nix::closure::scan;
use imagegen::nix::store_path::StoreRoot;
use imagegen::nix::{Registration, nar};
use imagegen::units::ByteCount;

fn options() -> Options {
    Options::new("limits", fixed::STORE_IMAGE_UUID)
}

fn tool(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output().expect(command[0]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An image of a tree whose files are holes, checked by e2fsck or qemu-img.
struct Image {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Image {
    fn write(tree: &Tree, format: Format) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = directory.path().join("image");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let plan = ext4::plan(tree, &options()).unwrap();
        let container = ImageFile::create(&file, format, plan.size(), &plan.allocated()).unwrap();
        plan.write_metadata(&container).unwrap();
        container.finish().unwrap();
        match format {
            Format::Raw => tool(&["e2fsck", "-fn", text(&path)]),
            Format::Qcow2 => tool(&["qemu-img", "check", text(&path)]),
        };
        Self { _directory: directory, path }
    }

    fn debugfs(&self, request: &str) -> String {
        tool(&["debugfs", "-R", request, text(&self.path)])
    }
}

/// A tree with one file of a size.
fn one_file(size: u64) -> Tree {
    let mut tree = TreeBuilder::default();
    let root = tree.open_directory(b"").unwrap();
    tree.add_file(b"file", size, false).unwrap();
    tree.close_directory(root).unwrap();
    tree.finish().unwrap().tree
}

/// A tree of directories with so many files in each.
fn grid(directories: u32, files: u32) -> Tree {
    let mut tree = TreeBuilder::default();
    let root = tree.open_directory(b"").unwrap();
    for i in 0..directories {
        let directory = tree.open_directory(format!("directory-{i:07}").as_bytes()).unwrap();
        for j in 0..files {
            tree.add_file(format!("file-{j:07}").as_bytes(), 0, false).unwrap();
        }
        tree.close_directory(directory).unwrap();
    }
    tree.close_directory(root).unwrap();
    tree.finish().unwrap().tree
}

#[test]
fn a_closure_of_nothing() {
    let registration = Registration::parse(Path::new("registration"), b"").unwrap();
    let closure = scan(registration, StoreRoot::new("/nonexistent"), &Job::default()).unwrap();
    let plan = store_image::plan(&closure, &options(), &Job::default()).unwrap();
    assert!(plan.size().0 < 100 << 10, "{}", plan.size());
    Image::write(&closure.tree, Format::Raw);
    Image::write(&closure.tree, Format::Qcow2);
}

#[test]
fn a_file_of_70_gib() {
    let size = 70 << 30;
    let image = Image::write(&one_file(size), Format::Raw);
    assert!(image.debugfs("stat /file").contains(&format!("Size: {size}")));
    Image::write(&one_file(size), Format::Qcow2);
}

#[test]
fn the_largest_file_and_one_byte_more() {
    // Block numbers within a file have 32 bits.
    let largest = (u64::from(u32::MAX) << 12) - 4096;
    let plan = |size| ext4::plan(&one_file(size), &options()).map(|plan| plan.size());
    assert!(plan(largest).unwrap().0 > largest);
    let error = plan(1 << 44).unwrap_err().to_string();
    assert!(error.contains("`file` has 17592186044416 bytes"), "{error}");
    let error = plan(u64::MAX).unwrap_err().to_string();
    assert!(error.contains("less than 16 TiB"), "{error}");
}

#[test]
fn a_directory_of_120_000_entries() {
    let image = Image::write(&grid(1, 120_000), Format::Raw);
    assert!(image.debugfs("stat /directory-0000000/file-0119999").contains("Type: regular"));
    assert!(image.debugfs("stat /directory-0000000").contains("Flags: 0x81000"), "it is indexed");
}

/// A directory has two names of its own and one in each of its subdirectories; from 65,000 on the count says 1 (`dir_nlink`).
#[test]
fn more_subdirectories_than_links() {
    for (directories, links) in [(64_997, 65_000), (64_998, 1)] {
        let image = Image::write(&grid(directories, 0), Format::Raw);
        let shown = image.debugfs("stat /");
        assert!(shown.contains(&format!("Links: {links} ")), "{shown}");
    }
}

#[test]
fn names_and_targets_at_their_longest() {
    let tree = |name: usize, target: usize| {
        let mut tree = TreeBuilder::default();
        let root = tree.open_directory(b"").unwrap();
        tree.add_symlink(&vec![b'n'; name], &vec![b't'; target])?;
        tree.close_directory(root).unwrap();
        Ok::<_, Failure>(tree.finish().unwrap().tree)
    };
    let image = Image::write(&tree(255, 4095).unwrap(), Format::Raw);
    assert!(image.debugfs(&format!("stat /{}", "n".repeat(255))).contains("Size: 4095"));
    for (name, what) in [(256, "has 256"), (0, "has 0")] {
        let error = tree(name, 1).unwrap_err().to_string();
        assert!(error.contains(what), "{name}: {error}");
    }
    for (target, what) in [(4096, "4096"), (0, "has 0")] {
        let error = ext4::plan(&tree(1, target).unwrap(), &options()).unwrap_err().to_string();
        assert!(error.contains(what), "{target}: {error}");
    }
}

/// No part of the way goes down by calling itself.
#[test]
fn a_tree_of_40_000_levels() {
    const LEVELS: u64 = 40_000;
    let mut tree = TreeBuilder::default();
    let mut open = vec![tree.open_directory(b"").unwrap()];
    for _ in 0..LEVELS {
        open.push(tree.open_directory(b"d").unwrap());
    }
    for directory in open.into_iter().rev() {
        tree.close_directory(directory).unwrap();
    }
    let tree = tree.finish().unwrap().tree;
    // Each level but the top one is an entry: five words with their lengths, the name and its own words.
    assert!(nar::size(&tree, NodeId(0)) > LEVELS * 100);
    let image = Image::write(&tree, Format::Raw);
    assert!(image.debugfs("stat /d/d/d/d/d").contains("Type: directory"));
}

/// On disk, Linux takes no path of more than 4,095 bytes: what lies deeper cannot be named, by Nix neither.
#[test]
fn a_directory_too_deep_for_a_path_is_refused() {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let name = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-deep";
    let root = tempfile::tempdir().unwrap();
    let top = root.path().join("nix/store").join(name);
    fs::create_dir_all(&top).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(&top, flags, Mode::empty()).unwrap();
    for _ in 0..2500 {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = openat(&at, "d", flags, Mode::empty()).unwrap();
    }
    let record = format!("/nix/store/{name}\n\n0\n\n0\n");
    let registration = Registration::parse(Path::new("registration"), record.as_bytes()).unwrap();
    let error = scan(registration, StoreRoot::new(root.path()), &Job::default()).unwrap_err();
    assert!(error.to_string().contains("deep/d/d/d"), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("File name too long"), "{source}");
    // The standard library would need as many frames on its stack.
    tool(&["rm", "-rf", text(&root.path().join("nix"))]);
}

#[test]
fn a_closure_of_100_000_paths() {
    const PATHS: u32 = 100_000;
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let store = root.path().join("nix/store");
    fs::create_dir_all(&store).unwrap();
    let mut records = String::new();
    for i in 0..PATHS {
        // Digits of base 32 are those of base 16 too.
        let name = format!("{i:032x}-path").replace('e', "z");
        std::os::unix::fs::symlink("nowhere", store.join(&name)).unwrap();
        writeln!(records, "/nix/store/{name}\n\n0\n\n1\n/nix/store/{name}").unwrap();
    }
    let registration = Registration::parse(Path::new("registration"), records.as_bytes()).unwrap();
    let closure = scan(registration, StoreRoot::new(root.path()), &Job::default()).unwrap();
    assert_eq!(closure.roots.len(), usize::try_from(PATHS).unwrap());
    let image = Image::write(&closure.tree, Format::Raw);
    assert_eq!(
        image.debugfs("ls -p /").lines().filter(|line| line.contains("-path")).count(),
        closure.roots.len()
    );
}

#[test]
#[ignore = "slow: a million inodes are 256 MB of tables, which e2fsck goes through"]
fn a_million_inodes() {
    let image = Image::write(&grid(1000, 999), Format::Raw);
    assert!(image.debugfs("stat /directory-0000999/file-0000998").contains("Type: regular"));
    Image::write(&grid(1000, 999), Format::Qcow2);
}

#[test]
#[ignore = "slow: 24,000 block groups have 200 MB of bitmaps"]
fn an_image_of_more_than_2_tib() {
    let size = 3 << 40;
    let image = Image::write(&one_file(size), Format::Raw);
    assert!(image.debugfs("stat /file").contains(&format!("Size: {size}")));
    let image = Image::write(&one_file(size), Format::Qcow2);
    let info = tool(&["qemu-img", "info", "--output=json", text(&image.path)]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert!(info["virtual-size"].as_u64().unwrap() > size);
}

#[test]
#[ignore = "slow: 98,000 block groups have 800 MB of bitmaps"]
fn a_file_of_100_000_extents() {
    // An extent holds 128 MiB at most.
    let size = 100_000 << 27;
    let image = Image::write(&one_file(size), Format::Raw);
    assert!(image.debugfs("stat /file").contains(&format!("Size: {size}")));
    let extents = image.debugfs("dump_extents -l /file");
    assert!(extents.lines().count() > 100_000, "{}", extents.lines().count());
}

#[test]
#[ignore = "slow: 131,000 block groups have 1 GB of bitmaps"]
fn block_numbers_of_more_than_32_bits() {
    // Files of ext4 end before 16 TiB; those in memory do not.
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("image");
    // From the group on that ends with block 2^32.
    for (blocks, is_wide) in [((1 << 32) - (1 << 15), false), ((1 << 32) - 1, true), ((1 << 32) + 1000, true)]
    {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let tree = one_file(5 << 40);
        let size = ext4::Size::Fixed(ByteCount(blocks << 12));
        let plan = ext4::plan(&tree, &Options { size, ..options() }).unwrap();
        assert_eq!(plan.size(), ByteCount(blocks << 12));
        let container = ImageFile::create(&file, Format::Raw, plan.size(), &plan.allocated()).unwrap();
        plan.write_metadata(&container).unwrap();
        container.finish().unwrap();
        tool(&["e2fsck", "-fn", text(&path)]);
        let header = tool(&["dumpe2fs", "-h", text(&path)]);
        let features = header.lines().find(|line| line.starts_with("Filesystem features:")).unwrap();
        assert_eq!(features.split_whitespace().any(|name| name == "64bit"), is_wide, "{features}");
        assert!(header.contains(&format!("Block count:              {blocks}\n")), "{header}");
    }
}
