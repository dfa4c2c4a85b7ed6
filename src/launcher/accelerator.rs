//! KVM where it truly works, QEMU's own translator elsewhere.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What runs the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor, by the kernel's help.
    Kvm,
    /// QEMU, by translation.
    Tcg,
}

impl Accelerator {
    /// QEMU's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// How long the probe may take; a KVM that works needs some tens of milliseconds.
const PROBE_TIME: Duration = Duration::from_secs(3);
/// What the probe's guest writes to the exit device, and the exit status that QEMU makes of it.
const PROBE_VALUE: u8 = 0x10;
const PROBE_STATUS: i32 = 0x21;
/// Where the exit device listens.
const EXIT_PORT: u8 = 0xF4;

/// KVM if a guest runs in it, TCG otherwise. That `/dev/kvm` can be opened proves nothing: in some virtual machines it
/// opens and every guest dies.
pub fn choose(qemu: &Path) -> Accelerator {
    let opens = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if opens && guest_runs(qemu) { Accelerator::Kvm } else { Accelerator::Tcg }
}

/// Runs a BIOS of a few instructions that asks QEMU to end.
fn guest_runs(qemu: &Path) -> bool {
    let Ok(mut bios) = tempfile::NamedTempFile::new() else { return false };
    if bios.write_all(&probe_bios()).is_err() {
        return false;
    }
    let started = Command::new(qemu)
        .args(["-machine", "pc,accel=kvm", "-nodefaults", "-no-user-config", "-display", "none", "-m", "16"])
        // The processor that the machine will have: setting it up is where some KVMs fail.
        .args(["-cpu", "max"])
        .args(["-device", &format!("isa-debug-exit,iobase={EXIT_PORT},iosize=1"), "-bios"])
        .arg(bios.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut guest) = started else { return false };
    let deadline = Instant::now() + PROBE_TIME;
    while Instant::now() < deadline {
        match guest.try_wait() {
            Ok(Some(status)) => return status.code() == Some(PROBE_STATUS),
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => break,
        }
    }
    // A guest that neither runs nor dies does not run.
    let _ = guest.kill();
    let _ = guest.wait();
    false
}

/// 64 KiB that end at the reset vector, 16 bytes below 4 GiB.
fn probe_bios() -> Vec<u8> {
    // mov al, VALUE; out PORT, al; hlt
    let code = [0xB0, PROBE_VALUE, 0xE6, EXIT_PORT, 0xF4];
    let mut bios = vec![0xF4; 64 << 10];
    let vector = bios.len() - 16;
    bios[vector..vector + code.len()].copy_from_slice(&code);
    bios
}
