//! Finished images read from front to end, and their SHA-256.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use data_encoding::HEXLOWER;
use imagegen::host_file::{data_from, hole_from};
use imagegen::progress::Progress;
use imagegen::units::ByteCount;
use sha2::{Digest, Sha256};

/// How much of a finished image is read at once.
const BLOCK: u64 = 1 << 20;

/// The SHA-256 of the first `length` bytes of a file as hexadecimal digits.
pub fn digest(file: &File, length: ByteCount, progress: &dyn Progress) -> io::Result<String> {
    progress.begin("digest", length.0);
    let mut hasher = Sha256::new();
    for_each_piece(file, length, progress, |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    progress.end();
    Ok(HEXLOWER.encode(&hasher.finalize()))
}

/// The same while the bytes are written elsewhere too, with the result of writing them. That a reader goes away keeps
/// no byte from the digest; it is computed only if it is wanted.
pub fn digest_while_writing(
    file: &File,
    length: ByteCount,
    target: &mut impl io::Write,
    is_wanted: bool,
    progress: &dyn Progress,
) -> io::Result<(Option<String>, io::Result<()>)> {
    progress.begin("output", length.0);
    let mut hasher = Sha256::new();
    let mut written = Ok(());
    let read = for_each_piece(file, length, progress, |piece| {
        if written.is_ok() {
            written = target.write_all(piece);
        }
        if is_wanted {
            hasher.update(piece);
        } else if written.is_err() {
            return Err(io::ErrorKind::Other.into());
        }
        Ok(())
    });
    if written.is_ok() || is_wanted {
        read?;
    }
    progress.end();
    Ok((is_wanted.then(|| HEXLOWER.encode(&hasher.finalize())), written))
}

/// A line as `sha256sum` prints it and `sha256sum --check` reads it, which has its own escapes for names.
pub fn line(sha256: &str, file: &Path) -> Vec<u8> {
    let mut name = Vec::new();
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'\\' => name.extend(b"\\\\"),
            b'\n' => name.extend(b"\\n"),
            b'\r' => name.extend(b"\\r"),
            byte => name.push(*byte),
        }
    }
    let is_escaped = name.len() != file.as_os_str().len();
    let mark: &[u8] = if is_escaped { b"\\" } else { b"" };
    [mark, sha256.as_bytes(), b"  ", &name, b"\n"].concat()
}

/// Reads the first `length` bytes of a file in order. Holes are given as the zeros that they are, without being read. Moves
/// the place at which the file is read.
fn for_each_piece(
    file: &File,
    length: ByteCount,
    progress: &dyn Progress,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (zeros, mut block) = (vec![0; capacity(BLOCK)], vec![0; capacity(BLOCK)]);
    let mut offset = 0;
    while offset < length.0 {
        let data = next_data(file, offset, length.0)?;
        while offset < data.start {
            let count = BLOCK.min(data.start - offset);
            take(&zeros[..capacity(count)])?;
            offset += count;
            progress.advance(count);
        }
        while offset < data.end {
            let wanted = capacity(BLOCK.min(data.end - offset));
            let read = match file.read_at(&mut block[..wanted], offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            take(&block[..read])?;
            let read = u64::try_from(read).unwrap_or_default();
            offset += read;
            progress.advance(read);
        }
    }
    Ok(())
}

/// The next range of data at or after an offset (lseek(2)), up to `length`. It is empty if only a hole follows; it is
/// everything that follows on devices, which tell no holes.
fn next_data(file: &File, place: u64, length: u64) -> io::Result<Range<u64>> {
    let Some(start) = data_from(file, place)? else {
        // Where the file ends before `length`, reading will say so.
        let start = if file.metadata()?.len() >= length { length } else { place };
        return Ok(start..length);
    };
    let end = hole_from(file, start)?;
    Ok(start.clamp(place, length)..end.clamp(place, length))
}

/// At most a block.
fn capacity(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use imagegen::progress::Silent;

    use super::*;

    fn of(bytes: &[u8]) -> String {
        HEXLOWER.encode(&Sha256::digest(bytes))
    }

    #[test]
    fn holes_count_as_zeros() {
        const MIB: usize = 1 << 20;
        for (pieces, length) in [
            (&[][..], 0),
            (&[][..], 3 * MIB + 5),
            (&[(0, 10)][..], 5 * MIB),
            (&[(2 * MIB - 3, 7)][..], 2 * MIB + 4),
            (&[(4096, 4096), (3 * MIB, 2 * MIB + 1), (9 * MIB, 1)][..], 12 * MIB),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.set_len(length.try_into().unwrap()).unwrap();
            let mut bytes = vec![0; length];
            for &(start, count) in pieces {
                bytes[start..start + count].fill(b'x');
                file.seek(SeekFrom::Start(start.try_into().unwrap())).unwrap();
                file.write_all(&bytes[start..start + count]).unwrap();
            }
            let length = u64::try_from(length).unwrap();
            assert_eq!(digest(&file, ByteCount(length), &Silent).unwrap(), of(&bytes), "{pieces:?}");
            // The first bytes alone, in the middle of data or of a hole.
            for part in [1, length / 2, length.saturating_sub(3)] {
                let part = part.min(length);
                let expected = of(&bytes[..usize::try_from(part).unwrap()]);
                assert_eq!(digest(&file, ByteCount(part), &Silent).unwrap(), expected, "{pieces:?} {part}");
            }
            assert!(digest(&file, ByteCount(length + 1), &Silent).is_err(), "{pieces:?}");
        }
    }
}
