//! A command line that goes wrong in many ways, and what it may leave.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use testkit::interposer::interposer;
use testkit::random::Random;
use testkit::store::Store;
use testkit::system::{System, firmware_pair};
use testkit::{imagegen, names_in, text};

/// What is in the place of an output before.
pub const OLD: &[u8] = b"the old one";

/// A command line, and the files that it makes.
pub struct Case {
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
pub struct Tally {
    pub runs: u32,
    pub done: u32,
    pub failed: u32,
    pub killed: u32,
    /// Failures to share blocks.
    pub not_shared: u32,
    /// Hidden files that a SIGKILL left between two calls and the next run removed.
    pub left_hidden: u32,
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

    pub fn store_image(before: Option<&[u8]>, more: &[&str]) -> Self {
        Self::store_image_of(small_store(), before, more)
    }

    /// With a file that is large enough to have its blocks shared, and zeros to leave out in the middle.
    pub fn sharing_store_image(more: &[&str]) -> Self {
        let mut store = small_store();
        let mut bytes = Random::new(3).bytes(700_000);
        bytes.splice(300_000..300_000, vec![0; 400_000]);
        fs::write(store.add('c', "large"), bytes).unwrap();
        Self::store_image_of(store, Some(OLD), &[&["--no-verify"], more].concat())
    }

    fn store_image_of(store: Store, before: Option<&[u8]>, more: &[&str]) -> Self {
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

    pub fn boot_disk() -> Self {
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

    /// A root disk with the store on it, whose database is made on the way.
    pub fn root_disk() -> Self {
        let store = small_store();
        let root = store.root.path().to_owned();
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("root");
        let registration = store.register();
        let mut arguments = vec!["root-disk", "--with-store", "--additional-space=0", "--jobs=1"];
        arguments.extend(["--registration", text(&registration), "--store-root", text(&root)]);
        arguments.extend(["-o", text(&target)]);
        Self::new(&arguments, vec![(target.clone(), Some(OLD.to_vec()))], directory, vec![store.root])
    }

    pub fn overlay() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let inputs = tempfile::tempdir().unwrap();
        let (backing, target) = (inputs.path().join("base"), directory.path().join("overlay"));
        fs::write(&backing, vec![7; 4096]).unwrap();
        let arguments =
            ["disk", "create", "--backing", text(&backing), "--backing-format=raw", "-o", text(&target)];
        Self::new(&arguments, vec![(target.clone(), Some(OLD.to_vec()))], directory, vec![inputs])
    }

    /// Changes a flash image where it is.
    pub fn variables() -> Self {
        let System { store, variables, .. } = System::new();
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("flash");
        let before = fs::read(variables).unwrap();
        let arguments = ["efi-vars", "set", text(&target), "--name=Timeout", "--data-hex=0500"];
        Self::new(&arguments, vec![(target.clone(), Some(before))], directory, vec![store.root])
    }

    /// Makes what a machine needs, and starts it not: a root disk, and EFI variables that are copied.
    pub fn machine() -> Self {
        let System { store, .. } = System::new();
        let (directory, inputs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| inputs.path().join(name);
        let targets = ["root", "flash"].map(|name| directory.path().join(name));
        let (code, variables) = firmware_pair(inputs.path());
        fs::write(at("disk"), "no more than a file").unwrap();
        let config = serde_json::json!({
            "diskImage": targets[0], "diskSize": 8, "efiVars": targets[1],
            "efi": { "firmware": code, "variables": variables },
            "bootDisk": at("disk"), "useBootLoader": true, "useEFIBoot": true,
            // This machine need not have a store.
            "mountHostNixStore": false,
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
        let mut command = imagegen!();
        command.args(&self.arguments).arg("--quiet");
        // Where `run` makes a machine's directory, which is not the test's business.
        command.env("TMPDIR", self.scratch.path());
        command
    }

    /// The program, in which the call with the number `at` goes wrong.
    fn with_fault(&self, kind: &str, at: u32) -> Command {
        let mut command = self.command();
        command
            .env("LD_PRELOAD", interposer(env!("CARGO_TARGET_TMPDIR")))
            .env("FAULT_KIND", kind)
            .env("FAULT_AT", at.to_string());
        // Every temporary directory of this test, and no other file of the machine.
        command.env("FAULT_UNDER", std::env::temp_dir().join(".tmp")).env("FAULT_SHARES", "yes");
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
    pub fn inject(&self, kinds: &[&str]) -> Tally {
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
    pub fn kill_at_random(&self, runs: u32, random: &mut Random) -> Tally {
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
    pub fn limit_file_size(&self, blocks: u64, tally: &mut Tally) {
        self.set_up();
        let mut command = Command::new("bash");
        command.args(["-c", &format!("ulimit -f {blocks} && exec \"$@\""), "bash"]);
        command.arg(env!("CARGO_BIN_EXE_nix-imagegen")).args(&self.arguments).arg("--quiet");
        let output = command.output().unwrap();
        self.judge(&output, &format!("ulimit -f {blocks}"), tally);
    }

    /// Runs the program where the outputs' file system is a new one of so many KiB.
    pub fn fill_file_system(&self, kib: u64, tally: &mut Tally) {
        self.set_up();
        let outside = tempfile::tempdir().unwrap();
        // In a mount namespace of its own, so that nothing has to be unmounted, whatever happens.
        let script = r#"
            kib=$1 directory=$2 outside=$3
            shift 3
            cp -a "$directory" "$outside/before"
            mount -t tmpfs -o "size=${kib}k" tmpfs "$directory" || exit 99
            cp -a "$outside/before/." "$directory"
            "$@"
            status=$?
            cp -a "$directory" "$outside/after"
            exit $status
        "#;
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(kib.to_string()).arg(self.directory.path()).arg(outside.path());
        command.arg(env!("CARGO_BIN_EXE_nix-imagegen")).args(&self.arguments).arg("--quiet");
        let output = command.output().unwrap();
        assert_ne!(output.status.code(), Some(99), "{output:?}");
        for name in names_in(self.directory.path()) {
            fs::remove_file(self.directory.path().join(name)).unwrap();
        }
        for name in names_in(&outside.path().join("after")) {
            fs::copy(outside.path().join("after").join(&name), self.directory.path().join(&name)).unwrap();
        }
        self.judge(&output, &format!("a file system of {kib} KiB"), tally);
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
                tally.not_shared += u32::from(stderr.contains("cannot share the blocks of `/"));
                assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{all}");
                let reasons = [
                    "Input/output error",
                    "No space left",
                    "Interrupted",
                    "File too large",
                    "no file can be that large",
                ];
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
