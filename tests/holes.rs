//! Files with holes, and images that are large because of them: judged by e2fsck, debugfs, qemu-img and Nix.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Instant;

use assert_cmd::assert::OutputAssertExt;

use testkit::store::Store;
use testkit::{imagegen, run, text, tool};

const GIB: u64 = 1 << 30;

fn store_image(store: &Store, registration: &Path, output: &Path, more: &[&str]) {
    let mut command = imagegen!();
    command.args(["store-image", "--store-root", text(store.root.path())]);
    command.args(["--registration", text(registration), "-o", text(output)]).args(more);
    command.assert().success();
}

/// The name and size of a file, and the places and lengths of data in it.
type Sparse<'s> = (&'s str, u64, &'s [(u64, usize)]);

fn fill(directory: &Path, files: &[Sparse<'_>]) {
    fs::create_dir(directory).unwrap();
    for (name, size, data) in files {
        let file = File::create(directory.join(name)).unwrap();
        file.set_len(*size).unwrap();
        for (offset, length) in *data {
            file.write_all_at(&vec![b'd'; *length], *offset).unwrap();
        }
    }
}

#[test]
fn a_file_with_holes_is_the_same_as_one_with_zeros() {
    const MIB: u64 = 1 << 20;
    let mut store = Store::new();
    let sparse = store.add('a', "sparse");
    fill(
        &sparse,
        &[
            ("begins-with-one", 9 * MIB + 5, &[(3 * MIB + 1000, 10), (4 * MIB, 70_000), (9 * MIB + 4, 1)]),
            ("ends-with-one", 12 * MIB + 1, &[(0, 1), (5 * MIB - 1, 2), (6 * MIB + 4096, 4096)]),
            ("is-one", 10 * MIB, &[]),
            ("is-one-too", 10 * MIB, &[]),
            ("is-one-of-odd-size", 2 * MIB + 123, &[]),
            ("small", 100_000, &[(50_000, 1)]),
            ("without", 3 * MIB, &[(0, 3 << 20)]),
        ],
    );
    let registration = store.register();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let allocated =
        || tool(&["du", "-sk", text(&sparse)]).split_whitespace().next().unwrap().parse::<u64>().unwrap();
    assert!(allocated() < 10 << 10, "the files of the test must have holes");
    let kinds: [&[&str]; 5] = [
        &["--format", "raw"],
        &[],
        &["--compress", "zstd"],
        &["--format", "raw", "--optimise"],
        &["--optimise"],
    ];
    for (i, kind) in kinds.iter().enumerate() {
        store_image(&store, &registration, &at(&format!("{i}")), kind);
        store_image(&store, &registration, &at("unverified"), &[*kind, &["--no-verify"]].concat());
        assert!(
            run(&["cmp", text(&at("unverified")), text(&at(&i.to_string()))]).status.success(),
            "{kind:?}"
        );
    }
    tool(&["e2fsck", "-fn", text(&at("0"))]);
    assert!(at("0").metadata().unwrap().blocks() * 512 < 8 << 20);

    for name in fs::read_dir(&sparse).unwrap().map(|entry| entry.unwrap().path()) {
        let copy = at("copy");
        tool(&["cp", "--sparse=never", text(&name), text(&copy)]);
        fs::remove_file(&name).unwrap();
        tool(&["cp", "--sparse=never", text(&copy), text(&name)]);
    }
    assert!(allocated() > 45 << 10, "the files of the test must have no holes now");
    for (i, kind) in kinds.iter().enumerate() {
        store_image(&store, &registration, &at("whole"), kind);
        assert!(run(&["cmp", text(&at("whole")), text(&at(&i.to_string()))]).status.success(), "{kind:?}");
    }
}

#[test]
#[ignore = "slow: Nix, the program and its verification hash 70 GiB of zeros each"]
fn a_file_of_70_gib_goes_through_the_program() {
    let mut store = Store::new();
    let path = store.add('a', "large");
    // Beyond what one extent, a group, 32 bits of bytes, and 16 GiB hold.
    let places = [0, GIB, 5 * GIB + 4096, 17 * GIB + 100, 69 * GIB, 70 * GIB - 3];
    let data = places.map(|place| (place, 3));
    fill(&path, &[("file", 70 * GIB, &data)]);
    let directory = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| directory.path().join(name);
    let hash = tool(&["nix-hash", "--type", "sha256", text(&path)]);
    // The words of a NAR with one file in a directory take 280 bytes.
    let size = 70 * GIB + 280;
    let registration = store.root.path().join("registration");
    fs::write(&registration, format!("{}\n{}\n{size}\n\n0\n", store.logical(0), hash.trim())).unwrap();

    for (name, options) in [
        ("raw", ["--format", "raw"].as_slice()),
        ("qcow2", &[]),
        ("raw-unverified", &["--format", "raw", "--no-verify"]),
        ("qcow2-unverified", &["--no-verify"]),
    ] {
        let begun = Instant::now();
        store_image(&store, &registration, &at(name), options);
        println!(
            "{name}: {:.1} s, {} KiB",
            begun.elapsed().as_secs_f64(),
            at(name).metadata().unwrap().blocks() / 2
        );
    }
    tool(&["e2fsck", "-fn", text(&at("raw"))]);
    tool(&["qemu-img", "check", text(&at("qcow2"))]);
    assert!(run(&["cmp", text(&at("qcow2")), text(&at("qcow2-unverified"))]).status.success());
    let compared = tool(&["qemu-img", "compare", text(&at("raw-unverified")), text(&at("qcow2"))]);
    assert!(compared.contains("identical"), "{compared}");

    // What was written is where debugfs says that it is.
    let name = store.logical(0).replace("/nix/store", "");
    let image = File::open(at("raw")).unwrap();
    for place in places {
        let request = format!("bmap {name}/file {}", place / 4096);
        let block: u64 = tool(&["debugfs", "-R", &request, text(&at("raw"))]).trim().parse().unwrap();
        let mut found = [0; 3];
        image.read_exact_at(&mut found, block * 4096 + place % 4096).unwrap();
        assert_eq!(&found, b"ddd", "{place}");
    }
    imagegen!()
        .args(["verify", text(&at("qcow2")), "--registration", text(&registration)])
        .assert()
        .success();
}

#[test]
#[ignore = "slow: e2fsck reads the bitmaps of 26,000 block groups"]
fn a_file_system_of_more_than_2_tib_goes_through_the_program() {
    let store = Store::awkward();
    let registration = store.register();
    let directory = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| directory.path().join(name);
    let size = (3200 * GIB).to_string();
    for (name, format) in [("raw", "raw"), ("qcow2", "qcow2")] {
        let begun = Instant::now();
        store_image(&store, &registration, &at(name), &["--format", format, "--size", &size]);
        println!(
            "{name}: {:.1} s, {} KiB",
            begun.elapsed().as_secs_f64(),
            at(name).metadata().unwrap().blocks() / 2
        );
    }
    assert_eq!(at("raw").metadata().unwrap().len(), 3200 * GIB);
    tool(&["e2fsck", "-fn", text(&at("raw"))]);
    tool(&["qemu-img", "check", text(&at("qcow2"))]);
    let shown = tool(&["dumpe2fs", "-h", text(&at("raw"))]);
    assert!(shown.contains(&format!("Block count:              {}", 3200 * GIB / 4096)), "{shown}");
    imagegen!()
        .args(["verify", text(&at("qcow2")), "--registration", text(&registration)])
        .assert()
        .success();
}
