//! Images that show far more than they hold: what is read costs time by what is there, and a small file that claims more
//! than it can hold is damaged. To read all of it would take hours; the watchdog gives each command a minute.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Command, Output};

use testkit::store::Store;
use testkit::{imagegen, text, tool};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> String {
        text(&self.0.path().join(name)).to_owned()
    }

    fn qcow2(&self, name: &str, cluster: &str, size: &str) -> String {
        let image = self.at(name);
        let option = format!("cluster_size={cluster}");
        tool(&["qemu-img", "create", "-q", "-f", "qcow2", "-o", &option, &image, size]);
        image
    }

    fn raw(&self, name: &str, size: u64) -> String {
        File::create(self.at(name)).unwrap().set_len(size).unwrap();
        self.at(name)
    }
}

/// Runs the program for at most a minute.
fn run(arguments: &[&str]) -> Output {
    let program = imagegen!().get_program().to_owned();
    let output =
        Command::new("timeout").args(["--signal=KILL", "60"]).arg(program).args(arguments).output().unwrap();
    assert!(output.status.code().is_some(), "{arguments:?} took more than a minute");
    output
}

fn says(arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = run(arguments);
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn nothing_takes_no_time_however_large_it_is() {
    let place = Place::new();
    let images = [
        place.qcow2("a", "64k", "64T"),
        place.qcow2("b", "2M", "64T"),
        place.qcow2("huge", "2M", "1E"),
        place.raw("c", 15 << 40),
    ];
    for image in &images {
        assert_eq!(says(&["diff", image, image]), (0, String::new()));
        assert_eq!(says(&["diff", "--ignore-container", image, image]), (0, String::new()));
        let (code, told) = says(&["inspect", image]);
        assert!(code == 0 && told.ends_with("zeros\n"), "{told}");
        assert_eq!(says(&["inspect", "--json", image]).0, 0);
    }
    assert_eq!(says(&["diff", "--ignore-container", &images[0], &images[1]]), (0, String::new()));
}

#[test]
fn a_byte_in_much_nothing_is_found() {
    let place = Place::new();
    let (left, right) = (place.qcow2("left", "64k", "64T"), place.qcow2("right", "64k", "64T"));
    tool(&["qemu-io", "-c", "write -q -P 7 60T 512", &right]);
    let (code, told) = says(&["diff", "--ignore-container", &left, &right]);
    assert_eq!(code, 1);
    assert!(told.contains("at guest offset 0x3c0000000000") && told.contains(": 00 | 07"), "{told}");
    // In a backing file, behind the end of what lies over it, and behind a mark that it reads as zeros.
    tool(&["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "right", &place.at("over")]);
    assert_eq!(says(&["diff", "--ignore-container", &right, &place.at("over")]), (0, String::new()));
    assert_eq!(says(&["diff", "--ignore-container", &left, &place.at("over")]), (1, told));
    tool(&["qemu-io", "-c", "write -q -z 60T 64k", &place.at("over")]);
    assert_eq!(says(&["diff", "--ignore-container", &left, &place.at("over")]), (0, String::new()));
    tool(&[
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "right",
        &place.at("short"),
        "59T",
    ]);
    let cut = place.qcow2("cut", "64k", "59T");
    assert_eq!(says(&["diff", "--ignore-container", &cut, &place.at("short")]), (0, String::new()));

    let (one, other) = (place.raw("one", 15 << 40), place.raw("other", 15 << 40));
    for (offset, byte) in [(14_u64 << 40, 1), ((14 << 40) - (1 << 30), 2), ((1 << 20) + 5, 3)] {
        File::options().write(true).open(&other).unwrap().write_all_at(&[byte], offset).unwrap();
        let (code, told) = says(&["diff", &one, &other]);
        assert_eq!(code, 1);
        assert!(told.contains(&format!("at guest offset {offset:#x}")), "{told}");
    }
}

/// Two images of one file of 200 GiB that is nearly all hole.
#[test]
fn holes_of_files_in_images_are_passed_over() {
    let place = Place::new();
    let mut images = Vec::new();
    for (name, last) in [("one", 1), ("other", 2)] {
        let mut store = Store::new();
        let path = store.add('a', "sparse");
        let file = File::create(path).unwrap();
        file.set_len(200 << 30).unwrap();
        file.write_all_at(&[last], 199 << 30).unwrap();
        let registration = store.root.path().join("registration");
        fs::write(&registration, format!("{}\n\n0\n\n0\n", store.logical(0))).unwrap();
        let image = place.at(name);
        let root = text(store.root.path());
        let line =
            ["store-image", "--format=raw", "--registration", text(&registration), "--store-root", root];
        assert_eq!(says(&[&line[..], &["-o", &image]].concat()).0, 0);
        images.push(image);
    }
    let (code, told) = says(&["diff", &images[0], &images[1]]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains(&format!("first differing byte, at {:#x}", 199_u64 << 30)), "{told}");
    assert_eq!(says(&["inspect", &images[0]]).0, 0);
}

/// Tables all of whose entries lead to one cluster: a few megabytes would show half a terabyte of data.
#[test]
fn a_small_file_cannot_claim_much() {
    let place = Place::new();
    let empty = place.qcow2("empty", "2M", "512G");
    let image = place.qcow2("image", "2M", "512G");
    tool(&["qemu-io", "-c", "write -q -P 1 0 2M", &image]);
    let word = |file: &File, at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_be_bytes(bytes)
    };
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let l2 = word(&file, word(&file, 40)) & 0x00FF_FFFF_FFFF_FE00;
    let entry = word(&file, l2);
    for (entry, is_damaged) in [
        (entry, true),
        // Compressed, all at one place.
        (1 << 62 | (entry & 0x00FF_FFFF_FFFF_FE00), true),
        // Zeros cost nothing.
        (1, false),
    ] {
        file.write_all_at(&entry.to_be_bytes().repeat((2 << 20) / 8), l2).unwrap();
        for arguments in [
            &["inspect", &image][..],
            &["diff", &empty, &image],
            &["diff", "--ignore-container", &empty, &image],
        ] {
            let (code, told) = says(arguments);
            let is_refused = told.contains("its cluster in the file is used twice");
            assert_eq!(is_refused, is_damaged, "{entry:#x} {arguments:?}: {code} {told}");
        }
    }
}
