//! Raw and qcow2 files against qemu-img, for random plans, pieces and threads.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use imagegen::container::{Compression, Format, ImageFile, Sink, detect_format, virtual_size};
use imagegen::units::{ByteCount, GuestOffset, GuestRange};

/// A small generator of numbers (xorshift64*), so that a failing case can be had again by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % limit
    }
}

/// What is to be written: the disk's contents and the ranges that may differ from zeros.
struct Case {
    disk: Vec<u8>,
    allocated: Vec<GuestRange>,
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

/// Ranges of all lengths with gaps of all lengths, some of them filled with zeros, wholly or in part.
fn case(seed: u64) -> Case {
    let mut random = Random(seed);
    let mut disk = vec![0; size(512 * (1 + random.below(40_000)))];
    let mut allocated = Vec::new();
    let mut at = 0;
    loop {
        let scale = 1 << random.below(21);
        let start = at + random.below(scale);
        let end = start + 1 + random.below(scale);
        if size(end) > disk.len() {
            return Case { disk, allocated };
        }
        allocated.push(GuestOffset(start)..GuestOffset(end));
        let fill = random.below(4);
        for byte in &mut disk[size(start)..size(end)] {
            *byte = match fill {
                0 => 0,
                1 => u8::try_from(random.below(2) * random.below(256)).unwrap(),
                _ => 0xA5,
            };
        }
        if fill == 2 {
            let middle = start + random.below(end - start);
            disk[size(middle)..size(end)].fill(0);
        }
        at = end;
    }
}

/// Writes the case in pieces cut at random, in random order, by several threads.
fn write(case: &Case, path: &Path, format: Format, threads: u64, seed: u64) {
    write_as(case, path, format, None, threads, seed);
}

/// The same, compressed if asked to.
fn write_as(
    case: &Case,
    path: &Path,
    format: Format,
    compression: Option<Compression>,
    threads: u64,
    seed: u64,
) {
    let mut random = Random(seed);
    let mut pieces = Vec::new();
    for range in &case.allocated {
        let mut at = range.start.0;
        while at < range.end.0 {
            let end = range.end.0.min(at + 1 + random.below(200_000));
            pieces.push(at..end);
            at = end;
        }
    }
    for i in (1..pieces.len()).rev() {
        pieces.swap(i, size(random.below(u64::try_from(i).unwrap() + 1)));
    }
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    let disk_size = ByteCount(u64::try_from(case.disk.len()).unwrap());
    let image = match compression {
        Some(compression) => {
            ImageFile::create_compressed(&file, compression, disk_size, &case.allocated).unwrap()
        }
        None => ImageFile::create(&file, format, disk_size, &case.allocated).unwrap(),
    };
    std::thread::scope(|scope| {
        for share in pieces.chunks(pieces.len().div_ceil(size(threads)).max(1)) {
            let image = &image;
            scope.spawn(move || {
                for piece in share {
                    image
                        .data(GuestOffset(piece.start), &case.disk[size(piece.start)..size(piece.end)])
                        .unwrap();
                }
            });
        }
    });
    image.finish().unwrap();
    assert_eq!(detect_format(&file).unwrap(), format);
    assert_eq!(virtual_size(&file, format).unwrap(), disk_size);
}

fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output().expect("qemu-img is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn qemu_reads_what_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).into_os_string().into_string().unwrap();
    for seed in 1..60 {
        let case = case(seed);
        let (raw, qcow2, back) = (at("raw"), at("qcow2"), at("back"));
        write(&case, Path::new(&raw), Format::Raw, 2, seed);
        assert!(fs::read(&raw).unwrap() == case.disk, "seed {seed}: the raw image differs");
        write(&case, Path::new(&qcow2), Format::Qcow2, 3, seed);
        // `check` fails for leaked clusters too.
        qemu_img(&["check", &qcow2]);
        qemu_img(&["convert", "-f", "qcow2", "-O", "raw", &qcow2, &back]);
        assert!(fs::read(&back).unwrap() == case.disk, "seed {seed}: the qcow2 image differs");
    }
}

#[test]
fn bytes_do_not_depend_on_order_or_threads() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    for seed in 1..30 {
        let case = case(seed);
        write(&case, &a, Format::Qcow2, 1, seed);
        write(&case, &b, Format::Qcow2, 4, seed + 1000);
        assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap(), "seed {seed}");
    }
}

