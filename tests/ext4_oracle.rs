//! One tree written by `mkext4`, another crate's planner, and by ours: `ext4-view`, a third one's reader, finds the same
//! tree in both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use ext4_view::Ext4;
use imagegen::container::{Format, ImageFile};
use imagegen::fixed;
use imagegen::fs::ext4::{self, Options, Size};
use imagegen::fs::file_source::FileSource;
use imagegen::fs::file_tree::{Added, Permissions, TreeBuilder};
use imagegen::job::Job;
use imagegen::units::ByteCount;
use mkext4::sink::{CheckingSink, FileSink};
use mkext4::{FsBuilder, InodeCount, InodeHandle, Meta, ROOT};

use testkit::random::Random;
use testkit::{text, tool};

const LABEL: &str = "oracle";
const SIZE: u64 = 256 << 20;
/// More than there are files: either planner rounds it in its own way.
const INODES: u32 = 20_000;

#[derive(Debug, PartialEq, Eq)]
struct Node {
    mode: u16,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Directory(Entries),
    File(Vec<u8>),
    Link(String),
}

/// By name, in the order of the names' bytes.
type Entries = BTreeMap<String, Node>;

#[test]
fn mkext4_and_our_planner_write_the_same_tree() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    let tree = awkward();
    write_ours(&tree, &ours);
    write_theirs(&tree, &theirs);
    for image in [&ours, &theirs] {
        tool(&["e2fsck", "-fn", text(image)]);
        // Not `assert_eq`, which would print all contents.
        assert!(read(image) == tree, "{} differs from what was asked for", image.display());
        for (name, levels) in [("names-900", 0), ("names-11000", 1)] {
            let index = tool(&["debugfs", "-R", &format!("htree /{name}"), text(image)]);
            assert!(index.contains(&format!("Indirect levels: {levels}\n")), "{name} in {}", image.display());
        }
    }
    // Both are the same kind of file system.
    let header = |image| tool(&["dumpe2fs", "-h", text(image)]);
    let (ours, theirs) = (header(&ours), header(&theirs));
    for field in [
        "Filesystem volume name:",
        "Filesystem UUID:",
        "Filesystem features:",
        "Block count:",
        "Block size:",
        "Blocks per group:",
        "Inode size:",
        "Required extra isize:",
        "Default directory hash:",
        "Directory Hash Seed:",
        "Checksum type:",
        "Total journal blocks:",
    ] {
        let line = |shown: &str| shown.lines().find(|line| line.starts_with(field)).unwrap().to_owned();
        assert_eq!(line(&ours), line(&theirs));
    }
}

/// What is at and beyond the edges of inodes, blocks and indexes. Names are UTF-8, since mkext4 takes no others.
fn awkward() -> Node {
    let mut entries = Entries::new();
    // A directory without names, some of one block, one with an index, and one with an index of two levels.
    for (names, length, mode) in
        [(0, 1, 0o755), (1, 255, 0o700), (12, 255, 0o1777), (900, 20, 0o555), (11_000, 200, 0o2750)]
    {
        let children = (0..names).map(|i| (format!("{i:0>length$}"), small(i)));
        entries.insert(format!("names-{names}"), Node { mode, kind: Kind::Directory(children.collect()) });
    }
    let modes = [0o444, 0o555, 0o644, 0o4755, 0o2711, 0o600, 0o000].into_iter().cycle();
    let sizes = [0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1 << 20];
    for (size, mode) in sizes.into_iter().zip(modes) {
        let seed = u64::try_from(size).unwrap() + 1;
        entries.insert(format!("size-{size}"), file(mode, Random::new(seed).bytes(size)));
    }
    let holes = [vec![0; 3 << 20], b"in the middle".to_vec(), vec![0; (2 << 20) + 1]].concat();
    entries.insert("holes".into(), file(0o444, holes));
    // Up to 59 bytes are in the inode.
    for length in [1, 58, 59, 60, 61, 255, 4095] {
        let target = "some/where/".chars().cycle().take(length).collect();
        entries.insert(format!("link-{length}"), link(target));
    }
    entries.insert("link-utf-8".into(), link("../grüße/\u{1F980}".into()));
    let longest = "€".repeat(85);
    for name in
        ["a", "...", "-", ".hidden", "grüße-\u{1F980}", "new\nline", " a \"name\" ", "A", "á", &longest]
    {
        entries.insert(name.into(), file(0o755, name.into()));
    }
    let mut deep = file(0o644, b"here".to_vec());
    for level in (0..60).rev() {
        let kind = Kind::Directory(Entries::from([(format!("level-{level}"), deep)]));
        deep = Node { mode: 0o711, kind };
    }
    entries.insert("deep".into(), deep);
    Node { mode: 0o751, kind: Kind::Directory(entries) }
}

/// One of many: mostly an empty file.
fn small(i: u32) -> Node {
    match i % 8 {
        0 => link(i.to_string()),
        1 if i % 64 == 1 => file(0o555, i.to_string().into()),
        2 if i % 64 == 2 => Node { mode: 0o755, kind: Kind::Directory(Entries::new()) },
        _ => file(0o444, Vec::new()),
    }
}

fn file(mode: u16, contents: Vec<u8>) -> Node {
    Node { mode, kind: Kind::File(contents) }
}

fn link(target: String) -> Node {
    Node { mode: 0o777, kind: Kind::Link(target) }
}

