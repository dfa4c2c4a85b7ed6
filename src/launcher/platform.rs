//! What differs between the kinds of guests.

/// The kind of machine that the guest runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// A PC.
    X86_64,
    /// QEMU's `virt` board.
    Aarch64,
}

impl Platform {
    /// Every platform with Nix's name of it.
    pub const NAMES: [(&'static str, Self); 2] =
        [("x86_64-linux", Self::X86_64), ("aarch64-linux", Self::Aarch64)];

    /// The platform of that name; Nix's, or only the processor's.
    pub fn by_name(name: &str) -> Option<Self> {
        let found = Self::NAMES
            .iter()
            .find(|(known, _)| *known == name || known.strip_suffix("-linux").is_some_and(|cpu| cpu == name));
        found.map(|(_, platform)| *platform)
    }

    /// This machine's, if it is one of these.
    pub fn of_this_machine() -> Option<Self> {
        Self::by_name(std::env::consts::ARCH)
    }

    /// Nix's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-linux",
            Self::Aarch64 => "aarch64-linux",
        }
    }

    /// The program that emulates it.
    pub const fn qemu(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// The Debian package with that program.
    pub const fn qemu_package(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86",
            Self::Aarch64 => "qemu-system-arm",
        }
    }

    /// The board, as `-machine` takes it before the accelerator; QEMU's default board needs no name.
    pub const fn board(self) -> &'static str {
        match self {
            Self::X86_64 => "",
            Self::Aarch64 => "virt,gic-version=max,",
        }
    }

    /// Linux's name of the first serial port.
    pub const fn serial_device(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }

    /// The arguments for a pointer and whatever else the board lacks.
    pub const fn input_devices(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => &["-usb", "-device", "usb-tablet,bus=usb-bus.0"],
            Self::Aarch64 => &[
                "-device",
                "virtio-gpu-pci",
                "-device",
                "usb-ehci,id=usb0",
                "-device",
                "usb-kbd",
                "-device",
                "usb-tablet",
            ],
        }
    }

    /// The TPM's device.
    pub const fn tpm_device(self) -> &'static str {
        match self {
            Self::X86_64 => "tpm-tis",
            Self::Aarch64 => "tpm-tis-device",
        }
    }

    /// Pairs of UEFI code and empty variables where distributions put them.
    pub const fn firmware(self) -> &'static [Firmware] {
        match self {
            Self::X86_64 => &X86_64_FIRMWARE,
            Self::Aarch64 => &AARCH64_FIRMWARE,
        }
    }

    /// The Debian package with the UEFI firmware.
    pub const fn firmware_package(self) -> &'static str {
        match self {
            Self::X86_64 => "ovmf",
            Self::Aarch64 => "qemu-efi-aarch64",
        }
    }
}

/// A UEFI firmware and the variables that go with it.
#[derive(Debug, Clone, Copy)]
pub struct Firmware {
    /// The size of the variables, by which a copy of them is recognised.
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

const X86_64_FIRMWARE: [Firmware; 6] = [
    // The 4 MiB build first: Debian 12 is the last one that has the other.
    Firmware::new(528 << 10, "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    Firmware::new(128 << 10, "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    Firmware::new(128 << 10, "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    Firmware::new(528 << 10, "/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    Firmware::new(
        528 << 10,
        "/usr/share/qemu/ovmf-x86_64-4m-code.bin",
        "/usr/share/qemu/ovmf-x86_64-4m-vars.bin",
    ),
    Firmware::new(528 << 10, "/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),
];

const AARCH64_FIRMWARE: [Firmware; 3] = [
    Firmware::new(64 << 20, "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    Firmware::new(
        64 << 20,
        "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
        "/usr/share/edk2/aarch64/vars-template-pflash.raw",
    ),
    Firmware::new(64 << 20, "/usr/share/qemu/edk2-aarch64-code.fd", "/usr/share/qemu/edk2-arm-vars.fd"),
];
