//! Every call to the system that concerns a file goes wrong in turn, and the program is killed at each: the target is
//! then the old file or the whole new one, and nothing else is left. tests/faults/interpose.c makes the calls fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::interposer::interposer;
use support::random::Random;
use support::store::Store;
use support::system::System;
use support::{imagegen, names_in, text};

const OLD: &[u8] = b"the old one";

/// A command line, and the files that it makes.
struct Case {
    arguments: Vec<String>,
    /// The outputs, with what was there before.
    targets: Vec<Target>,
    directory: tempfile::TempDir,
    /// For what is temporary; beside what faults are injected into.
    scratch: tempfile::TempDir,
    /// Inputs that must live as long.
    _inputs: Vec<tempfile::TempDir>,
}

struct Target {
    path: PathBuf,
    before: Option<Vec<u8>>,
    /// What a run without faults makes.
    after: Vec<u8>,
}

/// What came of many runs.
#[derive(Default, Debug)]
struct Tally {
    runs: u32,
    done: u32,
    failed: u32,
    killed: u32,
    /// Hidden files that a SIGKILL left between two calls and the next run removed.
    left_hidden: u32,
}

impl Case {
    fn new(
        arguments: &[&str],
        targets: Vec<(PathBuf, Option<Vec<u8>>)>,
        directory: tempfile::TempDir,
        inputs: Vec<tempfile::TempDir>,
    ) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let targets = targets.into_iter().map(|(path, before)| Target { path, before, after: Vec::new() });
        let scratch = tempfile::Builder::new().prefix("scratch").tempdir().unwrap();
        let mut case = Self { arguments, targets: targets.collect(), directory, scratch, _inputs: inputs };
        case.set_up();
        let output = case.command().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for target in &mut case.targets {
            target.after = fs::read(&target.path).unwrap();
        }
        case
    }

    fn store_image(before: Option<&[u8]>, more: &[&str]) -> Self {
        let store = small_store();
        let root = store.root.path().to_owned();
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("image");
        let registration = store.register();
        let mut arguments =
            vec!["store-image", "--jobs", "1", "--registration", text(&registration), "-o", text(&target)];
        arguments.extend(["--store-root", text(&root)]);
        arguments.extend(more);
        Self::new(&arguments, vec![(target.clone(), before.map(Vec::from))], directory, vec![store.root])
    }

    fn boot_disk() -> Self {
        let System { store, toplevels, variables, .. } = System::new();
        let root = store.root.path().to_owned();
        let directory = tempfile::tempdir().unwrap();
        let (disk, flash) = (directory.path().join("disk"), directory.path().join("flash"));
        let arguments = [
            "boot-disk",
            "--loader=systemd-boot",
            "--store-root",
            text(&root),
            "--toplevel",
            &toplevels[0],
            "-o",
            text(&disk),
            "--efi-vars-template",
            text(&variables),
            "--efi-vars",
            text(&flash),
        ];
        let old = Some(OLD.to_vec());
        let targets = vec![(disk.clone(), old.clone()), (flash.clone(), old)];
        Self::new(&arguments, targets, directory, vec![store.root])
    }

    fn overlay() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let inputs = tempfile::tempdir().unwrap();
        let (backing, target) = (inputs.path().join("base"), directory.path().join("overlay"));
        fs::write(&backing, vec![7; 4096]).unwrap();
        let arguments =
            ["disk", "create", "--backing", text(&backing), "--backing-format=raw", "-o", text(&target)];
        Self::new(&arguments, vec![(target.clone(), Some(OLD.to_vec()))], directory, vec![inputs])
    }

    /// Changes a flash image where it is.
    fn variables() -> Self {
        let System { store, variables, .. } = System::new();
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("flash");
        let before = fs::read(variables).unwrap();
        let arguments = ["efi-vars", "set", text(&target), "--name=Timeout", "--data-hex=0500"];
        Self::new(&arguments, vec![(target.clone(), Some(before))], directory, vec![store.root])
    }

    /// Makes what a machine needs, and starts it not: a root disk, and EFI variables that are copied.
    fn machine() -> Self {
        let System { store, variables, .. } = System::new();
        let (directory, inputs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| inputs.path().join(name);
        let targets = ["root", "flash"].map(|name| directory.path().join(name));
        for (name, contents) in [("code", ""), ("disk", "no more than a file")] {
            fs::write(at(name), contents).unwrap();
        }
        let config = serde_json::json!({
            "diskImage": targets[0], "diskSize": 8, "efiVars": targets[1],
            "efi": { "firmware": at("code"), "variables": variables },
            "bootDisk": at("disk"), "useBootLoader": true, "useEFIBoot": true,
        });
        let file = at("vm.json");
        fs::write(&file, config.to_string()).unwrap();
        let arguments = ["run", "--print", "--accel=tcg", "--config", text(&file)];
        Self::new(
            &arguments,
            targets.map(|target| (target, None)).into(),
            directory,
            vec![store.root, inputs],
        )
    }

    /// Puts the targets as they were before the first run.
    fn set_up(&self) {
        for name in names_in(self.directory.path()) {
            fs::remove_file(self.directory.path().join(name)).unwrap();
        }
        for target in &self.targets {
            if let Some(before) = &target.before {
                fs::write(&target.path, before).unwrap();
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = imagegen();
        command.args(&self.arguments).arg("--quiet");
        // Where `run` makes a machine's directory, which is not the test's business.
        command.env("TMPDIR", self.scratch.path());
        command
    }

    /// The program, in which the call with the number `at` goes wrong.
    fn with_fault(&self, kind: &str, at: u32) -> Command {
        let mut command = self.command();
        command.env("LD_PRELOAD", interposer()).env("FAULT_KIND", kind).env("FAULT_AT", at.to_string());
        // Every temporary directory of this test, and no other file of the machine.
        command.env("FAULT_UNDER", std::env::temp_dir().join(".tmp"));
        command
    }

    /// How many calls there are to go wrong.
    fn calls(&self) -> u32 {
        self.set_up();
        let count =
            tempfile::NamedTempFile::new_in("/").unwrap_or_else(|_| tempfile::NamedTempFile::new().unwrap());
        let output = self.with_fault("none", 0).env("FAULT_COUNT", count.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let calls = fs::read_to_string(count.path()).unwrap().parse().unwrap();
        assert!(calls > 10, "the calls are interposed: {calls}");
        calls
    }

    /// Runs the program once with each call going wrong, in every way that is in `kinds`.
    fn inject(&self, kinds: &[&str]) -> Tally {
        let mut tally = Tally::default();
        let calls = self.calls();
        for kind in kinds {
            for at in 1..=calls {
                self.set_up();
                let output = self.with_fault(kind, at).output().unwrap();
                self.judge(&output, &format!("{kind} at call {at}"), &mut tally);
                if matches!(*kind, "EINTR" | "short") {
                    assert!(output.status.success(), "{kind} at {at} is no reason to fail: {output:?}");
                }
            }
        }
        tally
    }

    /// Runs the program and kills it after some time, which is at most what it needs.
    fn kill_at_random(&self, runs: u32, random: &mut Random) -> Tally {
        let mut tally = Tally::default();
        self.set_up();
        let start = Instant::now();
        self.command().output().unwrap();
        let needed = usize::try_from(start.elapsed().as_micros()).unwrap();
        for _ in 0..runs {
            self.set_up();
            let mut command = self.command();
            let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(random.below(needed).try_into().unwrap()));
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            self.judge(&output, "SIGKILL some time", &mut tally);
        }
        tally
    }

    /// Runs the program where no file may have more than so many bytes.
    fn limit_file_size(&self, blocks: u64, tally: &mut Tally) {
        self.set_up();
        let mut command = Command::new("bash");
        command.args(["-c", &format!("ulimit -f {blocks} && exec \"$@\""), "bash"]);
        command.arg(env!("CARGO_BIN_EXE_nix-imagegen")).args(&self.arguments).arg("--quiet");
        let output = command.output().unwrap();
        self.judge(&output, &format!("ulimit -f {blocks}"), tally);
    }

    /// Checks what a run has left.
    fn judge(&self, output: &Output, what: &str, tally: &mut Tally) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let all = format!("{what}: {:?}, {stderr}", output.status);
        tally.runs += 1;
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => tally.done += 1,
            (Some(1), _) => {
                tally.failed += 1;
                assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{all}");
                let reasons = ["Input/output error", "No space left", "Interrupted", "File too large"];
                assert!(reasons.iter().any(|reason| stderr.contains(reason)), "{all}");
            }
            (None, Some(9 | 15)) => tally.killed += 1,
            _ => panic!("{all}"),
        }
        for target in &self.targets {
            let found = fs::read(&target.path).ok();
            let is_new = found.as_ref() == Some(&target.after);
            assert!(is_new || found == target.before, "{all}: {} is neither", target.path.display());
            assert!(is_new || !output.status.success(), "{all}: {} is old", target.path.display());
        }
        self.check_leftovers(output.status.signal() == Some(9), &all, tally);
    }

    /// Nothing but the targets is in the directory. Only a SIGKILL between two calls may leave a hidden file, and the
    /// next run removes it.
    fn check_leftovers(&self, was_killed: bool, all: &str, tally: &mut Tally) {
        let leftovers = || {
            let mut names = names_in(self.directory.path());
            names.retain(|name| !self.targets.iter().any(|target| target.path.ends_with(name)));
            names
        };
        if !was_killed {
            assert_eq!(leftovers(), [""; 0], "{all}");
        } else if !leftovers().is_empty() {
            tally.left_hidden += 1;
            assert!(leftovers().iter().all(|name| name.starts_with('.')), "{all}");
            assert!(self.command().output().unwrap().status.success());
            assert_eq!(leftovers(), [""; 0], "{all}, after the next run");
        }
    }
}

