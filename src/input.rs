//! Input files. A file that was named by mistake costs a bounded read, and a pipe without a writer is not waited for.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, ensure};
use imagegen::host_file::open_without_waiting;
use imagegen::units::ByteCount;
use rustix::fs::OFlags;

/// Opens a file or a pipe for reading. A pipe without a writer is at its end.
pub fn open(path: &Path) -> io::Result<File> {
    let file = open_without_waiting(path)?;
    // A writer that is there is waited for.
    rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
    Ok(file)
}

/// Reads a file that has at most `limit` bytes if it is the right one.
pub fn read(path: &Path, limit: ByteCount) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    open(path)
        .and_then(|file| file.take(limit.0.saturating_add(1)).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read `{shown}`"))?;
    ensure!(
        u64::try_from(bytes.len())? <= limit.0,
        "`{shown}` is longer than {limit}, as no file for this is; is it the right one?"
    );
    Ok(bytes)
}

/// The same for text.
pub fn read_text(path: &Path, limit: ByteCount) -> anyhow::Result<String> {
    String::from_utf8(read(path, limit)?)
        .with_context(|| format!("`{}` is not text in UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn files_and_pipes_are_read_up_to_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "text").unwrap();
        assert_eq!(read_text(&file, ByteCount(4)).unwrap(), "text");
        assert!(read(&file, ByteCount(3)).unwrap_err().to_string().contains("is longer than 3"));
        assert!(read(Path::new("/dev/zero"), ByteCount(1 << 20)).is_err());
        assert!(read(directory.path(), ByteCount(9)).is_err());
        std::fs::write(&file, b"\xff").unwrap();
        assert!(read_text(&file, ByteCount(4)).unwrap_err().to_string().contains("is not text in UTF-8"));

        // A pipe as a shell hands it over, whose writer takes its time.
        let (reader, mut writer) = io::pipe().unwrap();
        let name = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let thread = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            writer.write_all(b"late").unwrap();
        });
        assert_eq!(read_text(Path::new(&name), ByteCount(4)).unwrap(), "late");
        thread.join().unwrap();

        // One that nobody writes to.
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(read(&fifo, ByteCount(4)).unwrap(), b"");
    }
}
