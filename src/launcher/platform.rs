//! What differs between the kinds of guests.

/// The kind of machine that the guest runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// A PC.
    X86_64,
    /// QEMU's `virt` board.
    Aarch64,
}

/// A platform's names, devices and firmware.
pub struct Hardware {
    /// Nix's name of the platform.
    name: &'static str,
    /// The program that emulates it.
    pub qemu: &'static str,
    /// The Debian package with that program.
    pub qemu_package: &'static str,
    /// The board, as `-machine` takes it before the accelerator. QEMU's default board needs no name.
    pub board: &'static str,
    /// Linux's name of the first serial port.
    pub serial_device: &'static str,
    /// The arguments for a pointer and whatever else the board lacks.
    pub input_devices: &'static str,
    /// The TPM's device.
    pub tpm_device: &'static str,
    /// Pairs of UEFI code and empty variables where distributions put them.
    pub firmware: &'static [Firmware],
    /// The Debian package with the UEFI firmware.
    pub firmware_package: &'static str,
}

impl Platform {
    /// Every platform.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The platform of that name; Nix's, or only the processor's.
    pub fn by_name(name: &str) -> Option<Self> {
        let is_it = |known: &str| known == name || known.strip_suffix("-linux") == Some(name);
        Self::ALL.into_iter().find(|platform| is_it(platform.name()))
    }

    /// This machine's, if it is one of these.
    pub fn of_this_machine() -> Option<Self> {
        Self::by_name(std::env::consts::ARCH)
    }

    /// Nix's name of it.
    pub const fn name(self) -> &'static str {
        self.hardware().name
    }

    /// What the machine consists of.
    pub const fn hardware(self) -> &'static Hardware {
        match self {
            Self::X86_64 => &X86_64,
            Self::Aarch64 => &AARCH64,
        }
    }
}

const X86_64: Hardware = Hardware {
    name: "x86_64-linux",
    qemu: "qemu-system-x86_64",
    qemu_package: "qemu-system-x86",
    board: "",
    serial_device: "ttyS0",
    input_devices: "-usb -device usb-tablet,bus=usb-bus.0",
    tpm_device: "tpm-tis",
    // The 4 MiB build first: Debian 12 is the last one that has the other.
    firmware: &[
        Firmware::new(528 << 10, "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        Firmware::new(128 << 10, "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        Firmware::new(128 << 10, "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
        Firmware::new(
            528 << 10,
            "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
            "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
        ),
        Firmware::new(
            528 << 10,
            "/usr/share/qemu/ovmf-x86_64-4m-code.bin",
            "/usr/share/qemu/ovmf-x86_64-4m-vars.bin",
        ),
        Firmware::new(528 << 10, "/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),
    ],
    firmware_package: "ovmf",
};

const AARCH64: Hardware = Hardware {
    name: "aarch64-linux",
    qemu: "qemu-system-aarch64",
    qemu_package: "qemu-system-arm",
    board: "virt,gic-version=max,",
    serial_device: "ttyAMA0",
    input_devices: "-device virtio-gpu-pci -device usb-ehci,id=usb0 -device usb-kbd -device usb-tablet",
    tpm_device: "tpm-tis-device",
    firmware: &[
        Firmware::new(64 << 20, "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        Firmware::new(
            64 << 20,
            "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
            "/usr/share/edk2/aarch64/vars-template-pflash.raw",
        ),
        Firmware::new(64 << 20, "/usr/share/qemu/edk2-aarch64-code.fd", "/usr/share/qemu/edk2-arm-vars.fd"),
    ],
    firmware_package: "qemu-efi-aarch64",
};

/// A UEFI firmware and the variables that go with it.
pub struct Firmware {
    /// The size of the variables. A copy of them is recognised by it.
    pub variables_size: u64,
    /// The code.
    pub code: &'static str,
    /// The empty variables.
    pub variables: &'static str,
}

impl Firmware {
    const fn new(variables_size: u64, code: &'static str, variables: &'static str) -> Self {
        Self { variables_size, code, variables }
    }
}
