//! The rooms of the library one by one: how long planning, hashing and writing take apart from everything else.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a benchmark may panic")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use imagegen::boot::Loaders;
use imagegen::container::{Format, ImageFile, Sink};
use imagegen::fixed;
use imagegen::fs::ext4;
use imagegen::fs::file_source::{FileSource, NamedFile};
use imagegen::fs::file_tree::{Tree, TreeBuilder};
use imagegen::image::boot_disk;
use imagegen::job::Job;
use imagegen::nix::nar::{self, Hasher, Step, Walk};
use imagegen::units::{ByteCount, GuestOffset};

const DIRECTORIES: usize = 1000;
const FILES_EACH: usize = 50;
/// Files of the trees below are so long; nothing of them is on disk.
const FILE: u64 = 10_000;

/// A store path of 50,000 files.
fn spread_tree() -> Tree {
    let mut tree = TreeBuilder::default();
    let root = tree.open_directory(b"").unwrap();
    let top = tree.open_directory(b"00000000000000000000000000000000-tree").unwrap();
    for number in 0..DIRECTORIES {
        let directory = tree.open_directory(format!("directory-{number:04}").as_bytes()).unwrap();
        add_files(&mut tree, FILES_EACH);
        tree.close_directory(directory).unwrap();
    }
    tree.close_directory(top).unwrap();
    tree.close_directory(root).unwrap();
    tree.finish().unwrap().tree
}

/// The same number of files in one directory, which needs a hash index of two levels.
fn flat_tree() -> Tree {
    let mut tree = TreeBuilder::default();
    let root = tree.open_directory(b"").unwrap();
    add_files(&mut tree, DIRECTORIES * FILES_EACH);
    tree.close_directory(root).unwrap();
    tree.finish().unwrap().tree
}

fn add_files(tree: &mut TreeBuilder, number: usize) {
    for file in 0..number {
        tree.add_file(format!("some-file-{file:05}.h").as_bytes(), FILE, false).unwrap();
    }
}

fn options() -> ext4::Options {
    ext4::Options::new(fixed::STORE_IMAGE_LABEL, fixed::STORE_IMAGE_UUID)
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn data(&self, _offset: GuestOffset, bytes: &[u8]) -> std::io::Result<()> {
        black_box(bytes);
        Ok(())
    }
}

/// Planning a file system, and making its metadata, of 50,000 files.
fn file_system(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ext4, 50,000 files");
    group.throughput(Throughput::Elements(u64::try_from(DIRECTORIES * FILES_EACH).unwrap()));
    group.sample_size(20);
    for (name, tree) in [("spread", spread_tree()), ("flat", flat_tree())] {
        group.bench_function(format!("plan, {name}"), |bencher| {
            bencher.iter(|| black_box(ext4::plan(&tree, &options()).unwrap().size()));
        });
        let plan = ext4::plan(&tree, &options()).unwrap();
        group.bench_function(format!("metadata, {name}"), |bencher| {
            bencher.iter(|| plan.write_metadata(&Nowhere).unwrap());
        });
    }
    group.finish();
}

/// Hashing a NAR: its framing with 50,000 files, and the contents of a large file.
fn nar_hash(criterion: &mut Criterion) {
    let tree = spread_tree();
    let root = tree.children(tree.nodes().next().unwrap()).next().unwrap();
    let contents = vec![b'x'; usize::try_from(FILE).unwrap()];
    let mut group = criterion.benchmark_group("NAR");
    group.throughput(Throughput::Bytes(nar::size(&tree, root)));
    group.sample_size(10);
    group.bench_function("size, 50,000 files", |bencher| bencher.iter(|| nar::size(&tree, root)));
    group.bench_function("hash, 50,000 files of 10 kB", |bencher| {
        bencher.iter(|| {
            let mut hasher = Hasher::default();
            let mut framing = Vec::new();
            let mut walk = Walk::new(&tree, root);
            while let Some(step) = walk.next(&mut framing) {
                hasher.update(&framing);
                framing.clear();
                if let Step::Contents { size, .. } = step {
                    hasher.update(&contents);
                    hasher.update(nar::padding(size));
                }
            }
            hasher.finish()
        });
    });
    group.throughput(Throughput::Bytes(2 * FILE));
    group.bench_function("hash, two files of 10 kB, one after the other", |bencher| {
        let mut hashers = [Hasher::default(), Hasher::default()];
        bencher.iter(|| hashers.each_mut().map(|hasher| hasher.update(black_box(&contents))));
    });
    group.bench_function("hash, two files of 10 kB at once", |bencher| {
        let [mut a, mut b] = [Hasher::default(), Hasher::default()];
        bencher.iter(|| Hasher::update_pair([&mut a, &mut b], [black_box(&contents), black_box(&contents)]));
    });
    group.finish();
}

/// Writing 64 MiB of contents to an image file in pieces of 1 MiB, into the page cache.
fn containers(criterion: &mut Criterion) {
    const SIZE: u64 = 64 << 20;
    const PIECE: u64 = 1 << 20;
    let piece: Vec<u8> = (0..PIECE).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let mut group = criterion.benchmark_group("container, 64 MiB");
    group.throughput(Throughput::Bytes(SIZE));
    group.sample_size(10);
    for format in [Format::Raw, Format::Qcow2] {
        group.bench_function(format.name(), |bencher| {
            let allocated = [GuestOffset(0)..GuestOffset(SIZE)];
            bencher.iter_batched(
                || tempfile::tempfile().unwrap(),
                |file| {
                    let image = ImageFile::create(&file, format, ByteCount(SIZE), &allocated).unwrap();
                    for offset in (0..SIZE).step_by(usize::try_from(PIECE).unwrap()) {
                        image.data(GuestOffset(offset), &piece).unwrap();
                    }
                    image.finish().unwrap();
                    file
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// A boot disk with 20 MiB of kernel and initrd, from the plan to the file.
fn boot_disks(criterion: &mut Criterion) {
    let bytes = |size: usize| FileSource::bytes(vec![b'k'; size]);
    let files = vec![
        NamedFile::new("EFI/BOOT/BOOTX64.EFI", bytes(100 << 10)),
        NamedFile::new("EFI/nixos/kernel.efi", bytes(8 << 20)),
        NamedFile::new("EFI/nixos/initrd.efi", bytes(12 << 20)),
        NamedFile::new("loader/loader.conf", bytes(40)),
        NamedFile::new("loader/entries/nixos-generation-1.conf", bytes(300)),
    ];
    let mut loaders = Loaders::default();
    loaders.add_files(files);
    let plan = || boot_disk::plan(boot_disk::DEFAULT_SIZE, &loaders, None).unwrap();
    let mut group = criterion.benchmark_group("boot disk");
    group.bench_function("partition table", |bencher| {
        bencher.iter(|| black_box(boot_disk::layout(boot_disk::DEFAULT_SIZE).unwrap().table().unwrap()));
    });
    group.bench_function("plan", |bencher| bencher.iter(plan));
    group.sample_size(20);
    for format in [Format::Raw, Format::Qcow2] {
        group.bench_function(format!("plan and write, {}", format.name()), |bencher| {
            bencher.iter_batched(
                || tempfile::tempfile().unwrap(),
                |file| {
                    let plan = plan();
                    let image = ImageFile::create(&file, format, plan.size(), &plan.allocated()).unwrap();
                    plan.write(&image, &Job::default()).unwrap();
                    image.finish().unwrap();
                    file
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(rooms, file_system, nar_hash, containers, boot_disks);
criterion_main!(rooms);
