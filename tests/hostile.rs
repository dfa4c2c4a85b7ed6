//! Registrations that claim what cannot be: an error, and no panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;

use testkit::store::Store;
use testkit::{imagegen, text};

#[test]
fn sizes_that_do_not_add_up_are_wrong_and_no_more() {
    let mut store = Store::new();
    for digit in ['a', 'b'] {
        fs::write(store.add(digit, "file"), "contents").unwrap();
    }
    let registration = store.register();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let root = text(store.root.path());
    let run = |arguments: &[&str]| imagegen!().args(arguments).output().unwrap();
    let options = ["--registration", text(&registration), "--store-root", root, "-o", text(&image)];
    assert!(run(&[&["store-image"], &options[..]].concat()).status.success());

    let mut lines: Vec<String> =
        fs::read_to_string(&registration).unwrap().lines().map(str::to_owned).collect();
    for size in lines.iter_mut().skip(2).step_by(6) {
        *size = u64::MAX.to_string();
    }
    fs::write(&registration, lines.join("\n") + "\n").unwrap();
    let made = run(&[&["store-image"], &options[..]].concat());
    let verified = run(&["verify", text(&image), "--registration", text(&registration)]);
    for output in [made, verified] {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}
