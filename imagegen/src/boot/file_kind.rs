//! What a file is that should be something else, for messages.

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

/// Says what a file with this beginning is, if that can be told.
pub(super) fn file_kind(head: &[u8]) -> Option<&'static str> {
    KINDS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, kind)| *kind)
}