/// Two store paths of a few files.
fn small_store() -> Store {
    let mut store = Store::new();
    let directory = store.add('a', "directory");
    fs::create_dir_all(directory.join("below")).unwrap();
    fs::write(directory.join("file"), vec![b'x'; 70_000]).unwrap();
    fs::write(directory.join("below/empty"), "").unwrap();
    std::os::unix::fs::symlink("file", directory.join("link")).unwrap();
    let file = store.add('b', "file");
    fs::write(file, "contents").unwrap();
    store
}

/// What the system may answer, and where it may end the program.
const KINDS: [&str; 7] = ["EIO", "ENOSPC", "EINTR", "short", "kill", "killed", "term"];

fn show(what: &str, tally: &Tally) {
    println!("{what}: {tally:?}");
}

#[test]
fn a_new_store_image() {
    let tally = Case::store_image(None, &["--format", "raw"]).inject(&KINDS);
    show("store-image, raw, new", &tally);
    assert!(tally.failed > 30 && tally.killed > 30, "{tally:?}");
    assert_eq!(tally.left_hidden, 0, "a new file has no hidden name on the way");
}

#[test]
fn a_store_image_in_the_place_of_another_file() {
    let tally = Case::store_image(Some(OLD), &[]).inject(&KINDS);
    show("store-image, qcow2, replacing", &tally);
    assert!(tally.failed > 30 && tally.killed > 30, "{tally:?}");
}

