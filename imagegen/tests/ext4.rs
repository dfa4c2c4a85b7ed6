//! File systems that are more than a store: permissions, contents made here and a journal, judged by e2fsprogs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use imagegen::container::{Format, ImageFile};
use imagegen::fixed;
use imagegen::fs::ext4::{self, FileDataError, Options, Size};
use imagegen::fs::file_source::{FileSource, SourceError};
use imagegen::fs::file_tree::{NodeId, Permissions, Tree, TreeBuilder};
use imagegen::guid::Guid;
use imagegen::image::store_image;
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::nix::closure::{Closure, scan};
use imagegen::nix::store_path::StoreRoot;
use imagegen::units::ByteCount;

/// The features of every file system, in dumpe2fs's order.
const FEATURES: &str = "ext_attr dir_index filetype extent flex_bg sparse_super large_file huge_file dir_nlink \
                        extra_isize metadata_csum";
const HASH: &str = "s66mzxpvicwk07gjbjfw9izjfa797vsw";

fn options(size: Size) -> Options {
    Options { journal: true, size, ..Options::new("nixos", fixed::STORE_IMAGE_UUID) }
}

fn tool(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output().expect(command[0]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn debugfs(image: &Path, request: &str) -> String {
    tool(&["debugfs", "-R", request, image.to_str().unwrap()])
}

/// A field of `dumpe2fs -h`.
fn field(image: &Path, name: &str) -> String {
    let shown = tool(&["dumpe2fs", "-h", image.to_str().unwrap()]);
    let line = shown.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {shown}"));
    line[name.len()..].trim_start_matches(':').trim().to_owned()
}

fn create(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap()
}

/// An image of a tree whose files are all empty.
fn write_empty(tree: &Tree, options: &Options, image: &Path) {
    let file = create(image);
    let plan = ext4::plan(tree, options).unwrap();
    let container = ImageFile::create(&file, Format::Raw, plan.size(), &plan.allocated()).unwrap();
    plan.write_metadata(&container).unwrap();
    container.finish().unwrap();
}

/// A closure of one path with one file.
fn closure(root: &Path) -> Closure {
    let object = root.join("nix/store").join(format!("{HASH}-payload"));
    std::fs::create_dir_all(&object).unwrap();
    std::fs::write(object.join("file"), "from the store").unwrap();
    let text = format!("/nix/store/{HASH}-payload\n\n0\n\n0\n");
    let registration = Registration::parse(Path::new("registration"), text.as_bytes()).unwrap();
    scan(registration, StoreRoot::new(root), &Job::default()).unwrap()
}

/// `/etc/issue`, `/etc/shadow`, `/nix/store` with the closure, `/tmp`.
struct Disk {
    tree: Tree,
    contents: Vec<(NodeId, FileSource)>,
    store: NodeId,
}

fn disk(closure: &Closure, host_file: PathBuf) -> Disk {
    let mut tree = TreeBuilder::default();
    let mut contents = Vec::new();
    let root = tree.open_directory(b"").unwrap();
    let etc = tree.open_directory(b"etc").unwrap();
    let big = FileSource::bytes(vec![b'x'; 3 << 20]);
    let from_host = FileSource::File { physical: host_file, size: 5000 };
    let files: [(&[u8], u16, FileSource); 3] = [
        (b"big", 0o755, big),
        (b"issue", 0o644, FileSource::bytes(*b"hello\n")),
        (b"shadow", 0o600, from_host),
    ];
    for (name, mode, content) in files {
        let node = tree.add_file(name, content.size(), false).unwrap();
        tree.set_permissions(node, Permissions::new(mode));
        contents.push((node, content));
    }
    tree.close_directory(etc).unwrap();
    let nix = tree.open_directory(b"nix").unwrap();
    let store = tree.append(b"store", &closure.tree).unwrap();
    tree.close_directory(store).unwrap();
    tree.close_directory(nix).unwrap();
    let tmp = tree.open_directory(b"tmp").unwrap();
    tree.close_directory(tmp).unwrap();
    tree.close_directory(root).unwrap();
    for (node, mode) in [(root, 0o755), (etc, 0o755), (nix, 0o755), (store, 0o1775), (tmp, 0o1777)] {
        tree.set_permissions(node, Permissions::new(mode));
    }
    let built = tree.finish().unwrap();
    let contents = contents.into_iter().map(|(added, content)| (built.node(added), content)).collect();
    Disk { contents, store: built.node(store), tree: built.tree }
}

#[test]
fn a_root_disk_has_its_own_files_around_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let host_file = directory.path().join("host-file");
    std::fs::write(&host_file, [b'h'; 5000]).unwrap();
    let closure = closure(directory.path());
    let Disk { tree, contents, store } = disk(&closure, host_file.clone());
    let options = options(Size::Auto { additional: ByteCount(64 << 20) });

    let file = create(&image);
    let plan = store_image::plan_within(&closure, &tree, store, &options, &Job::default()).unwrap();
    let container = ImageFile::create(&file, Format::Raw, plan.size(), &plan.allocated()).unwrap();
    plan.write(&container, &Job::default()).unwrap();
    for (node, content) in &contents {
        plan.file_system().write_content(*node, content, &container, &Job::default()).unwrap();
    }
    container.finish().unwrap();

    tool(&["e2fsck", "-fn", image.to_str().unwrap()]);
    for (path, mode) in [
        ("/", "0755"),
        ("/etc", "0755"),
        ("/etc/big", "0755"),
        ("/etc/issue", "0644"),
        ("/etc/shadow", "0600"),
        ("/lost+found", "0700"),
        ("/nix/store", "01775"),
        (&format!("/nix/store/{HASH}-payload"), "0555"),
        (&format!("/nix/store/{HASH}-payload/file"), "0444"),
        ("/tmp", "01777"),
    ] {
        let shown = debugfs(&image, &format!("stat {path}"));
        let found = shown.split("Mode:").nth(1).unwrap().split_whitespace().next().unwrap();
        assert_eq!(found, mode, "{path}");
        assert!(shown.contains("User:     0   Group:     0"), "{shown}");
    }
    assert_eq!(debugfs(&image, "cat /etc/issue"), "hello\n");
    assert_eq!(debugfs(&image, "cat /etc/shadow"), "h".repeat(5000));
    assert_eq!(debugfs(&image, "cat /etc/big"), "x".repeat(3 << 20));
    assert_eq!(debugfs(&image, &format!("cat /nix/store/{HASH}-payload/file")), "from the store");

    // A file that is not as long as it was.
    for (length, found) in [(4999, "4999"), (5001, "5001")] {
        std::fs::write(&host_file, vec![b'h'; length]).unwrap();
        let (node, content) = &contents[2];
        let file = create(&image);
        let container = ImageFile::create(&file, Format::Raw, plan.size(), &plan.allocated()).unwrap();
        let error =
            plan.file_system().write_content(*node, content, &container, &Job::default()).unwrap_err();
        assert!(matches!(error, FileDataError::Source(SourceError::Changed { .. })));
        assert!(error.to_string().contains("host-file") && error.to_string().contains(found), "{error}");
    }
}

#[test]
fn a_journal_is_as_large_as_that_of_mke2fs() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    let mut tree = TreeBuilder::default();
    let root = tree.open_directory(b"").unwrap();
    tree.close_directory(root).unwrap();
    let tree = tree.finish().unwrap().tree;
    // Around each step, and large enough for an extent tree block.
    for blocks in [2048, 32_767, 32_768, 262_143, 262_144, 1 << 19, 1 << 22, 1 << 23, (1 << 25) + 12_345] {
        let size = ByteCount(blocks * 4096);
        write_empty(&tree, &options(Size::Fixed(size)), &ours);
        tool(&["e2fsck", "-fn", ours.to_str().unwrap()]);
        let wanted = blocks.to_string();
        let arguments = ["-q", "-F", "-t", "ext4", "-b", "4096", "-N", "64", "-E", "discard"];
        std::fs::remove_file(&theirs).ok();
        tool(&[&["mke2fs"], &arguments[..], &[theirs.to_str().unwrap(), &wanted]].concat());
        for name in
            ["Total journal blocks", "Journal inode", "Journal sequence", "Journal start", "Journal backup"]
        {
            assert_eq!(field(&ours, name), field(&theirs, name), "{name} with {blocks} blocks");
        }
    }
}

