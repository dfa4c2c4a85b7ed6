//! The processors that systemd-boot runs on.

use super::SystemdBootError;

/// A processor as UEFI file names know it (UEFI 2.10, section 3.5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `x86_64-linux`.
    X64,
    /// `i686-linux`.
    Ia32,
    /// `aarch64-linux`.
    Aa64,
    /// `riscv64-linux`.
    Riscv64,
}

impl Architecture {
    pub(super) fn of_system(system: &str) -> Result<Self, SystemdBootError> {
        match system {
            "x86_64-linux" => Ok(Self::X64),
            "i686-linux" => Ok(Self::Ia32),
            "aarch64-linux" => Ok(Self::Aa64),
            "riscv64-linux" => Ok(Self::Riscv64),
            other => Err(SystemdBootError::Architecture(other.to_owned())),
        }
    }

    /// As Nix's system doubles call it.
    pub(in crate::boot) const fn name(self) -> &'static str {
        match self {
            Self::X64 => "x86_64",
            Self::Ia32 => "i686",
            Self::Aa64 => "aarch64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// Where the program lies on the EFI system partition; the entry in the firmware's variables names it.
    pub fn program_path(self) -> String {
        format!("EFI/systemd/{}", self.program())
    }

    /// systemd's name of the program.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::X64 => "systemd-bootx64.efi",
            Self::Ia32 => "systemd-bootia32.efi",
            Self::Aa64 => "systemd-bootaa64.efi",
            Self::Riscv64 => "systemd-bootriscv64.efi",
        }
    }

    /// What firmware starts from a disk of which it knows nothing.
    pub(super) const fn fallback(self) -> &'static str {
        match self {
            Self::X64 => "BOOTX64.EFI",
            Self::Ia32 => "BOOTIA32.EFI",
            Self::Aa64 => "BOOTAA64.EFI",
            Self::Riscv64 => "BOOTRISCV64.EFI",
        }
    }
}
