//! `verify`, on images in every form that qemu-img makes, and on images that were changed with debugfs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use testkit::store::Store;
use testkit::{imagegen, text, tool};

/// A store, its registration and its image.
struct Fixture {
    store: Store,
    registration: PathBuf,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let store = Store::awkward();
        let registration = store.register();
        let fixture = Self { store, registration, directory: tempfile::tempdir().unwrap() };
        for format in ["raw", "qcow2"] {
            let registration = text(&fixture.registration);
            let output = imagegen!()
                .args(["store-image", "--registration", registration, "--format", format])
                .args(["--store-root", text(fixture.store.root.path()), "-o", text(&fixture.at(format))])
                .output()
                .unwrap();
            assert!(output.status.success());
        }
        fixture
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn verify(&self, image: &Path, more: &[&str]) -> Output {
        let mut command = imagegen!();
        command.args(["verify", text(image), "--registration", text(&self.registration)]).args(more);
        command.output().unwrap()
    }

    /// A raw copy that debugfs has changed.
    fn changed(&self, name: &str, commands: &[&str]) -> PathBuf {
        let image = self.at(name);
        fs::copy(self.at("raw"), &image).unwrap();
        for command in commands {
            tool(&["debugfs", "-w", "-R", command, text(&image)]);
        }
        image
    }
}

fn assert_right(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("3 right, 0 wrong, 0 missing, 0 extra"), "{stderr}");
    assert!(output.stdout.is_empty());
}

/// The lines on stdout, after checking that the command failed with one line on stderr that holds `counts`.
fn findings(output: &Output, counts: &str) -> Vec<String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let error = stderr.lines().last().unwrap();
    assert!(error.starts_with("error: ") && error.contains(counts), "{stderr}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn every_form_of_an_image_is_read() {
    let fixture = Fixture::new();
    let qcow2 = fixture.at("qcow2");
    assert_right(&fixture.verify(&fixture.at("raw"), &["--strict"]));
    assert_right(&fixture.verify(&qcow2, &["--strict", "--jobs", "1"]));
    let conversions: [(&str, &[&str]); 6] = [
        ("zlib", &["-c"]),
        ("zstd", &["-c", "-o", "compression_type=zstd"]),
        ("small", &["-o", "cluster_size=512"]),
        ("large", &["-c", "-o", "cluster_size=2M"]),
        ("version-2", &["-c", "-o", "compat=0.10"]),
        ("preallocated", &["-o", "preallocation=metadata"]),
    ];
    for (name, options) in conversions {
        let image = fixture.at(name);
        tool(&[&["qemu-img", "convert", "-O", "qcow2"], options, &[text(&qcow2), text(&image)]].concat());
        assert_right(&fixture.verify(&image, &[]));
    }
    // Relative names are looked up from the overlay's directory, and a chain may mix forms.
    for (name, backing, format) in
        [("over-1", "zstd", "qcow2"), ("over-2", "over-1", "qcow2"), ("over-3", "raw", "raw")]
    {
        tool(&[
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            backing,
            "-F",
            format,
            text(&fixture.at(name)),
        ]);
        assert_right(&fixture.verify(&fixture.at(name), &[]));
    }
    // What the overlay has counts, not what lies below it.
    let over = fixture.at("over-2");
    tool(&["qemu-io", "-c", "write -P 7 0 8M", text(&over)]);
    assert_eq!(fixture.verify(&over, &[]).status.code(), Some(1));
    assert_right(&fixture.verify(&fixture.at("over-1"), &[]));
}