/// What `ext4-view` finds in an image. It looks names up by the index of a directory that has one.
fn read(image: &Path) -> Node {
    let file_system = Ext4::load_from_path(image).unwrap();
    let mut root = read_node(&file_system, "/");
    let Kind::Directory(entries) = &mut root.kind else { panic!("{root:?}") };
    let lost_and_found = Node { mode: 0o700, kind: Kind::Directory(Entries::new()) };
    assert_eq!(entries.remove("lost+found"), Some(lost_and_found));
    root
}

fn read_node(file_system: &Ext4, path: &str) -> Node {
    let metadata = file_system.symlink_metadata(path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.modified().seconds()), (0, 0, 1), "{path}");
    let length = usize::try_from(metadata.len()).unwrap();
    let kind = if metadata.is_dir() {
        let names = file_system
            .read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().as_str().unwrap().to_owned());
        let names: Vec<_> = names.filter(|name| !matches!(&**name, "." | "..")).collect();
        let count = names.len();
        let below = path.trim_end_matches('/');
        let entries: Entries = names
            .into_iter()
            .map(|name| (name.clone(), read_node(file_system, &format!("{below}/{name}"))))
            .collect();
        assert_eq!(entries.len(), count, "{path}: a name twice");
        Kind::Directory(entries)
    } else if metadata.is_symlink() {
        let target = file_system.read_link(path).unwrap().to_str().unwrap().to_owned();
        assert_eq!(target.len(), length, "{path}");
        Kind::Link(target)
    } else {
        let contents = file_system.read(path).unwrap();
        assert_eq!(contents.len(), length, "{path}");
        Kind::File(contents)
    };
    Node { mode: metadata.mode(), kind }
}

/// With a journal, since mkext4 always makes one.
fn write_ours(root: &Node, image: &Path) {
    let (mut tree, mut contents) = (TreeBuilder::default(), Vec::new());
    declare_ours(&mut tree, "", root, &mut contents);
    let built = tree.finish().unwrap();
    let size = Size::Fixed(ByteCount(SIZE));
    let options = Options { journal: true, size, ..Options::new(LABEL, fixed::STORE_IMAGE_UUID) };
    let plan = ext4::plan(&built.tree, &options).unwrap();
    let file = File::options().read(true).write(true).create_new(true).open(image).unwrap();
    let container = ImageFile::create(&file, Format::Raw, plan.size(), &plan.allocated()).unwrap();
    plan.write_metadata(&container).unwrap();
    for (added, content) in &contents {
        plan.write_content(built.node(*added), content, &container, &Job::default()).unwrap();
    }
    container.finish().unwrap();
}

fn declare_ours(tree: &mut TreeBuilder, name: &str, node: &Node, contents: &mut Vec<(Added, FileSource)>) {
    let name = name.as_bytes();
    let added = match &node.kind {
        Kind::Directory(entries) => {
            let directory = tree.open_directory(name).unwrap();
            for (name, child) in entries {
                declare_ours(tree, name, child, contents);
            }
            tree.close_directory(directory).unwrap();
            directory
        }
        Kind::File(bytes) => {
            let file = tree.add_file(name, u64::try_from(bytes.len()).unwrap(), false).unwrap();
            contents.push((file, FileSource::bytes(bytes.clone())));
            file
        }
        Kind::Link(target) => tree.add_symlink(name, target.as_bytes()).unwrap(),
    };
    tree.set_permissions(added, Permissions::new(node.mode));
}

fn write_theirs(root: &Node, image: &Path) {
    let mut options = mkext4::Options::new(SIZE, fixed::STORE_IMAGE_UUID.bytes(), fixed::STORE_TIME.into());
    let seed = fixed::EXT4_HASH_SEED.bytes();
    for (word, bytes) in options.hash_seed.iter_mut().zip(seed.chunks_exact(4)) {
        *word = u32::from_le_bytes(bytes.try_into().unwrap());
    }
    options.label = Some(LABEL.into());
    options.inodes = InodeCount::Exact(INODES);
    let mut builder = FsBuilder::new(options).unwrap();
    builder.set_meta(ROOT, meta(root)).unwrap();
    let mut contents = Vec::new();
    declare_theirs(&mut builder, ROOT, root, &mut contents);
    let layout = builder.seal().unwrap();
    let mut sink = CheckingSink::new(FileSink::create(image, layout.image_len()).unwrap());
    let mut writer = layout.writer(&mut sink).unwrap();
    for (file, mut bytes) in contents {
        writer.fill(file, &mut bytes).unwrap();
    }
    writer.finish().unwrap();
    sink.finish(layout.image_len()).unwrap();
}

fn declare_theirs<'n>(
    builder: &mut FsBuilder,
    parent: InodeHandle,
    node: &'n Node,
    contents: &mut Vec<(InodeHandle, &'n [u8])>,
) {
    let Kind::Directory(entries) = &node.kind else { return };
    for (name, child) in entries {
        match &child.kind {
            Kind::Directory(_) => {
                let directory = builder.mkdir(parent, name, meta(child)).unwrap();
                declare_theirs(builder, directory, child, contents);
            }
            Kind::File(bytes) => {
                let size = u64::try_from(bytes.len()).unwrap();
                let file = builder.file(parent, name, meta(child), size).unwrap();
                if size > 0 {
                    contents.push((file, bytes));
                }
            }
            Kind::Link(target) => {
                builder.symlink(parent, name, target, meta(child)).unwrap();
            }
        }
    }
}

fn meta(node: &Node) -> Meta {
    Meta::new(node.mode, 0, 0, (fixed::STORE_TIME.into(), 0))
}
