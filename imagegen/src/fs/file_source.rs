//! Where the bytes of a file in an image come from.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

/// The contents of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// Bytes made here.
    Bytes(Arc<[u8]>),
    /// A file of this machine, read when the image is written.
    File {
        /// Where it is; not a symbolic link.
        physical: PathBuf,
        /// Its length in bytes when the image was planned.
        size: u64,
    },
}

/// A file that an image is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Its path from the root of the file system, with `/` between the names and none at either end.
    pub path: String,
    /// What is in it.
    pub content: FileSource,
}

impl FileSource {
    /// Contents made here.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// The length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => crate::units::length(bytes.len()),
            Self::File { size, .. } => *size,
        }
    }

    /// The first bytes, at most `bytes` of them.
    pub(crate) fn head(&self, bytes: u64) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        match self {
            Self::Bytes(all) => all.as_ref().take(bytes).read_to_end(&mut head)?,
            Self::File { physical, .. } => open_source(physical)?.take(bytes).read_to_end(&mut head)?,
        };
        Ok(head)
    }
}

impl NamedFile {
    /// Names some contents.
    pub fn new(path: impl Into<String>, content: FileSource) -> Self {
        Self { path: path.into(), content }
    }
}

/// Opens a file that was a regular one when the image was planned. What has become a symbolic link since then is
/// refused (`ELOOP`), and a pipe is not waited for.
pub(crate) fn open_source(path: &Path) -> io::Result<File> {
    crate::host_file::open_with(path, OFlags::NOFOLLOW)
}