#[test]
fn a_partition_of_a_disk_is_found() {
    let fixture = Fixture::new();
    let disk = fixture.at("disk");
    let image = fs::read(fixture.at("raw")).unwrap();
    let mut bytes = vec![0; 1 << 20];
    bytes.extend_from_slice(&image);
    bytes.resize(bytes.len() + (1 << 20), 0);
    fs::write(&disk, bytes).unwrap();
    let sectors = image.len() / 512;
    tool(&["sgdisk", "-n", &format!("1:2048:{}", 2048 + sectors - 1), text(&disk)]);
    assert_right(&fixture.verify(&disk, &[]));
    assert_right(&fixture.verify(&disk, &["--partition", "1"]));
    let output = fixture.verify(&disk, &["--partition", "2"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no partition 2"));
}

#[test]
fn wrong_missing_and_extra_paths_are_named() {
    let fixture = Fixture::new();
    let (payload, script, link) =
        (fixture.store.logical(0), fixture.store.logical(1), fixture.store.logical(2));
    let base = |path: &str| path.rsplit('/').next().unwrap().to_owned();

    let wrong = fixture.changed("wrong", &[]);
    let old = fs::read(&wrong).unwrap();
    let place = old.windows(16).position(|bytes| bytes == b"the longest name").unwrap();
    let mut new = old;
    new[place] ^= 1;
    fs::write(&wrong, new).unwrap();
    let lines = findings(&fixture.verify(&wrong, &[]), "2 right, 1 wrong, 0 missing, 0 extra");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with(&format!("wrong    {payload}: its NAR hash is sha256:")), "{lines:?}");

    let missing = fixture.changed("missing", &[&format!("unlink {}", base(&link))]);
    let lines = findings(&fixture.verify(&missing, &[]), "2 right, 0 wrong, 1 missing, 0 extra");
    assert_eq!(lines, [format!("missing  {link}")]);

    let extra = fixture.changed("extra", &[&format!("link {} evil\u{7}name", base(&script))]);
    let lines = findings(&fixture.verify(&extra, &[]), "3 right, 0 wrong, 0 missing, 1 extra");
    assert_eq!(lines, ["extra    /nix/store/evil\\x07name: not registered"]);

    let size = fixture.changed("size", &[&format!("symlink {}/added /x", base(&payload))]);
    let lines = findings(&fixture.verify(&size, &[]), "2 right, 1 wrong");
    assert!(lines[0].contains("its NAR has"), "{lines:?}");

    // The same as JSON.
    let output = fixture.verify(&missing, &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["counts"]["missing"], 1);
    assert_eq!(json["paths"][2]["finding"], "missing");
}

#[test]
fn other_modes_owners_and_times_are_told() {
    let fixture = Fixture::new();
    let script = fixture.store.logical(1).rsplit('/').next().unwrap().to_owned();
    let image = fixture.changed(
        "deviating",
        &[
            &format!("sif {script} mode 0100755"),
            &format!("sif {script} uid 70000"),
            &format!("sif {script} mtime 5"),
        ],
    );
    let output = fixture.verify(&image, &[]);
    assert_eq!(output.status.code(), Some(0));
    let output = fixture.verify(&image, &["--strict"]);
    let lines = findings(&output, "1 files with another owner, mode or time");
    assert_eq!(
        lines,
        [format!("deviates {script}: mode 0755, not 0555, owner 70000:0, not 0:0, mtime 5, not 1")]
    );
}

#[test]
fn an_image_of_mke2fs_is_read() {
    let fixture = Fixture::new();
    // mke2fs refuses the longest link that Linux allows.
    fs::remove_file(fixture.store.physical(0).join("link-4095")).unwrap();
    fixture.store.register();
    for (name, options) in
        [("journal", "has_journal"), ("plain", "^metadata_csum"), ("wide", "64bit,metadata_csum")]
    {
        for block_size in ["1024", "4096"] {
            let image = fixture.at(&format!("{name}-{block_size}"));
            let source = text(&fixture.store.directory()).to_owned();
            tool(&[
                "mkfs.ext4",
                "-q",
                "-b",
                block_size,
                "-O",
                options,
                "-N",
                "8000",
                "-d",
                &source,
                text(&image),
                "48M",
            ]);
            assert_right_content(&fixture.verify(&image, &[]));
        }
    }
}

/// mke2fs keeps the times and owners of the source.
fn assert_right_content(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}{}", String::from_utf8_lossy(&output.stdout));
    assert!(stderr.contains("3 right, 0 wrong, 0 missing, 0 extra"), "{stderr}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let fixture = Fixture::new();
    let says = |image: &Path, what: &str| {
        let output = fixture.verify(image, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
        assert!(stderr.contains(what), "{stderr}");
    };
    let make = |name: &str, options: &[&str]| {
        let image = fixture.at(name);
        tool(&[&["qemu-img", "create", "-q", "-f", "qcow2"], options, &[text(&image), "64M"]].concat());
        image
    };
    says(&make("extended", &["-o", "extended_l2=on"]), "extended L2");
    says(&make("external", &["-o", &format!("data_file={}", text(&fixture.at("data")))]), "external file");
    says(&make("empty", &[]), "neither an ext4 file system nor a partition table");
    says(&fixture.at("nothing"), "cannot open");
    says(fixture.directory.path(), "is a directory");
    // A circle of backing files.
    make("a", &[]);
    make("b", &["-u", "-b", "a", "-F", "qcow2"]);
    tool(&["qemu-img", "rebase", "-u", "-b", "b", "-F", "qcow2", text(&fixture.at("a"))]);
    says(&fixture.at("a"), "is its own backing file");
    make("json", &["-u", "-b", "json:{\"driver\":\"raw\"}", "-F", "raw"]);
    says(&fixture.at("json"), "is no plain file name");
    // Cut short.
    let cut = fixture.at("cut");
    let whole = fs::read(fixture.at("qcow2")).unwrap();
    fs::write(&cut, &whole[..40]).unwrap();
    says(&cut, "the file has only 40 bytes");
    fs::write(&cut, &whole[..70_000]).unwrap();
    says(&cut, "the end of the file");
    let raw = fs::read(fixture.at("raw")).unwrap();
    fs::write(&cut, &raw[..raw.len() / 2]).unwrap();
    says(&cut, "blocks of 4096 bytes");
    // A byte of the superblock.
    let mut bytes = raw;
    bytes[1024 + 0x30] ^= 1;
    fs::write(&cut, &bytes).unwrap();
    says(&cut, "the superblock is damaged: its checksum");
}
