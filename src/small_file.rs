//! Small files as outputs: EFI variables, registrations, certificates.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use imagegen::output::OutputFile;

use crate::cli::SyncArg;

/// Writes a file whole or not at all.
pub fn write(path: &Path, bytes: &[u8], sync: SyncArg) -> anyhow::Result<()> {
    Ok(create(path, bytes, sync)?.finish()?)
}

/// The same up to the moment at which it appears.
pub fn create(path: &Path, bytes: &[u8], sync: SyncArg) -> anyhow::Result<OutputFile> {
    let output = OutputFile::create(path)?.durable(sync.sync);
    fill(output.file(), bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
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
    fn a_file_is_whole_and_has_holes() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        for length in [0, 1, 4096, 5000, 3 << 20] {
            let mut bytes = vec![0; length];
            bytes.iter_mut().take(10).for_each(|byte| *byte = 7);
            super::fill(&std::fs::File::create(&target).unwrap(), &bytes).unwrap();
            assert!(std::fs::read(&target).unwrap() == bytes);
            let found = target.metadata().unwrap();
            assert!(found.blocks() * 512 <= 64 << 10, "{} blocks", found.blocks());
        }
    }
}