#[test]
fn a_boot_disk_and_its_variables() {
    let tally = Case::boot_disk().inject(&["EIO", "ENOSPC", "EINTR", "short", "kill", "term"]);
    show("boot-disk, replacing two files", &tally);
    assert!(tally.failed > 30 && tally.killed > 30, "{tally:?}");
}

#[test]
fn disks_and_variables() {
    for (what, case) in [("disk create", Case::overlay()), ("efi-vars set", Case::variables())] {
        let tally = case.inject(&KINDS);
        show(what, &tally);
        assert!(tally.failed > 5 && tally.killed > 5, "{tally:?}");
    }
}

#[test]
fn what_a_machine_needs() {
    // Whether a file is there is asked in many places, and told among other problems; so no errors here but EINTR.
    let tally = Case::machine().inject(&["EINTR", "short", "kill", "killed", "term"]);
    show("run --print", &tally);
    assert!(tally.done > 20 && tally.killed > 20, "{tally:?}");
}

#[test]
fn kills_at_any_time() {
    let mut random = Random::new(7);
    for (what, case, runs) in [
        ("store-image killed at random", Case::store_image(Some(OLD), &[]), 250),
        ("boot-disk killed at random", Case::boot_disk(), 150),
        ("efi-vars set killed at random", Case::variables(), 100),
    ] {
        let tally = case.kill_at_random(runs, &mut random);
        show(what, &tally);
        assert_eq!(tally.runs, runs);
        assert!(tally.killed > 0, "{tally:?}");
    }
}

#[test]
fn a_disk_that_fills_up() {
    for (what, case) in [
        ("store-image, raw", Case::store_image(None, &["--format", "raw"])),
        ("store-image, qcow2", Case::store_image(Some(OLD), &[])),
        ("boot-disk", Case::boot_disk()),
    ] {
        let mut tally = Tally::default();
        // Blocks of 1 KiB, from nothing to more than enough.
        for blocks in [0, 1, 3, 4, 8, 24, 64, 65, 100, 150, 200, 300, 400, 1 << 20] {
            case.limit_file_size(blocks, &mut tally);
        }
        show(&format!("{what}, file sizes limited"), &tally);
        assert!(tally.failed > 3 && tally.done > 0 && tally.killed == 0, "{tally:?}");
    }
}