#[test]
fn qemu_reads_what_was_compressed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).into_os_string().into_string().unwrap();
    for seed in 1..9 {
        let mut case = case(seed);
        // Ranges that do not get shorter stand between ranges that do.
        let mut random = Random(seed + 77);
        for range in case.allocated.iter().step_by(3) {
            for byte in &mut case.disk[size(range.start.0)..size(range.end.0)] {
                *byte = u8::try_from(random.below(256)).unwrap();
            }
        }
        for compression in [Compression::Zlib, Compression::Zstd] {
            let (qcow2, again, back) = (at("qcow2"), at("again"), at("back"));
            write_as(&case, Path::new(&qcow2), Format::Qcow2, Some(compression), 1, seed);
            qemu_img(&["check", &qcow2]);
            qemu_img(&["convert", "-f", "qcow2", "-O", "raw", &qcow2, &back]);
            assert!(fs::read(&back).unwrap() == case.disk, "seed {seed}: the image differs");
            write_as(&case, Path::new(&again), Format::Qcow2, Some(compression), 4, seed + 1000);
            assert!(fs::read(&qcow2).unwrap() == fs::read(&again).unwrap(), "seed {seed}: threads");
        }
    }
}

#[test]
fn clusters_are_compressed_unless_that_makes_them_longer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let mut random = Random(5);
    let mut disk = vec![b'x'; 64 << 16];
    for byte in &mut disk[..16 << 16] {
        *byte = u8::try_from(random.below(256)).unwrap();
    }
    disk[32 << 16..].fill(0);
    let case = Case { allocated: vec![GuestOffset(0)..GuestOffset(64 << 16)], disk };
    for (compression, name) in [(Compression::Zlib, "zlib"), (Compression::Zstd, "zstd")] {
        write_as(&case, &path, Format::Qcow2, Some(compression), 2, 1);
        // Five clusters of tables, sixteen of noise, and one that all the others share.
        assert_eq!(path.metadata().unwrap().len(), 22 << 16);
        let check: serde_json::Value =
            serde_json::from_str(&qemu_img(&["check", "--output=json", path.to_str().unwrap()])).unwrap();
        assert_eq!(check["compressed-clusters"], 16, "{check}");
        assert_eq!(check["allocated-clusters"], 32, "{check}");
        let info: serde_json::Value =
            serde_json::from_str(&qemu_img(&["info", "--output=json", path.to_str().unwrap()])).unwrap();
        assert_eq!(info["format-specific"]["data"]["compression-type"], name);
    }
}

#[test]
fn zero_clusters_are_not_allocated_and_leave_no_gap() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let mut disk = vec![0; 64 << 16];
    disk[5 << 16] = 1;
    disk[63 << 16] = 2;
    let case = Case { allocated: vec![GuestOffset(0)..GuestOffset(64 << 16)], disk };
    write(&case, &path, Format::Qcow2, 1, 1);
    // Header, refcount table, refcount block, L1 table, L2 table and two clusters of data.
    assert_eq!(path.metadata().unwrap().len(), 7 << 16);
    let map: serde_json::Value =
        serde_json::from_str(&qemu_img(&["map", "--output=json", path.to_str().unwrap()])).unwrap();
    let data: Vec<_> = map.as_array().unwrap().iter().filter(|extent| extent["data"] == true).collect();
    assert_eq!(data.len(), 2, "{map}");
}

#[test]
fn what_was_not_planned_is_refused() {
    let file = tempfile::tempfile().unwrap();
    let range = |start, end| GuestOffset(start)..GuestOffset(end);
    let image = ImageFile::create(&file, Format::Qcow2, ByteCount(1 << 20), &[range(0, 1 << 16)]).unwrap();
    assert!(image.data(GuestOffset(1 << 17), &[1]).unwrap_err().to_string().contains("131072"));
    for plan in
        [vec![range(0, 2 << 20)], vec![range(4096, 8192), range(0, 100)], vec![range(0, 100), range(50, 200)]]
    {
        assert!(ImageFile::create(&file, Format::Qcow2, ByteCount(1 << 20), &plan).is_err());
    }
}
