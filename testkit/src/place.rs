//! A directory with images, from which `run IMAGE` prints machines.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use super::guest::Guest;
use super::home::success;
use super::program::efi_program;
use super::{error_of, names_in, run, text, tool};

const MIB: u64 = 1 << 20;

/// A directory with images, from which machines start.
pub struct Place {
    pub directory: tempfile::TempDir,
    program: PathBuf,
}

/// What is printed of a machine.
pub struct Printed {
    pub words: Vec<String>,
    pub told: String,
}

impl Place {
    pub fn new(program: &str) -> Self {
        // As the directory of other machines is called.
        let directory = tempfile::Builder::new().prefix("a, b's $HOME ").tempdir().unwrap();
        fs::create_dir(directory.path().join("tmp")).unwrap();
        Self { directory, program: program.into() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("run").args(arguments).current_dir(self.directory.path()).env("TMPDIR", self.path("tmp"));
        for name in ["NIX_EFI_VARS", "USE_TMPDIR", "QEMU_OPTS", "QEMU_NET_OPTS", "DISPLAY", "WAYLAND_DISPLAY"]
        {
            command.env_remove(name);
        }
        // It is for a machine with a config; one of an image has its disk already.
        command.env("NIX_DISK_IMAGE", "/does/not/exist");
        command
    }

    pub fn printed(&self, arguments: &[&str]) -> Printed {
        Printed::by(self.command(&[&["--accel", "tcg", "--print", "--json"], arguments].concat()))
    }

    pub fn refused(&self, arguments: &[&str]) -> String {
        let before = names_in(&self.path("tmp"));
        let error = error_of(&mut self.command(arguments));
        assert_eq!(names_in(&self.path("tmp")), before);
        error
    }

    /// A root disk of the Debian guest, whose GRUB and systemd-boot are real.
    pub fn root_disk(&self, name: &str, more: &[&str]) {
        let guest = Guest::get();
        let mut command = Command::new(&self.program);
        command.args(["root-disk", "--store-root", text(&guest.root)]);
        command.args(["--registration", text(&guest.registration), "--toplevel", &guest.toplevel]);
        success(&command.args(more).arg("-o").arg(self.path(name)).output().unwrap());
    }

    /// A disk as other tools make it: a GPT with a FAT file system that has these EFI programs.
    pub fn esp(&self, name: &str, programs: &[(&str, u16)]) {
        let disk = self.path(name);
        File::create(&disk).unwrap().set_len(64 * MIB).unwrap();
        tool(&["sgdisk", "-n", "1:2048:+48M", "-t", "1:ef00", text(&disk)]);
        let at = format!("{}@@1M", text(&disk));
        tool(&["mformat", "-i", &at, "-T", "98304", "-h", "2", "-s", "32", "::"]);
        tool(&["mmd", "-i", &at, "::/efi", "::/efi/boot"]);
        for (program, machine) in programs {
            let file = self.path("program");
            fs::write(&file, efi_program(*machine, b"#### LoaderInfo: a loader 7 ####")).unwrap();
            tool(&["mcopy", "-i", &at, text(&file), &format!("::/efi/boot/{program}")]);
        }
    }

    /// Puts a text into that file system.
    pub fn add(&self, name: &str, path: &str, contents: &str) {
        let at = format!("{}@@1M", text(&self.path(name)));
        let file = self.path("text");
        fs::write(&file, contents).unwrap();
        for (end, _) in path.match_indices('/') {
            // It may be there.
            let _ = run(&["mmd", "-D", "s", "-i", &at, &format!("::/{}", &path[..end])]);
        }
        tool(&["mcopy", "-o", "-i", &at, text(&file), &format!("::/{path}")]);
    }
}

impl Printed {
    pub fn by(mut command: Command) -> Self {
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        Self { words: serde_json::from_slice(&output.stdout).unwrap(), told }
    }

    /// The values of an option.
    pub fn all(&self, option: &str) -> Vec<&str> {
        let pairs = self.words.windows(2).filter(|pair| pair[0] == option);
        pairs.map(|pair| pair[1].as_str()).collect()
    }

    pub fn flash(&self) -> Vec<&str> {
        self.all("-drive").into_iter().filter(|drive| drive.starts_with("if=pflash,")).collect()
    }

    pub fn disks(&self) -> Vec<&str> {
        self.all("-drive").into_iter().filter(|drive| !drive.starts_with("if=pflash,")).collect()
    }
}
