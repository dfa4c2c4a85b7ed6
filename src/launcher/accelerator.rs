//! KVM where it truly works, QEMU's own translator elsewhere.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::platform::Platform;

/// What runs the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor, through the kernel.
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
/// What the PC probe's guest writes to the exit device, and the exit status that QEMU makes of it.
const PROBE_VALUE: u8 = 0x10;
const PROBE_STATUS: i32 = 0x21;
/// Where the exit device listens.
const EXIT_PORT: u8 = 0xF4;

/// KVM if a guest of the platform runs in it, TCG otherwise. That `/dev/kvm` can be opened proves nothing: in some
/// virtual machines it can, and every guest dies.
pub fn choose(qemu: &Path, platform: Platform) -> Accelerator {
    let is_own = Platform::of_this_machine() == Some(platform);
    let opens = || File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if is_own && opens() && guest_runs(qemu, platform, "kvm") { Accelerator::Kvm } else { Accelerator::Tcg }
}

/// Runs a firmware of a few instructions that asks QEMU to end.
fn guest_runs(qemu: &Path, platform: Platform, accelerator: &str) -> bool {
    let (board, code, expected) = match platform {
        Platform::X86_64 => ("pc", pc_firmware(), PROBE_STATUS),
        Platform::Aarch64 => ("virt,gic-version=max", arm_firmware(), 0),
    };
    let mut command = Command::new(qemu);
    command
        .args(["-machine", &format!("{board},accel={accelerator}"), "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-m", "64"])
        // The processor that the machine will have: some KVMs fail when they set it up.
        .args(["-cpu", "max"]);
    if platform == Platform::X86_64 {
        command.args(["-device", &format!("isa-debug-exit,iobase={EXIT_PORT},iosize=1")]);
    }
    probe(command, &code).is_ok_and(|status| status == Some(expected))
}

/// The exit status of a guest, if it ends in time.
fn probe(mut command: Command, code: &[u8]) -> io::Result<Option<i32>> {
    let mut firmware = tempfile::NamedTempFile::new()?;
    firmware.write_all(code)?;
    let errors = tempfile::tempfile()?;
    command.arg("-bios").arg(firmware.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut guest = command.stderr(errors.try_clone()?).spawn()?;
    let deadline = Instant::now() + PROBE_TIME;
    while Instant::now() < deadline && !has_failed(&errors) {
        match guest.try_wait() {
            Ok(Some(status)) => return Ok(status.code()),
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => break,
        }
    }
    // A guest that neither runs nor dies does not run.
    let _ = guest.kill();
    let _ = guest.wait();
    Ok(None)
}

/// KVM has given the guest up. QEMU says so and then stands still instead of ending.
fn has_failed(errors: &File) -> bool {
    let mut start = [0; 256];
    let length = errors.read_at(&mut start, 0).unwrap_or_default();
    String::from_utf8_lossy(&start[..length]).contains("KVM internal error")
}

/// 64 KiB that end at the reset vector, 16 bytes below 4 GiB.
fn pc_firmware() -> Vec<u8> {
    // fwait; fninit; mov al, VALUE; out PORT, al; hlt. A KVM that only emulates knows the latter three but no floating
    // point, so UEFI's firmware dies in it.
    let code = [0x9B, 0xDB, 0xE3, 0xB0, PROBE_VALUE, 0xE6, EXIT_PORT, 0xF4];
    let mut firmware = vec![0xF4; 64 << 10];
    let vector = firmware.len() - 16;
    firmware[vector..vector + code.len()].copy_from_slice(&code);
    firmware
}

/// What switches the board off by PSCI (Arm DEN0022, `SYSTEM_OFF`); execution begins at its start.
fn arm_firmware() -> Vec<u8> {
    // movz w0, #0x0008; movk w0, #0x8400, lsl #16; hvc #0; b .
    [0x5280_0100_u32, 0x72B0_8000, 0xD400_0002, 0x1400_0000].into_iter().flat_map(u32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a guest runs is told right where one surely does.
    #[test]
    fn the_probe_sees_guests_run() {
        for platform in [Platform::X86_64, Platform::Aarch64] {
            let qemu = Path::new("/usr/bin").join(platform.hardware().qemu);
            if platform == Platform::X86_64 || qemu.exists() {
                assert!(guest_runs(&qemu, platform, "tcg"), "{platform:?}");
            }
            assert!(!guest_runs(Path::new("/bin/false"), platform, "tcg"));
            assert!(!guest_runs(Path::new("/does/not/exist"), platform, "tcg"));
        }
    }
}
