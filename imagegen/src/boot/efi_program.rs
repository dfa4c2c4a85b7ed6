//! What UEFI firmware starts: a PE program for its kind of processor (UEFI 2.10, section 2.1.1; Microsoft's "PE Format").

use object::LittleEndian as LE;
use object::pe::{
    IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_ARM64, IMAGE_FILE_MACHINE_I386, IMAGE_FILE_MACHINE_RISCV64,
    IMAGE_NT_OPTIONAL_HDR32_MAGIC, IMAGE_SUBSYSTEM_EFI_APPLICATION, ImageDosHeader, ImageNtHeaders32,
    ImageNtHeaders64, Machine,
};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, optional_header_magic};

use super::architecture::Architecture;
use super::linux::file_kind;

/// The headers of a program for Linux or systemd-boot lie well within its first bytes.
pub(super) const HEAD: u64 = 64 << 10;
/// Where a bzImage has its magic number.
const BZ_IMAGE_MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
/// Where an uncompressed kernel for ARM has its own.
const ARM64_IMAGE_MAGIC: (usize, &[u8]) = (0x38, b"ARM\x64");

/// Checks that firmware can start a file of `size` bytes with this beginning; says why it cannot.
pub(super) fn check(head: &[u8], size: u64, architecture: Architecture) -> Result<(), String> {
    let magic = match optional_header_magic(head) {
        Ok(magic) if head.starts_with(b"MZ") => magic,
        _ => return Err(what_it_is(head)),
    };
    if magic == IMAGE_NT_OPTIONAL_HDR32_MAGIC {
        check_headers::<ImageNtHeaders32>(head, size, architecture)
    } else {
        check_headers::<ImageNtHeaders64>(head, size, architecture)
    }
}

fn check_headers<Headers: ImageNtHeaders>(
    head: &[u8],
    size: u64,
    architecture: Architecture,
) -> Result<(), String> {
    let damaged = |error: object::read::Error| format!("its PE header is damaged ({error})");
    let mut offset = ImageDosHeader::parse(head).map_err(damaged)?.nt_headers_offset().into();
    let (headers, _) = Headers::parse(head, &mut offset).map_err(damaged)?;
    let machine = headers.file_header().machine.get(LE);
    if machine != machine_of(architecture) {
        let known = known_machine(machine).map(|name| format!(" ({name})")).unwrap_or_default();
        return Err(format!(
            "it is a PE program for machine {:#06x}{known}, and the system is for {}",
            machine.0,
            architecture.name()
        ));
    }
    let subsystem = headers.optional_header().subsystem();
    if subsystem != IMAGE_SUBSYSTEM_EFI_APPLICATION {
        return Err(format!("it is a PE program of subsystem {}, and not for EFI (10)", subsystem.0));
    }
    for section in headers.sections(head, offset).map_err(damaged)?.iter() {
        let (start, length) = section.pe_file_range();
        let end = u64::from(start) + u64::from(length);
        if length > 0 && end > size {
            return Err(format!("its PE program is cut off: it has {size} bytes, and goes on to byte {end}"));
        }
    }
    Ok(())
}

/// What a file without a PE header is.
fn what_it_is(head: &[u8]) -> String {
    let has = |(at, magic): (usize, &[u8])| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if let Some(kind) = file_kind(head) {
        return format!("it is {kind}, and not a PE program");
    }
    let without_stub = has(BZ_IMAGE_MAGIC) || has(ARM64_IMAGE_MAGIC);
    if without_stub && !head.starts_with(b"MZ") {
        return "it is a kernel without EFI stub (CONFIG_EFI_STUB), and not a PE program".to_owned();
    }
    "it has no PE header".to_owned()
}

fn machine_of(architecture: Architecture) -> Machine {
    match architecture {
        Architecture::X64 => IMAGE_FILE_MACHINE_AMD64,
        Architecture::Ia32 => IMAGE_FILE_MACHINE_I386,
        Architecture::Aa64 => IMAGE_FILE_MACHINE_ARM64,
        Architecture::Riscv64 => IMAGE_FILE_MACHINE_RISCV64,
    }
}

fn known_machine(machine: Machine) -> Option<&'static str> {
    Architecture::ALL.into_iter().find(|known| machine_of(*known) == machine).map(Architecture::name)
}
