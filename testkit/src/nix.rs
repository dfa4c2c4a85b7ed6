//! Nix with a store of its own, which has the guest's closure and the program under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::guest::Guest;
use super::{project, run, text, tool};

/// Nothing of the machine's own Nix is read or asked.
const CONFIG: &str = "build-users-group =\nsubstitute = false\nexperimental-features =";

/// A store, removed at the end.
pub struct NixStore {
    pub root: PathBuf,
    directory: tempfile::TempDir,
}

impl NixStore {
    /// A copy of the guest's store in a directory of the same file system: its files are linked, its database copied.
    pub fn with_guest(guest: &Guest, below: &str) -> Self {
        let directory = tempfile::Builder::new().tempdir_in(below).unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("nix/var/nix")).unwrap();
        tool(&["cp", "-al", text(&guest.root.join("nix/store")), text(&root.join("nix"))]);
        tool(&["cp", "-a", text(&guest.root.join("nix/var/nix/db")), text(&root.join("nix/var/nix"))]);
        Self { root, directory }
    }

    /// A command of Nix for this store.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("NIX_CONFIG", CONFIG)
            .env("NIX_REMOTE", "")
            .env("NIX_PATH", "")
            .args(["--store", text(&self.root)]);
        command
    }

    /// Runs a command of Nix, which must succeed, and gives what it printed.
    pub fn nix(&self, command: &[&str]) -> String {
        let output = self.command(command[0]).args(&command[1..]).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Puts the program under test and its shared libraries into the store, for nix/local-program.nix.
    pub fn add_program(&self, built: &str) -> String {
        let files = self.directory.path().join("nix-imagegen-files");
        fs::create_dir(&files).unwrap();
        let program = files.join("nix-imagegen");
        // Without what a debugger needs it is a tenth of the size.
        tool(&["strip", "-o", text(&program), built]);
        copy_libraries(&program, &files);
        self.nix(&["nix-store", "--add", text(&files)])
    }

    /// Builds an attribute of tests/nix/guest.nix.
    pub fn build(&self, guest: &Guest, files: &str, attribute: &str, more: &[&str]) -> Output {
        let expression = project().join("tests/nix/guest.nix");
        let mut command = self.command("nix-build");
        command.arg(expression).args(["-A", attribute, "--no-out-link"]);
        command.args(["--argstr", "files", files, "--argstr", "shell", &guest.path("-busybox")]);
        command.args(["--argstr", "toplevel", &guest.toplevel]).args(more);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let refused = said.contains("namespace") && said.contains("not permitted");
        assert!(
            !refused,
            "Nix builds for a store of its own only in a user namespace; allow them here: {said}"
        );
        output
    }

    /// Where a store path is on this machine.
    pub fn physical(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

/// Puts the shared libraries of a program, and the loader, into a directory.
pub fn copy_libraries(program: &Path, directory: &Path) {
    for line in tool(&["ldd", text(program)]).lines() {
        // `name => /path (address)`, or `/path (address)` for the loader itself.
        if let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) {
            fs::copy(library, directory.join(Path::new(library).file_name().unwrap())).unwrap();
        }
    }
}

impl Drop for NixStore {
    fn drop(&mut self) {
        // What is in a store is read-only, which only root can remove as it is. Directories are not linked.
        run(&["find", text(&self.root), "-type", "d", "-exec", "chmod", "u+w", "{}", "+"]);
    }
}
