//! A virtual machine of PC or ARM kind, in QEMU by translation, of which only what its serial port says is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::text;

/// Far more than any boot takes; the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(400);

/// What starts the boot loader.
pub enum Firmware<'a> {
    /// QEMU's own, for PCs.
    SeaBios,
    /// edk2's for PCs: its code, and the variables, which it may change.
    Ovmf(&'a Path, &'a Path),
    /// The same for ARM machines of 64 bits.
    Aavmf(&'a Path, &'a Path),
    /// None: QEMU starts a kernel with an initrd.
    Kernel(&'a Path, &'a Path),
}

/// A running machine.
pub struct Machine {
    process: Child,
    console: PathBuf,
    directory: tempfile::TempDir,
}

impl Machine {
    /// Starts a machine with these disks, which stay as they are; it boots from the first.
    pub fn start(firmware: &Firmware<'_>, disks: &[&Path]) -> Self {
        Self::with_disks(firmware, disks, "snapshot=on")
    }

    /// Starts a machine that writes to these raw disks.
    pub fn start_writing(firmware: &Firmware<'_>, disks: &[&Path]) -> Self {
        Self::with_disks(firmware, disks, "format=raw")
    }

    fn with_disks(firmware: &Firmware<'_>, disks: &[&Path], how: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let console = directory.path().join("console");
        let (program, machine) = match firmware {
            Firmware::SeaBios | Firmware::Ovmf(..) | Firmware::Kernel(..) => {
                ("qemu-system-x86_64", ["-machine", "pc", "-cpu", "max"])
            }
            Firmware::Aavmf(..) => ("qemu-system-aarch64", ["-machine", "virt", "-cpu", "cortex-a57"]),
        };
        let mut command = Command::new(program);
        command.args(machine).args([
            "-accel",
            "tcg",
            "-m",
            "512",
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
        ]);
        command.arg("-serial").arg(format!("file:{}", text(&console)));
        match firmware {
            // GRUB shows its menu there.
            Firmware::SeaBios => _ = command.args(["-vga", "std"]),
            Firmware::Kernel(kernel, initrd) => {
                command.args(["-kernel", text(kernel), "-initrd", text(initrd)]);
                command.args(["-append", "console=ttyS0 quiet panic=-1"]);
            }
            Firmware::Ovmf(code, variables) | Firmware::Aavmf(code, variables) => {
                let flash =
                    |unit, file, more| format!("if=pflash,format=raw,unit={unit},file={}{more}", text(file));
                command.arg("-drive").arg(flash(0, code, ",readonly=on"));
                command.arg("-drive").arg(flash(1, variables, ""));
            }
        }
        for disk in disks {
            command.arg("-drive").arg(format!("file={},if=virtio,{how}", text(disk)));
        }
        let errors = fs::File::create(directory.path().join("errors")).unwrap();
        let process =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().expect(program);
        Self { process, console, directory }
    }

    /// Waits until the machine switches itself off, and gives all that it said.
    pub fn until_off(mut self) -> String {
        let status = self.wait(|machine| machine.process.try_wait().unwrap());
        let said = self.said();
        let errors = fs::read_to_string(self.directory.path().join("errors")).unwrap();
        assert!(status.success(), "{status}: {errors}{said}");
        said
    }

    /// Waits until the machine says one of these, and gives all that it has said; the machine is then lost.
    pub fn until_said(mut self, one_of: &[&str]) -> String {
        self.wait(|machine| {
            Some(machine.said()).filter(|said| one_of.iter().any(|words| said.contains(words)))
        })
    }

    fn said(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    fn wait<T>(&mut self, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "the machine has only said: {}", self.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may be off already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
