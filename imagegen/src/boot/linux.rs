//! What boot loaders have to know about Linux.

/// The longest command line in bytes that Linux takes on a machine of a system double such as `x86_64-linux`: its
/// `COMMAND_LINE_SIZE` without the NUL at the end. Linux drops what is behind it, and the machine goes on without.
///
/// Source: Linux, `arch/x86/include/asm/setup.h` (2048), `arch/arm64/include/uapi/asm/setup.h` (2048),
/// `arch/riscv/include/uapi/asm/setup.h` (1024).
pub fn command_line_max(system: &str) -> usize {
    if system == "riscv64-linux" { 1023 } else { 2047 }
}

/// The beginnings of files that are taken for kernels, and what such a file is.
const KINDS: [(&[u8], &str); 8] = [
    (b"\x7fELF", "an ELF file, as vmlinux is"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"BZh", "compressed with bzip2"),
    (b"\x02\x21\x4c\x18", "compressed with lz4"),
    (b"\x04\x22\x4d\x18", "compressed with lz4"),
    (b"#!", "a script"),
];

/// What a file is that is no kernel, for messages, if its beginning tells.
pub(super) fn file_kind(head: &[u8]) -> Option<&'static str> {
    KINDS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, kind)| *kind)
}
