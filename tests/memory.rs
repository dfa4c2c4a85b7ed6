//! What a store image of a million files takes of memory, as wait4(2) tells `bench`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;

use assert_cmd::assert::OutputAssertExt;

use testkit::store::Store;
use testkit::{imagegen, text};

const FILES: u64 = 1_000_000;
/// 100 MiB and 400 bytes a file.
const LIMIT: u64 = (100 << 20) + 400 * FILES;

#[test]
#[ignore = "slow: it makes a million files and writes 4 GiB"]
fn a_million_files_take_a_hundred_mebibytes_and_400_bytes_each() {
    let mut store = Store::new();
    let path = store.add('a', "million");
    for directory in 0..1000 {
        let directory = path.join(format!("directory-{directory:04}"));
        fs::create_dir_all(&directory).unwrap();
        // Hard links are made faster than files, and are files all the same to the image.
        let first = directory.join("a-small-file-0000");
        fs::write(&first, "x").unwrap();
        for file in 1..FILES / 1000 {
            fs::hard_link(&first, directory.join(format!("a-small-file-{file:04}"))).unwrap();
        }
    }
    let registration = store.root.path().join("registration");
    fs::write(&registration, format!("{}\n\n0\n\n0\n", store.logical(0))).unwrap();
    let directory = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let figures = directory.path().join("figures");
    let optimise = r#"optimise="$IMAGEGEN" store-image --quiet --registration "$REGISTRATION" --store-root "$ROOT" \
        --optimise -o "$OUT""#;
    let mut bench = imagegen!();
    bench.args(["bench", "--registration", text(&registration), "--store-root", text(store.root.path())]);
    bench.args(["--rounds", "1", "--only", "qcow2,optimise", "--peer", optimise]);
    bench.args(["--dir", text(directory.path()), "--json", text(&figures)]).assert().success();
    let figures: serde_json::Value = serde_json::from_slice(&fs::read(&figures).unwrap()).unwrap();
    let results = figures["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        let memory = result["peak_memory_bytes"].as_u64().unwrap();
        println!("{}: {} MiB, {} bytes a file", result["name"], memory >> 20, memory / FILES);
        assert!(memory < LIMIT, "{result}");
    }
}
