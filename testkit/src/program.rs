//! Files that firmware and boot loaders take for kernels and programs, and that do nothing.

/// The machines of PE programs (Microsoft's "PE Format").
pub const X64: u16 = 0x8664;
pub const IA32: u16 = 0x014c;
pub const AA64: u16 = 0xaa64;

const PE_AT: usize = 0x40;
/// The one section begins here; a bzImage's setup code, of one sector, ends here.
const SECTION_AT: usize = 1024;

/// An EFI program for that machine, whose only section is `body`.
pub fn efi_program(machine: u16, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).unwrap();
    let section_at = u32::try_from(SECTION_AT).unwrap();
    let (magic, optional, directories): (u16, usize, usize) =
        if machine == IA32 { (0x10b, 96, 6) } else { (0x20b, 112, 6) };
    let optional_size = optional + directories * 8;
    let mut file = vec![0; SECTION_AT];
    let mut set = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    set(0, b"MZ");
    set(0x3c, &u32::try_from(PE_AT).unwrap().to_le_bytes());
    set(PE_AT, b"PE\0\0");
    set(PE_AT + 4, &machine.to_le_bytes());
    set(PE_AT + 6, &1_u16.to_le_bytes()); // NumberOfSections
    set(PE_AT + 20, &u16::try_from(optional_size).unwrap().to_le_bytes());
    set(PE_AT + 22, &0x206_u16.to_le_bytes()); // Characteristics
    let header = PE_AT + 24;
    set(header, &magic.to_le_bytes());
    set(header + 16, &0x1000_u32.to_le_bytes()); // AddressOfEntryPoint
    set(header + 32, &0x1000_u32.to_le_bytes()); // SectionAlignment
    set(header + 36, &512_u32.to_le_bytes()); // FileAlignment
    set(header + 56, &(0x1000 + size).to_le_bytes()); // SizeOfImage
    set(header + 60, &section_at.to_le_bytes()); // SizeOfHeaders
    set(header + 68, &10_u16.to_le_bytes()); // Subsystem: EFI application
    set(header + optional - 4, &u32::try_from(directories).unwrap().to_le_bytes());
    let section = header + optional_size;
    set(section, b".text");
    for (at, value) in [(8, size), (12, 0x1000), (16, size), (20, section_at), (36, 0x6000_0020)] {
        set(section + at, &value.to_le_bytes());
    }
    file.extend_from_slice(body);
    file
}

/// A bzImage with EFI stub for x86-64, of boot protocol 2.15.
pub fn kernel(body: &[u8]) -> Vec<u8> {
    let mut file = efi_program(X64, body);
    let mut set = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    set(0x1f1, &[1]); // setup_sects
    set(0x1f4, &u32::try_from(body.len() / 16).unwrap().to_le_bytes()); // syssize
    set(0x1fe, &[0x55, 0xaa]); // boot_flag
    set(0x202, b"HdrS");
    set(0x206, &0x020f_u16.to_le_bytes()); // version
    set(0x211, &[1]); // loadflags: LOADED_HIGH
    set(0x238, &2047_u32.to_le_bytes()); // cmdline_size
    file
}
