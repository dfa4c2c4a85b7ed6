//! A directory in which `run` starts machines, by translation.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::guest::Guest;
use super::{names_in, text};

/// Far more than any boot takes; the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(400);

/// A directory with a config, where everything that `run` makes goes.
pub struct Home {
    pub directory: tempfile::TempDir,
    pub guest: Guest,
    program: PathBuf,
}

impl Home {
    /// The config has these options besides those that all tests have.
    pub fn new(program: &str, guest: Guest, options: &str) -> Self {
        // Shells, QEMU and kernels each take something in this name for more than a name.
        let directory = tempfile::Builder::new().prefix("a, b's $HOME ").tempdir().unwrap();
        fs::create_dir(directory.path().join("tmp")).unwrap();
        let config =
            format!("toplevel = {:?}\nmemorySize = 512\ngraphics = false\n{options}\n", guest.toplevel);
        fs::write(directory.path().join("vm.toml"), config).unwrap();
        Self { directory, guest, program: program.into() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `run` with the guest's store and nothing of the tester's environment but `PATH`.
    pub fn run(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["run", "--config", "vm.toml", "--store-root"]).arg(&self.guest.root).args(arguments);
        for name in
            ["NIX_DISK_IMAGE", "NIX_EFI_VARS", "USE_TMPDIR", "SHARED_DIR", "QEMU_OPTS", "QEMU_NET_OPTS"]
        {
            command.env_remove(name);
        }
        command.env("TMPDIR", self.path("tmp")).env("XDG_CACHE_HOME", self.path("cache"));
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    pub fn printed(&self, arguments: &[&str]) -> String {
        success(&self.run(arguments).output().unwrap())
    }

    pub fn error(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    }

    /// Starts the machine with more arguments for QEMU; its console goes to a file.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.start_by(&mut self.run(&[]), arguments)
    }

    /// The same by a command of [`Self::run`] to which something was added.
    pub fn start_by(&self, run: &mut Command, arguments: &[&str]) -> Child {
        let console = format!("file:{}", text(&self.path("console")));
        run.args(["--accel", "tcg", "--", "-display", "none", "-monitor", "none", "-serial", &console])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs the machine until it switches itself off, and gives what the guest and the program said.
    pub fn boot(&self, arguments: &[&str]) -> (String, String) {
        self.until_off(self.start(arguments))
    }

    /// Waits until a machine that was started switches itself off.
    pub fn until_off(&self, mut machine: Child) -> (String, String) {
        wait(|| machine.try_wait().unwrap().is_some(), || self.console());
        let output = machine.wait_with_output().unwrap();
        success(&output);
        self.is_cleaned_up();
        (self.console(), String::from_utf8(output.stderr).unwrap())
    }

    /// Waits for something that a machine does while it runs.
    pub fn wait(&self, machine: &mut Child, is_done: impl Fn() -> bool) {
        let has_ended = || {
            let ended = machine.try_wait().unwrap();
            assert!(ended.is_none() || is_done(), "{ended:?}: {}", self.console());
            is_done()
        };
        wait(has_ended, || self.console());
    }

    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("console")).unwrap_or_default()).replace('\r', "")
    }

    /// The process that cleans up works after QEMU's end.
    pub fn is_cleaned_up(&self) {
        wait(|| names_in(&self.path("tmp")).is_empty(), || format!("{:?}", names_in(&self.path("tmp"))));
    }
}

/// What a program printed that must succeed.
pub fn success(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Waits, but not for ever.
pub fn wait(mut is_done: impl FnMut() -> bool, state: impl Fn() -> String) {
    let begun = Instant::now();
    while !is_done() {
        assert!(begun.elapsed() < PATIENCE, "still waiting: {}", state());
        std::thread::sleep(Duration::from_millis(50));
    }
}
