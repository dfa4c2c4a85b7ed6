//! Input that somebody else has made, perhaps to do harm: the invariants of the fuzz targets, held for their seeds and
//! for many damaged copies of them. `fuzz/README.md` says how to look further.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use imagegen::container::reader::{Backing, Image};
use imagegen::fs::file_tree::{NodeId, TreeBuilder};
use imagegen::nix::nar;
use imagegen::reading::diff::diff;
use testkit::hostile::{files, images, invariants, seeds};

/// How many damaged copies of the seeds each target gets at least.
const MUTATIONS: usize = 4000;
/// The same where each is read as a whole, several times.
const MUTATIONS_OF_DISKS: usize = 400;

/// A small generator of numbers (xorshift64*), so that a failing case can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16).unwrap() % limit
    }

    fn byte(&mut self) -> u8 {
        // Numbers at the edges find more than others.
        const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xfe, 0xff, b'\n', b'/'];
        if self.below(2) == 0 { EDGES[self.below(8)] } else { u8::try_from(self.below(256)).unwrap() }
    }
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let length = 1 + random.below(8);
        let end = bytes.len().min(at + length);
        match random.below(7) {
            0 => bytes[at..end].fill_with(|| random.byte()),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => drop(bytes.splice(at..at, (0..length).map(|_| random.byte()).collect::<Vec<_>>())),
            4 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                bytes.splice(at.., other[from..].iter().copied());
            }
            5 => {
                let piece = bytes[at..].to_vec();
                bytes.extend(piece);
            }
            _ => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << random.below(8)),
        }
        bytes.truncate(1 << 20);
    }
}

fn hold(target: &str) {
    let invariant = invariants::TARGETS.iter().find(|(name, _)| *name == target).expect("a target").1;
    let seeds = seeds::of(target);
    for seed in &seeds {
        invariant(seed);
    }
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut runs = 0;
    let least = if target == "diff" { MUTATIONS_OF_DISKS } else { MUTATIONS };
    // CI asks for more than a person would wait for.
    let seconds = std::env::var("FUZZ_SECONDS").map_or(0, |seconds| seconds.parse().expect("seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    for i in (0..).take_while(|&i| i < least || Instant::now() < end) {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        mutate(&mut bytes, &seeds, &mut random);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| invariant(&bytes))) {
            let file = std::env::temp_dir().join(format!("{target}-{i}"));
            std::fs::write(&file, &bytes).unwrap();
            eprintln!("the input is kept as {}", file.display());
            std::panic::resume_unwind(panic);
        }
        runs = i + 1;
    }
    println!("{target}: {runs} damaged inputs");
}

#[test]
fn every_target_has_a_test() {
    let source = include_str!("hostile.rs");
    for (target, _) in invariants::TARGETS {
        assert!(source.contains(&format!("hold(\"{target}\")")), "{target}");
    }
}

#[test]
fn registrations() {
    hold("registration");
}

#[test]
fn references_graphs() {
    hold("references_graph");
}

#[test]
fn bootspecs() {
    hold("toplevel");
}

#[test]
fn toplevels_without_bootspec() {
    hold("toplevel_links");
}

#[test]
fn variable_stores() {
    hold("variable_store");
}

#[test]
fn variables_in_json() {
    hold("variables_json");
}

#[test]
fn partition_tables() {
    hold("partition_table");
}

#[test]
fn fat_file_systems() {
    hold("fat");
}

#[test]
fn ext4_file_systems() {
    hold("ext4");
}

#[test]
fn qcow2_images() {
    hold("qcow2");
}

#[test]
fn compressed_qcow2_images() {
    hold("qcow2_packed");
}

#[test]
fn inspected_images() {
    hold("inspect");
}

#[test]
fn compared_images() {
    hold("diff");
}

#[test]
fn databases() {
    hold("database");
}

/// Found by the target `diff`: of two images of which one cannot be read, the problem was always told of the first.
#[test]
fn an_image_that_cannot_be_compared_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let [whole, damaged] = ["whole", "damaged"].map(|name| directory.path().join(name));
    let mut bytes = images::store_image().bytes.clone();
    std::fs::write(&whole, &bytes).unwrap();
    // The number of blocks in the superblock (s_blocks_count_lo).
    bytes[1028..1032].fill(0xff);
    std::fs::write(&damaged, &bytes).unwrap();
    let [whole, damaged] =
        [whole, damaged].map(|path| Image::open(&path, None, &Backing::Near(Vec::new())).unwrap());
    let found = diff(&whole, &damaged, true).unwrap();
    assert_eq!((found.len(), found[0].left.as_str()), (1, "readable"), "{found:?}");
    // Told before what the field says, which nobody can trust.
    assert!(found[0].right.contains("the superblock is damaged: its checksum is"), "{found:?}");
    let turned = diff(&damaged, &whole, true).unwrap();
    assert_eq!((&turned[0].left, &turned[0].right), (&found[0].right, &found[0].left));
}

/// Found by the target `diff`: a file that could not be read hid what came behind it, in one order of the images.
#[test]
fn a_file_that_cannot_be_compared_hides_no_other() {
    let input = [
        0, 2, 0, 32, 32, 1, 1, 4, 85, 85, 56, 85, 85, 85, 85, 255, 32, 32, 1, 1, 4, 85, 85, 56, 0, 0, 0, 4,
        70,
    ];
    files::diff_images(&input);
}

/// Found by the target `ext4`: files of a damaged image whose lengths do not add up in 64 bits.
#[test]
fn lengths_that_add_up_to_more_than_there_is() {
    let mut tree = TreeBuilder::default();
    let top = tree.open_directory(b"top").unwrap();
    for (name, size) in [(b"a", u64::MAX), (b"b", u64::MAX - 3), (b"c", 1)] {
        tree.add_file(name, size, false).unwrap();
    }
    tree.close_directory(top).unwrap();
    assert_eq!(nar::size(&tree.finish().unwrap().tree, NodeId(0)), u64::MAX);
    assert_eq!([0, 1, 7, 8, u64::MAX].map(|size| nar::padding(size).len()), [0, 7, 1, 0, 1]);
}
