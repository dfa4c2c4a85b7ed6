//! The kernel that GRUB starts on a PC: a bzImage (Linux's documentation, "The Linux/x86 Boot Protocol").

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::boot::linux::file_kind;
use crate::units::index;

/// How much of a bzImage is read: enough for its header.
pub(super) const HEAD: u64 = 1024;
/// Where the header begins.
const OFFSET: usize = 0x1f1;
/// GRUB's limit for the code that starts in real mode.
const SETUP_SECTORS_MAX: u8 = 64;
/// The number of setup sectors that a 0 in the header stands for.
const SETUP_SECTORS: u8 = 4;
/// The kernel's own code is loaded above 1 MiB.
const LOADED_HIGH: u8 = 1;
/// The first protocol whose kernels GRUB's `linux` starts.
const VERSION_MIN: u16 = 0x0203;
/// Since this protocol the size of the kernel's own code has 32 bits.
const VERSION_SYSSIZE: u16 = 0x0204;
/// Since this protocol the header says how long a command line may be; 255 bytes before.
const VERSION_CMDLINE_SIZE: u16 = 0x0206;
const CMDLINE_SIZE_BEFORE: usize = 255;

/// The setup header, up to the last field that is needed.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SetupHeader {
    setup_sects: u8,
    root_flags: U16,
    syssize: U32,
    ram_size: U16,
    vid_mode: U16,
    root_dev: U16,
    boot_flag: U16,
    jump: [u8; 2],
    header: [u8; 4],
    version: U16,
    /// `realmode_swtch` to `type_of_loader`.
    not_read: [u8; 9],
    loadflags: u8,
    /// `setup_move_size` to `xloadflags`.
    not_read_either: [u8; 0x26],
    cmdline_size: U32,
}

/// Checks that GRUB can start a file of `size` bytes with this beginning and gives the length of the longest command line
/// that it hands over, in bytes without the NUL, if the file says; else says why it cannot.
pub(super) fn check(head: &[u8], size: u64) -> Result<Option<usize>, String> {
    let no_bz_image = || match file_kind(head) {
        Some(kind) => format!("it is {kind}, and not a bzImage"),
        None => "it has no bzImage header".to_owned(),
    };
    let (header, _) = head
        .get(OFFSET..)
        .and_then(|header| SetupHeader::ref_from_prefix(header).ok())
        .filter(|(header, _)| header.boot_flag == 0xaa55 && &header.header == b"HdrS")
        .ok_or_else(no_bz_image)?;
    let version = header.version.get();
    if version < VERSION_MIN {
        return Err(format!(
            "it is a kernel of boot protocol {}.{:02}, and GRUB needs 2.03",
            version >> 8,
            version & 0xff
        ));
    }
    if header.setup_sects > SETUP_SECTORS_MAX {
        let sectors = header.setup_sects;
        return Err(format!(
            "its header says {sectors} setup sectors, and GRUB takes at most {SETUP_SECTORS_MAX}"
        ));
    }
    if header.loadflags & LOADED_HIGH == 0 {
        return Err("it is a zImage, which is loaded low, and not a bzImage".to_owned());
    }
    let setup = if header.setup_sects == 0 { SETUP_SECTORS } else { header.setup_sects };
    let syssize = if version < VERSION_SYSSIZE { 0 } else { header.syssize.get() };
    // The boot sector, the other sectors of the setup code, then the kernel in units of 16 bytes.
    let end = (u64::from(setup) + 1) * 512 + u64::from(syssize) * 16;
    if end > size || end == size && syssize == 0 {
        return Err(format!("it is cut off: it has {size} bytes, and goes on to byte {end}"));
    }
    let said = index(header.cmdline_size.get().into());
    if version < VERSION_CMDLINE_SIZE {
        return Ok(Some(CMDLINE_SIZE_BEFORE));
    }
    // No kernel says 0; then there is Linux's own limit.
    Ok((said > 0).then_some(said))
}
