//! Images on standard output (`-o -`), and their digests: the bytes are those of a file, and `sha256sum` judges the digests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use testkit::system::System;
use testkit::{imagegen, names_in, text};

/// Each command that writes an image.
const COMMANDS: [&str; 5] = [
    "store-image --store-root @root@ --registration @registration@",
    "boot-disk --store-root @root@ --toplevel @toplevel@ --loader systemd-boot --size 12M",
    "root-disk --store-root @root@ --registration @registration@ --with-store --additional-space 1M",
    "root-disk --store-root @root@ --registration @registration@ --toplevel @toplevel@ --partition-table auto \
     --additional-space 1M --boot-size 20M",
    "disk create --size 3M",
];

/// A small system and a directory for outputs.
struct Place {
    system: System,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { system: System::new(), directory: tempfile::tempdir().unwrap() }
    }

    fn at(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = imagegen!();
        command.current_dir(self.at()).args(arguments.split_whitespace().map(|word| {
            word.replace("@root@", text(self.system.store.root.path()))
                .replace("@registration@", text(&self.system.registration))
                .replace("@toplevel@", &self.system.toplevels[0])
        }));
        command
    }

    fn made(&self, arguments: &str) -> Output {
        success(self.command(arguments).output().unwrap())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.at().join(name)).unwrap()
    }

    /// What sha256sum says of a file of digests in the directory.
    fn check(&self, digests: &[u8]) -> Output {
        fs::write(self.at().join("digests"), digests).unwrap();
        Command::new("sha256sum")
            .args(["--check", "--strict", "digests"])
            .current_dir(self.at())
            .output()
            .unwrap()
    }
}

