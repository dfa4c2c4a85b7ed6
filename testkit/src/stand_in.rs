//! Machines that `run` starts with a shell script in the place of QEMU: what it prepares and leaves can be looked at
//! without a boot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::system::{System, firmware_pair};
use super::{names_in, text};

/// A directory with a config whose machine has every kind of file that `run` makes.
pub struct StandIn {
    pub directory: tempfile::TempDir,
    pub system: System,
    pub program: PathBuf,
}

impl StandIn {
    /// `script` runs in the machine's directory, with `$HERE` as this one.
    pub fn new(program: &str, script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let system = System::new();
        // Another user is to find everything, too.
        for path in [directory.path(), system.store.root.path()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("qemu/bin")).unwrap();
        fs::create_dir(at("tmp")).unwrap();
        let qemu = at("qemu/bin/qemu-system-x86_64");
        let here = shell_quoted(directory.path());
        let version = "[ \"$1\" = --version ] && echo QEMU emulator version 9.2.0 && exit";
        fs::write(&qemu, format!("#!/bin/sh\n{version}\nHERE={here}\n{script}\n")).unwrap();
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
        let (code, variables) = firmware_pair(directory.path());
        let config = format!(
            "toplevel = {:?}\nregistration = {:?}\nuseNixStoreImage = true\nuseBootLoader = true\nuseEFIBoot = true\n\
             mountHostNixStore = false\nemptyDiskImages = [3]\nqemu.package = \"qemu\"\nefi.firmware = {:?}\n\
             efi.variables = {:?}\nsystem = \"x86_64-linux\"\n",
            system.toplevels[0],
            text(&system.registration),
            text(&code),
            text(&variables)
        );
        fs::write(at("vm.toml"), config).unwrap();
        Self { directory, system, program: program.into() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `run` by a shell that first does `before`.
    pub fn command(&self, before: &str) -> Command {
        self.command_by(&[], before)
    }

    /// The same by a program that starts another.
    pub fn command_by(&self, starter: &[&str], before: &str) -> Command {
        // No case is to wait for anything.
        let mut command = Command::new("timeout");
        let line = format!("{before}\nexec \"$0\" run --config vm.toml --accel tcg \"$@\"");
        command.arg("300").args(starter).args(["sh", "-c", &line]).arg(&self.program);
        command.arg("--store-root").arg(self.system.store.root.path());
        for name in ["USE_TMPDIR", "NIX_DISK_IMAGE", "NIX_EFI_VARS", "SHARED_DIR", "QEMU_NET_OPTS", "HOME"] {
            command.env_remove(name);
        }
        command.env("TMPDIR", self.path("tmp")).env("XDG_CACHE_HOME", self.path("cache"));
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// Runs it to the end, clean-up included.
    pub fn run(&self, before: &str) -> Output {
        self.command(before).output().unwrap()
    }

    pub fn success(&self, before: &str) -> String {
        let output = self.run(before);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{before}: {told}");
        told
    }

    /// The cache's names with that ending.
    pub fn cached(&self, ending: &str) -> Vec<PathBuf> {
        let cache = self.path("cache/nix-imagegen");
        let names = names_in(&cache).into_iter().filter(|name| name.ends_with(ending));
        names.map(|name| cache.join(name)).collect()
    }
}

/// What a command said last that must fail.
pub fn failure(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    told.lines().last().unwrap_or_default().to_owned()
}

fn shell_quoted(path: &Path) -> String {
    format!("'{}'", text(path).replace('\'', "'\\''"))
}