#[test]
fn a_journal_counts_in_the_computed_size() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let mut tree = TreeBuilder::default();
    let root = tree.open_directory(b"").unwrap();
    tree.close_directory(root).unwrap();
    let tree = tree.finish().unwrap().tree;
    // The second is just below a step without the journal and above it with it.
    for additional in [0, 32_600 * 4096, 200 << 20, 1 << 30] {
        let size = Size::Auto { additional: ByteCount(additional) };
        write_empty(&tree, &options(size), &image);
        tool(&["e2fsck", "-fn", image.to_str().unwrap()]);
        assert_eq!(field(&image, "Free blocks").parse::<u64>().unwrap() * 4096, additional);
    }
}

/// One of each kind of inode.
fn inodes() -> Tree {
    let mut tree = TreeBuilder::default();
    let root = tree.open_directory(b"").unwrap();
    tree.add_file(b"file", 3 << 20, false).unwrap();
    let few = tree.open_directory(b"few").unwrap();
    tree.close_directory(few).unwrap();
    tree.add_symlink(b"long", &[b't'; 60]).unwrap();
    let many = tree.open_directory(b"many").unwrap();
    for i in 0..3000 {
        tree.add_file(format!("file-{i:04}").as_bytes(), 0, false).unwrap();
    }
    tree.close_directory(many).unwrap();
    tree.add_symlink(b"short", &[b't'; 59]).unwrap();
    tree.close_directory(root).unwrap();
    tree.finish().unwrap().tree
}

