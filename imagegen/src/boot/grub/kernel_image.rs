//! GRUB's kernel: an ELF executable in the package, flat in the core image.

use std::path::Path;

use object::LittleEndian;
use object::elf::{EM_386, FileHeader32, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

use super::GrubError;
use crate::units::{index, length};

/// The kernel is linked for conventional memory: what spans more than this is not GRUB's.
const SPAN_LIMIT: u32 = 640 << 10;

/// The kernel as it lies in memory, from its lowest address to the end of its initialised data.
///
/// The modules follow right there: the kernel looks for them at its own symbol for that end.
pub fn flatten(file: &Path, elf: &[u8]) -> Result<Vec<u8>, GrubError> {
    let problem = |problem: &str| GrubError::not_an_image(file, problem);
    let elf_problem = |error: object::read::Error| GrubError::not_an_image(file, error);

    let header = FileHeader32::<LittleEndian>::parse(elf).map_err(elf_problem)?;
    let endian = header.endian().map_err(elf_problem)?;
    if header.e_machine(endian) != EM_386 {
        return Err(problem("it is not for i386"));
    }
    let mut segments = Vec::new();
    for segment in header.program_headers(endian, elf).map_err(elf_problem)? {
        if segment.p_type(endian) != PT_LOAD || segment.p_filesz(endian) == 0 {
            continue;
        }
        let bytes = segment.data(endian, elf).map_err(|()| problem("a segment ends after the file"))?;
        segments.push((segment.p_vaddr(endian), bytes));
    }

    let base = segments.iter().map(|(address, _)| *address).min();
    let base = base.ok_or_else(|| problem("it has no segment to load"))?;
    let mut flat = Vec::new();
    segments.sort_by_key(|(address, _)| *address);
    for (address, bytes) in segments {
        // `base` is the lowest address, and an offset below the limit leaves room for any addition.
        let offset = u64::from(address - base);
        if offset + length(bytes.len()) > u64::from(SPAN_LIMIT) {
            return Err(problem(&format!("it spans more than {SPAN_LIMIT} bytes")));
        }
        if offset < length(flat.len()) {
            return Err(problem("two of its segments overlap"));
        }
        flat.resize(index(offset), 0);
        flat.extend_from_slice(bytes);
    }
    Ok(flat)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of these segments: address, contents.
    fn elf(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let count = u16::try_from(segments.len()).unwrap();
        let mut headers = Vec::new();
        let mut contents = Vec::new();
        for (address, bytes) in segments {
            let offset = 52 + 32 * u32::from(count) + u32::try_from(contents.len()).unwrap();
            let size = u32::try_from(bytes.len()).unwrap();
            for field in [PT_LOAD.0, offset, *address, *address, size, size, 7, 4] {
                headers.extend(field.to_le_bytes());
            }
            contents.extend_from_slice(bytes);
        }
        let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        for half in [2_u16, 3] {
            file.extend(half.to_le_bytes());
        }
        for word in [1_u32, 0x9000, 52, 0, 0] {
            file.extend(word.to_le_bytes());
        }
        for half in [52, 32, count, 40, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        [file, headers, contents].concat()
    }

    fn flatten_error(file: &[u8]) -> String {
        flatten(Path::new("dir/kernel.img"), file).unwrap_err().to_string()
    }

    #[test]
    fn segments_lie_at_their_addresses() {
        let file = elf(&[(0x9008, b"data"), (0x9000, b"text")]);
        assert_eq!(flatten(Path::new("kernel.img"), &file).unwrap(), b"text\0\0\0\0data");
    }

    #[test]
    fn malformed_files_are_named() {
        let good = elf(&[(0x9000, b"text")]);
        assert!(flatten(Path::new("kernel.img"), &good).is_ok());
        for cut in 0..good.len() {
            assert!(flatten_error(&good[..cut]).contains("dir/kernel.img"));
        }
        let mut other_machine = good.clone();
        other_machine[18] = 62;
        assert!(flatten_error(&other_machine).contains("not for i386"));
        assert!(flatten_error(&elf(&[])).contains("no segment"));
        assert!(flatten_error(&elf(&[(0, b"a"), (0xffff_ffff, b"b")])).contains("spans more"));
        assert!(flatten_error(&elf(&[(0x9000, b"text"), (0x9002, b"b")])).contains("overlap"));
    }
}
