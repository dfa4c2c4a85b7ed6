//! Images in which bytes were changed at random places: whatever is there, it is told or refused, without a panic and
//! in bounded time. A debug build also panics on any sum that overflows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use imagegen::container::reader::{Backing, Image};
use imagegen::fs::ext4::reader::FileSystem;
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::reading::diff::diff;
use imagegen::reading::inspect::inspect;
use imagegen::reading::verify::verify;

fn tool(command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Numbers that are the same in every run (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

fn read_everything(image: &Path, whole: &Image) {
    let Ok(damaged) = Image::open(image, None, &Backing::Near(Vec::new())) else { return };
    let _ = inspect(&damaged);
    let _ = diff(whole, &damaged, false);
    if let Ok(file_system) = FileSystem::open(&damaged) {
        let _ = verify(&file_system, &Registration::default(), &Job::default());
    }
}

/// Damages copies of an image in its first `region` bytes that are not zero, a few bytes each time.
fn damage(image: &Path, region: usize, rounds: usize) {
    let bytes = fs::read(image).unwrap();
    let whole = Image::open(image, None, &Backing::Near(Vec::new())).unwrap();
    let places: Vec<usize> = (0..bytes.len().min(region)).filter(|&i| bytes[i] != 0).collect();
    let copy = image.with_extension("damaged");
    let mut numbers = Numbers(1);
    for _ in 0..rounds {
        let mut bytes = bytes.clone();
        for _ in 0..=numbers.below(4) {
            // Beside what is in use too: high bytes of numbers are mostly zeros.
            let place = (places[numbers.below(places.len())] + numbers.below(4)).min(bytes.len() - 1);
            bytes[place] = [0, 0xFF, 0x7F, 0x80][numbers.below(4)];
        }
        fs::write(&copy, bytes).unwrap();
        read_everything(&copy, &whole);
    }
}

#[test]
fn ext4_without_checksums() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let source = directory.path().join("source");
    fs::create_dir_all(source.join("a/b")).unwrap();
    fs::write(source.join("a/file"), vec![3; 20_000]).unwrap();
    std::os::unix::fs::symlink("x".repeat(100), source.join("a/b/link")).unwrap();
    let (image_text, source) = (image.to_str().unwrap(), source.to_str().unwrap());
    tool(&[
        "mkfs.ext4",
        "-q",
        "-b",
        "1024",
        "-O",
        "^metadata_csum,^has_journal,^resize_inode",
        "-N",
        "32",
        "-d",
        source,
        image_text,
        "300K",
    ]);
    damage(&image, 300 << 10, 300);
}

#[test]
fn partition_table_and_fat() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    fs::write(&image, vec![0; 2 << 20]).unwrap();
    let text = image.to_str().unwrap();
    tool(&["sgdisk", "-a", "1", "-n", "1:64:", "-t", "1:ef00", text]);
    tool(&["mkfs.fat", "-F12", "--offset", "64", text, "1000"]);
    let volume = format!("{text}@@32K");
    tool(&["mmd", "-i", &volume, "::loader", "::loader/entries", "::A long name"]);
    damage(&image, 64 << 10, 300);
}

#[test]
fn qcow2_plain_and_packed() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("raw");
    let contents: Vec<u8> = (0..200_000_u32).flat_map(|i| (i % 911).to_le_bytes()).collect();
    fs::write(&raw, contents).unwrap();
    for (name, options) in
        [("plain", vec![]), ("zlib", vec!["-c"]), ("zstd", vec!["-c", "-o", "compression_type=zstd"])]
    {
        let image = directory.path().join(name);
        let mut command = vec!["qemu-img", "convert", "-O", "qcow2"];
        command.extend(options);
        command.extend([raw.to_str().unwrap(), image.to_str().unwrap()]);
        tool(&command);
        damage(&image, 400 << 10, 60);
    }
}