#[test]
fn the_features_are_the_chosen_ones_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let tree = inodes();
    let store = Options::new("nix-store", fixed::STORE_IMAGE_UUID);
    let other = Options {
        journal: true,
        hash_seed: Guid::from_u128(0x0123_4567_89AB_CDEF_0123_4567_89AB_CDEF),
        ..Options::new("sixteen letters.", Guid::from_u128(0xFEDC_BA98_7654_3210_FEDC_BA98_7654_3210))
    };
    for (options, features) in [(&store, FEATURES.to_owned()), (&other, format!("has_journal {FEATURES}"))] {
        write_empty(&tree, options, &image);
        tool(&["e2fsck", "-fn", image.to_str().unwrap()]);
        for (name, value) in [
            ("Filesystem volume name", &*options.label),
            ("Filesystem UUID", &options.uuid.to_string()),
            ("Filesystem features", &features),
            ("Filesystem flags", "unsigned_directory_hash"),
            ("Reserved block count", "0"),
            ("Block size", "4096"),
            ("Inode size", "256"),
            ("Required extra isize", "32"),
            ("Desired extra isize", "32"),
            ("Default directory hash", "half_md4"),
            ("Directory Hash Seed", &options.hash_seed.to_string()),
            ("Checksum type", "crc32c"),
        ] {
            assert_eq!(field(&image, name), value, "{name}");
        }
        // Extents (0x80000) but for a target that is in the inode, an index (0x1000) from two blocks on.
        for (path, flags) in [
            ("/", "0x80000"),
            ("/few", "0x80000"),
            ("/file", "0x80000"),
            ("/long", "0x80000"),
            ("/many", "0x81000"),
            ("/short", "0x0"),
        ] {
            let shown = debugfs(&image, &format!("stat {path}"));
            assert!(shown.contains(&format!("Flags: {flags}\n")), "{path}: {shown}");
            assert!(shown.contains("Size of extra inode fields: 32\n"), "{path}: {shown}");
            assert!(shown.contains("Inode checksum: 0x"), "{path}: {shown}");
        }
        // Half-MD4 is 1 here; that it takes unsigned bytes is said by the flag above.
        let index = debugfs(&image, "htree /many");
        for line in ["Hash Version: 1\n", "Info length: 8\n", "Indirect levels: 0\n"] {
            assert!(index.contains(line), "{line}: {index}");
        }
    }
}

/// All that dumpe2fs tells of what is free, over all and in each group.
fn free(image: &Path) -> Vec<String> {
    let shown = tool(&["dumpe2fs", image.to_str().unwrap()]);
    shown.lines().filter(|line| line.to_lowercase().contains("free ")).map(str::to_owned).collect()
}

#[test]
fn what_is_free_is_what_e2fsck_counts() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let tree = inodes();
    // One group without a free block, and three groups.
    for additional in [0, 300 << 20] {
        for journal in [false, true] {
            let size = Size::Auto { additional: ByteCount(additional) };
            write_empty(&tree, &Options { journal, ..options(size) }, &image);
            let ours = free(&image);
            // Wrong counts, in the place of which e2fsck puts its own.
            for name in ["free_blocks_count", "free_inodes_count"] {
                let request = format!("set_super_value {name} 12345");
                tool(&["debugfs", "-w", "-R", &request, image.to_str().unwrap()]);
                let request = format!("set_block_group 0 {name} 1234");
                tool(&["debugfs", "-w", "-R", &request, image.to_str().unwrap()]);
            }
            assert_ne!(free(&image), ours);
            let mended = Command::new("e2fsck").arg("-fy").arg(&image).output().unwrap();
            let said = String::from_utf8_lossy(&mended.stdout);
            assert_eq!(mended.status.code(), Some(1), "{said}");
            assert!(
                said.contains("Free blocks count wrong") && said.contains("Free inodes count wrong"),
                "{said}"
            );
            assert_eq!(free(&image), ours);
        }
    }
}