fn success(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn pipes_sockets_and_files_get_the_bytes_of_an_image_file() {
    let place = Place::new();
    for command in COMMANDS {
        place.made(&format!("{command} -o image.raw"));
        let expected = place.bytes("image.raw");
        let piped = place.made(&format!("{command} -o -"));
        assert!(piped.stdout == expected, "{command}");
        let said = String::from_utf8(piped.stderr).unwrap();
        assert!(said.contains("standard output: raw of "), "{said}");

        let file = File::create(place.at().join("redirected")).unwrap();
        success(place.command(&format!("{command} -o - --format raw")).stdout(file).output().unwrap());
        assert!(place.bytes("redirected") == expected, "{command}");

        let (mut reader, writer) = UnixStream::pair().unwrap();
        let mut child =
            place.command(&format!("{command} --quiet -o -")).stdout(OwnedFd::from(writer)).spawn().unwrap();
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        assert!(child.wait().unwrap().success() && received == expected, "{command}");

        // A file like any other when it is finished, so that it can go there too.
        place.made(&format!("{command} -o image.qcow2"));
        let piped = place.made(&format!("{command} --format qcow2 -o -"));
        assert!(piped.stdout == place.bytes("image.qcow2"), "{command}");
    }
    place.made(&format!("{} --compress zstd -o image.qcow2", COMMANDS[0]));
    let piped = place.made(&format!("{} --compress zstd --format qcow2 -o -", COMMANDS[0]));
    assert!(piped.stdout == place.bytes("image.qcow2"));
    assert_eq!(names_in(place.at()), ["image.qcow2", "image.raw", "redirected"]);
}

#[test]
fn an_image_behind_what_is_in_a_file_is_appended() {
    let place = Place::new();
    fs::write(place.at().join("file"), "before").unwrap();
    let file = File::options().append(true).open(place.at().join("file")).unwrap();
    success(place.command("disk create --size 1M -o -").stdout(file).output().unwrap());
    assert_eq!(place.bytes("file"), [b"before".to_vec(), vec![0; 1 << 20]].concat());
}

#[test]
fn what_comes_with_an_image_on_standard_output_is_whole() {
    let place = Place::new();
    let vars = "--boot-disk-entry --efi-vars vars --efi-vars-template";
    let variables = text(&place.system.variables);
    let boot = format!("{} {vars} {variables}", COMMANDS[1]);
    let printed = place.made(&format!("{boot} -o - --report report")).stdout;
    let expected = place.bytes("vars");
    place.made(&format!("{boot} -o image.raw"));
    assert!(place.bytes("vars") == expected && place.bytes("image.raw") == printed);
    let report: serde_json::Value = serde_json::from_slice(&place.bytes("report")).unwrap();
    assert_eq!((&report["image"], &report["format"]), (&"-".into(), &"raw".into()));
    let line = format!("{}  image.raw\n", report["sha256"].as_str().unwrap());
    success(place.check(line.as_bytes()));
}

#[test]
fn a_terminal_and_places_that_cannot_be_are_refused() {
    let place = Place::new();
    let failed = |command: &mut Command, status: i32, words: &str| {
        let output = command.current_dir(place.at()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.code() == Some(status) && said.contains(words), "{command:?}: {said}");
    };
    let line = format!("{} disk create --size 1M -o -", env!("CARGO_BIN_EXE_nix-imagegen"));
    failed(Command::new("script").args(["-qec", &line, "/dev/null"]), 1, "standard output is a terminal");
    failed(
        place.command("disk create --size 1M -o -").env("TMPDIR", "/missing"),
        1,
        "cannot create a temporary file in `/missing`",
    );
    failed(&mut place.command("disk create --size 1M --sync -o -"), 2, "--sync is for files");
    failed(&mut place.command("efi-vars create -o - --template x"), 1, "x");
    let compressed = format!("{} --compress zstd -o -", COMMANDS[0]);
    failed(&mut place.command(&compressed), 1, "a raw image cannot be compressed");
    assert!(names_in(place.at()).is_empty());
    // Named before it is full: where the image is put together.
    let limited =
        "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\" -o - | cat > /dev/null; exit ${PIPESTATUS[0]}";
    let mut command = Command::new("bash");
    command.args(["-c", limited, env!("CARGO_BIN_EXE_nix-imagegen"), "store-image", "--registration"]);
    command.args([text(&place.system.registration), "--store-root", text(place.system.store.root.path())]);
    failed(&mut command, 1, "cannot put the image for standard output together in `");
}

/// As `head` leaves it: no failure, but the digest is that of the whole image.
#[test]
fn a_reader_that_goes_away_ends_the_output() {
    let place = Place::new();
    let script = "\"$0\" \"$@\" | head -c 512; exit ${PIPESTATUS[0]}";
    let output = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_nix-imagegen"), "disk", "create", "--size=64M", "-o", "-"])
        .arg("--digest")
        .current_dir(place.at())
        .output()
        .unwrap();
    let output = success(output);
    assert_eq!(output.stdout, [0; 512]);
    let said = String::from_utf8(output.stderr).unwrap();
    let digest = said.lines().find(|line| line.ends_with("  -")).unwrap().replace("  -", "  file\n");
    File::create(place.at().join("file")).unwrap().set_len(64 << 20).unwrap();
    success(place.check(digest.as_bytes()));
}

#[test]
fn sha256sum_takes_the_digests() {
    let place = Place::new();
    for command in COMMANDS {
        for name in ["image.raw", "image.qcow2"] {
            let output = place.made(&format!("{command} --digest -o {name}"));
            let checked = success(place.check(&output.stdout));
            assert_eq!(String::from_utf8(checked.stdout).unwrap(), format!("{name}: OK\n"));
            // Wrong as soon as a bit is.
            let mut bytes = place.bytes(name);
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(place.at().join(name), bytes).unwrap();
            assert!(!place.check(&output.stdout).status.success(), "{command}");
            assert!(place.made(&format!("{command} -o {name}")).stdout.is_empty(), "nobody asked");
        }
        let output = place.made(&format!("{command} --digest -o -"));
        fs::write(place.at().join("-"), &output.stdout).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let digest = said.lines().find(|line| line.ends_with("  -")).unwrap_or_else(|| panic!("{said}"));
        let digest = digest.replace("  -", "  ./-\n");
        success(place.check(digest.as_bytes()));
    }
    // With a report it is the report's.
    let output = place.made(&format!("{} --digest --report report -o image", COMMANDS[0]));
    let report: serde_json::Value = serde_json::from_slice(&place.bytes("report")).unwrap();
    assert_eq!(output.stdout[..64], *report["sha256"].as_str().unwrap().as_bytes());
}

#[test]
fn names_in_digests_are_escaped_as_sha256sum_escapes_them() {
    let place = Place::new();
    for name in [&b"a b"[..], b"back\\slash", b"new\nline", b"return\r", b"\\", b"not UTF-8 \xff", b" * "] {
        let name = std::ffi::OsStr::from_bytes(name);
        let mut command = place.command("disk create --size 1M --digest -o");
        let output = success(command.arg(name).output().unwrap());
        let mut theirs = Command::new("sha256sum");
        let theirs = success(theirs.arg("--").arg(name).current_dir(place.at()).output().unwrap());
        assert_eq!(output.stdout, theirs.stdout, "{name:?}");
        success(place.check(&output.stdout));
    }
}
