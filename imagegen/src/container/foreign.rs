//! Image files of other programs and compressed files, told by their signatures, with the command that makes a readable
//! image of them. A file without any of these signatures may be raw.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A kind of file that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    name: &'static str,
    advice: Advice,
}

/// What helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Advice {
    /// qemu-img knows it as this format.
    Convert(&'static str),
    /// This command, with the file's name behind it, unpacks it.
    Unpack(&'static str),
}

const fn image(name: &'static str, format: &'static str) -> Foreign {
    Foreign { name, advice: Advice::Convert(format) }
}

const fn packed(name: &'static str, command: &'static str) -> Foreign {
    Foreign { name, advice: Advice::Unpack(command) }
}

/// Signatures by their offset.
const FRONT: &[(usize, &[u8], Foreign)] = &[
    (0, b"KDMV", image("a VMDK image", "vmdk")),
    (0, b"COWD", image("a VMDK image", "vmdk")),
    (0, b"# Disk DescriptorFile", image("a VMDK descriptor", "vmdk")),
    (0x40, b"\x7f\x10\xda\xbe", image("a VDI image", "vdi")),
    (0, b"vhdxfile", image("a VHDX image", "vhdx")),
    (0, VHD, image("a VHD image (Virtual PC)", "vpc")),
    (0, b"QED\0", image("a QED image", "qed")),
    (0, b"QFI\xfb\0\0\0\x01", image("a qcow image of version 1", "qcow")),
    (0, b"WithoutFreeSpace", image("a Parallels image", "parallels")),
    (0, b"WithouFreSpacExt", image("a Parallels image", "parallels")),
    (0, b"Bochs Virtual HD Image", image("a Bochs image", "bochs")),
    (0, b"\x28\xb5\x2f\xfd", packed("compressed by zstd", "zstd -d")),
    (0, b"\x1f\x8b\x08", packed("compressed by gzip", "gzip -dk")),
    (0, b"\xfd7zXZ\0", packed("compressed by xz", "xz -dk")),
    (4, b"1AY&SY", packed("compressed by bzip2", "bzip2 -dk")),
    (0, b"\x04\x22\x4d\x18", packed("compressed by lz4", "lz4 -d")),
    (0, b"LZIP\x01", packed("compressed by lzip", "lzip -dk")),
    (0, b"7z\xbc\xaf\x27\x1c", packed("a 7z archive", "7z x")),
    (0, b"PK\x03\x04", packed("a zip archive", "unzip")),
    (257, b"ustar", packed("a tar archive", "tar -xf")),
];

/// The first bytes that are looked at.
const FRONT_LENGTH: usize = 512;
/// The length of the footer of a VHD or DMG image.
const FOOTER: u64 = 512;
const VHD: &[u8] = b"conectix";
/// Behind the contents of a disk image of macOS.
const DMG: &[u8] = b"koly";

impl Foreign {
    /// What a file of that length is, if it is one of these.
    pub fn of(file: &File, length: u64) -> io::Result<Option<Self>> {
        let front = usize::try_from(length).map_or(FRONT_LENGTH, |length| length.min(FRONT_LENGTH));
        let mut bytes = vec![0; front];
        file.read_exact_at(&mut bytes, 0)?;
        let at = |offset: usize, signature: &[u8]| {
            bytes.get(offset..).is_some_and(|bytes| bytes.starts_with(signature))
        };
        if let Some((.., found)) = FRONT.iter().find(|(offset, signature, _)| at(*offset, signature)) {
            return Ok(Some(*found));
        }
        let Some(start) = length.checked_sub(FOOTER) else { return Ok(None) };
        let mut footer = [0; VHD.len()];
        file.read_exact_at(&mut footer, start)?;
        Ok(if footer == VHD {
            Some(image("a VHD image (Virtual PC) of fixed size", "vpc"))
        } else if footer.starts_with(DMG) {
            Some(image("a DMG image", "dmg"))
        } else {
            None
        })
    }

    /// What the file at `path` is and what to do, as the end of a sentence that begins with its name.
    pub fn described(&self, path: &Path) -> String {
        let name = self.name;
        let file = quoted(path);
        match self.advice {
            Advice::Convert(format) => {
                let new = quoted(&path.with_extension("qcow2"));
                let new = if new == file { quoted(&path.with_extension("new.qcow2")) } else { new };
                format!(
                    "is {name}, which is not read; make a qcow2 image of it: `qemu-img convert -f {format} -O qcow2 {file} {new}`"
                )
            }
            Advice::Unpack(command) => format!("is {name}; unpack it: `{command} {file}`"),
        }
    }
}

/// A file's name as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,=".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
