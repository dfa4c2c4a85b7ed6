//! The processors that UEFI firmware and systemd-boot run on.

/// A processor as UEFI file names know it (UEFI 2.10, section 3.5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
    pub(super) const ALL: [Self; 4] = [Self::X64, Self::Ia32, Self::Aa64, Self::Riscv64];

    /// The processor of a system double such as `x86_64-linux`.
    pub fn of_system(system: &str) -> Option<Self> {
        let name = system.strip_suffix("-linux")?;
        Self::ALL.into_iter().find(|architecture| architecture.name() == name)
    }

    /// The processor of a program that firmware starts from a disk of which it knows nothing, by its name.
    pub(crate) fn of_fallback(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|known| name.eq_ignore_ascii_case(known.program_of("BOOT").as_bytes()))
    }

    /// The processor of systemd-boot or GRUB as their installers name it, by its name.
    pub(crate) fn of_loader(name: &[u8]) -> Option<Self> {
        let is_it = |known: &Self, loader| name.eq_ignore_ascii_case(known.program_of(loader).as_bytes());
        Self::ALL.into_iter().find(|known| is_it(known, "systemd-boot") || is_it(known, "grub"))
    }

    fn program_of(self, loader: &str) -> String {
        format!("{loader}{}.efi", self.names().1)
    }

    /// As Nix's system doubles call it, and as UEFI's file names do.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::X64 => ("x86_64", "x64"),
            Self::Ia32 => ("i686", "ia32"),
            Self::Aa64 => ("aarch64", "aa64"),
            Self::Riscv64 => ("riscv64", "riscv64"),
        }
    }

    /// As Nix's system doubles call it.
    pub(super) const fn name(self) -> &'static str {
        self.names().0
    }

    /// Where the program lies on the EFI system partition; the entry in the firmware's variables names it.
    pub fn program_path(self) -> String {
        format!("EFI/systemd/{}", self.program())
    }

    /// systemd's name of the program.
    pub(super) fn program(self) -> String {
        format!("systemd-boot{}.efi", self.names().1)
    }

    /// What firmware starts from a disk of which it knows nothing.
    pub(super) fn fallback_path(self) -> String {
        format!("EFI/BOOT/BOOT{}.EFI", self.names().1.to_uppercase())
    }
}
