//! Files that list a closure: registrations and references graphs. Of a wrong file only the beginning is read.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};
use imagegen::nix::store_path::StorePath;
use imagegen::units::ByteCount;

use crate::input;

/// How much is read at once; the first line ends within the first piece.
const PIECE: u64 = 256 << 10;
/// More than the registration of a million paths.
const LENGTH_MAX: u64 = 1 << 30;

/// Reads such a file, which can be a pipe. Reading stops early, but late enough for a parser to find the mistake, in a file
/// that cannot be one.
pub fn read(file: &Path, what: &str) -> anyhow::Result<Vec<u8>> {
    let context = || format!("cannot read the {what} `{}`", file.display());
    let mut source = input::open(file).with_context(context)?;
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        // A pipe gives less at a time.
        Read::take(&mut source, PIECE).read_to_end(&mut bytes).with_context(context)?;
        let piece = bytes.get(before..).unwrap_or_default();
        let is_first = before == 0;
        if piece.is_empty() || piece.contains(&0) || is_first && !may_be_closure(piece) {
            return Ok(bytes);
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        ensure!(
            length <= LENGTH_MAX,
            "`{}` is longer than {}, which no {what} is; is it the right file?",
            file.display(),
            ByteCount(LENGTH_MAX)
        );
    }
}

/// Whether a file that begins like this is JSON or begins with a store path.
fn may_be_closure(beginning: &[u8]) -> bool {
    if let Some(b'[' | b'{') = beginning.trim_ascii_start().first() {
        return true;
    }
    let line = beginning.split(|&byte| byte == b'\n').next().unwrap_or_default();
    std::str::from_utf8(line).is_ok_and(|line| StorePath::parse(line).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs::File;

    use super::*;

    const RECORD: &str = "/nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-a\n\n0\n\n0\n";

    #[test]
    fn a_wrong_file_is_read_no_further_than_its_first_mistake() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let read_of = |beginning: &[u8], length: u64| {
            std::fs::write(&path, beginning).unwrap();
            File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
            read(&path, "registration").unwrap().len()
        };
        let piece = usize::try_from(PIECE).unwrap();
        assert_eq!(read_of(b"", 1 << 40), piece);
        assert_eq!(read_of(RECORD.as_bytes(), 1 << 40), piece);
        assert_eq!(read_of(b"[", 1 << 40), piece);
        assert_eq!(read_of(&b"a".repeat(4 * piece), 4 * PIECE), piece);
        assert_eq!(read_of(&b"/".repeat(4 * piece), 4 * PIECE), piece);
        // What may be one is read to its end.
        let long = RECORD.repeat(20_000);
        assert_eq!(read_of(long.as_bytes(), long.len().try_into().unwrap()), long.len());
        assert_eq!(read_of(b"", 0), 0);
    }
}
