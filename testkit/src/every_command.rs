//! Every command of the program with something small to do, and a watchdog: none of them may wait for ever.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::system::System;
use super::{text, tool};

/// Seconds after which a command waits for ever; a thousand times what each takes.
const PATIENCE: &str = "120";

/// A command line.
pub struct Line {
    pub arguments: Vec<String>,
    /// Its exit status where nothing goes wrong.
    pub status: i32,
    /// Whether it prints to standard output then.
    pub prints: bool,
}

/// Inputs for every command, and a directory for outputs, all of it open to everybody.
pub struct EveryCommand {
    system: System,
    directory: tempfile::TempDir,
    /// The program, where everybody can start it.
    program: PathBuf,
}

impl EveryCommand {
    pub fn new(program: &str) -> Self {
        let every =
            Self { system: System::new(), directory: tempfile::tempdir().unwrap(), program: program.into() };
        let program = every.at("program");
        fs::copy(&every.program, &program).unwrap();
        let every = Self { program: program.into(), ..every };
        let config = format!(
            "toplevel = \"{}\"\nregistration = {:?}\ngraphics = false\ndiskImage = {:?}\n",
            every.system.toplevels[0],
            text(&every.system.registration),
            every.at("root.qcow2"),
        );
        fs::write(every.at("vm.toml"), config).unwrap();
        for (name, size) in [("one.qcow2", "1M"), ("other.qcow2", "2M")] {
            let output = every.command(&["disk", "create", "--size", size, "-o", &every.at(name)]).output();
            assert!(output.unwrap().status.success());
        }
        let image = every.at("store.qcow2");
        let output = every.command(&every.store_image(&image, "none")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let document = every.at("variables.json");
        fs::write(&document, "{\"version\": 2, \"variables\": []}").unwrap();
        let roots = [every.directory.path(), every.system.store.root.path()];
        tool(&["chmod", "-R", "a+rX", text(roots[0]), text(roots[1])]);
        fs::set_permissions(roots[0], fs::Permissions::from_mode(0o777)).unwrap();
        every
    }

    pub fn at(&self, name: &str) -> String {
        text(&self.directory.path().join(name)).to_owned()
    }

    /// All of them. Whatever they make they make as `output` in the directory.
    pub fn lines(&self) -> Vec<Line> {
        let (output, variables) = (self.at("output"), text(&self.system.variables));
        let root = text(self.system.store.root.path());
        let image = self.at("store.qcow2");
        let registration = text(&self.system.registration);
        let config = self.at("vm.toml");
        let [one, other] = ["one.qcow2", "other.qcow2"].map(|name| self.at(name));
        let document = self.at("variables.json");
        let of_store = ["--store-root", root, "--registration", registration];
        let boot = ["--store-root", root, "--toplevel", &self.system.toplevels[0], "--loader=systemd-boot"];
        let vendor = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
        let makes: Vec<Vec<&str>> = vec![
            self.store_image(&output, "none"),
            self.store_image(&output, "zstd"),
            self.store_image(&output, "zlib"),
            [&["store-image", "--optimise", "--jobs=1", "-o", &output][..], &of_store].concat(),
            [&["store-image", "--format=raw", "--jobs=8", "-o", &output][..], &of_store].concat(),
            [&["root-disk", "--with-store", "-o", &output][..], &of_store].concat(),
            [&["boot-disk", "-o", &output][..], &boot].concat(),
            vec!["disk", "create", "--size=1M", "-o", &output],
            vec!["disk", "create", "--backing", &one, "--backing-format=qcow2", "-o", &output],
            vec!["efi-vars", "create", "--template", variables, "--boot-disk-entry", "-o", &output],
            vec!["efi-vars", "set", variables, "--name=X", "--guid", vendor, "--data-hex=00", "-o", &output],
            vec!["efi-vars", "import", variables, &document, "-o", &output],
            vec!["efi-vars", "export", variables, "-o", &output],
            vec!["inspect", &image, "--svg", &output],
            vec!["verify", &image, "--registration", registration, "--jobs=2"],
            vec!["diff", &one, &one],
        ];
        let prints: Vec<Vec<&str>> = vec![
            vec!["--help"],
            vec!["--version"],
            vec!["store-image", "--help"],
            vec!["completions", "bash"],
            vec!["completions", "fish"],
            vec!["man"],
            vec!["bench", "--list"],
            vec!["inspect", &image],
            vec!["inspect", "--json", &one],
            vec!["ls", &image],
            vec!["ls", "--recursive", "--json", &image],
            vec!["verify", "--json", &image, "--registration", registration],
            [&["store-image", "-o", "-"][..], &of_store].concat(),
            [&["boot-disk", "--digest", "-o", "-"][..], &boot].concat(),
            [&["root-disk", "--format=qcow2", "-o", "-"][..], &of_store].concat(),
            vec!["disk", "create", "--size=1M", "-o", "-"],
            vec!["disk", "create", "--size=1M", "--digest", "-o", &output],
            vec!["efi-vars", "list", variables],
            vec!["efi-vars", "list", "--json", variables],
            vec!["efi-vars", "export", variables],
            vec!["efi-vars", "export", variables, "-o", "-"],
            vec!["run", "--config", &config, "--store-root", root, "--print-guest"],
            vec!["run", "--config", &config, "--store-root", root, "--print-guest", "--json"],
        ];
        let line = |arguments: Vec<&str>, status, prints| Line {
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            status,
            prints,
        };
        let mut lines = vec![
            line(vec!["diff", &one, &other], 1, true),
            line(vec!["diff", "--json", &one, &other], 1, true),
            line(vec!["diff", &one, "/missing"], 2, false),
            line(vec!["inspect", "/missing"], 1, false),
            line(vec!["run", "--config", "/missing"], 1, false),
            line(vec!["disk", "create", "--size=1M", "-o", "/missing/output"], 1, false),
            line(vec!["inspect"], 2, false),
            line(vec!["cat", &image, "/missing"], 1, false),
            line(vec!["no-such-command"], 2, false),
        ];
        lines.extend(makes.into_iter().map(|arguments| line(arguments, 0, false)));
        lines.extend(prints.into_iter().map(|arguments| line(arguments, 0, true)));
        lines
    }

    pub fn store_image<'a>(&'a self, output: &'a str, compression: &'a str) -> Vec<&'a str> {
        let mut line = vec!["store-image", "--compress", compression, "-o", output, "--store-root"];
        line.extend([text(self.system.store.root.path()), "--registration", text(&self.system.registration)]);
        line
    }

    /// The program, which is killed if it goes on for ever.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        self.command_by(&[], arguments)
    }

    /// The same, started by another program's words.
    pub fn command_by<S: AsRef<std::ffi::OsStr>>(&self, words: &[&str], arguments: &[S]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", PATIENCE]).args(words).arg(&self.program).args(arguments);
        command.stdin(Stdio::null()).current_dir(self.directory.path());
        command.env("TMPDIR", self.directory.path());
        command
    }
}

/// The exit status of a program that was neither killed by the watchdog nor panicked.
pub fn status(output: &Output, of: &str) -> i32 {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!told.contains("panicked"), "{of}: {told}");
    output.status.code().unwrap_or_else(|| panic!("{of}: {}: {told}", output.status))
}
