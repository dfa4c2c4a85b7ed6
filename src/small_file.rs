//! Small files as outputs: EFI variables, registrations, certificates.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;
use imagegen::output::OutputFile;

/// A file of these bytes, which its owner can write to; what it comes from is usually read-only. It is not yet in
/// place.
pub fn writable(target: &Path, bytes: &[u8]) -> anyhow::Result<OutputFile> {
    let output = OutputFile::create(target)?;
    fill(output.file(), bytes)
        .and_then(|()| output.file().set_permissions(Permissions::from_mode(0o644)))
        .with_context(|| format!("cannot write `{}`", target.display()))?;
    Ok(output)
}

/// Fills an empty file, with holes for the zeros that most of AAVMF's image consists of. It goes on after EINTR, as
/// `io::copy` does not.
pub fn fill(file: &File, bytes: &[u8]) -> io::Result<()> {
    const PAGE: usize = 4096;
    let mut offset = 0;
    for page in bytes.chunks(PAGE) {
        if page != &[0; PAGE][..page.len()] {
            file.write_all_at(page, offset)?;
        }
        offset += u64::try_from(page.len()).map_err(io::Error::other)?;
    }
    file.set_len(offset)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_is_whole_has_holes_and_can_be_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        for length in [0, 1, 4096, 5000, 3 << 20] {
            let mut bytes = vec![0; length];
            bytes.iter_mut().take(10).for_each(|byte| *byte = 7);
            super::writable(&target, &bytes).unwrap().finish().unwrap();
            assert!(std::fs::read(&target).unwrap() == bytes);
            let found = target.metadata().unwrap();
            assert_eq!(found.mode() & 0o777, 0o644);
            assert!(found.blocks() * 512 <= 64 << 10, "{} blocks", found.blocks());
        }
    }
}
