//! Where the bytes of a file in an image come from.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::error_kind::ErrorKind;
use crate::units::length;

/// The contents of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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

/// Why the contents of a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The system said no.
    #[error("cannot read `{path}`")]
    Read {
        /// The file on this machine.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is longer or shorter than it was.
    #[error("`{path}` was planned with {planned} bytes and has {found} now; nothing may change it meanwhile")]
    Changed {
        /// The file on this machine.
        path: PathBuf,
        /// Its length when the image was planned.
        planned: u64,
        /// Its length now.
        found: u64,
    },
}

impl SourceError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } => ErrorKind::of(source),
            Self::Changed { .. } => ErrorKind::Mismatch,
        }
    }
}

impl FileSource {
    /// Contents made here.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// The length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => length(bytes.len()),
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

    /// Opens the contents, to read all of them once.
    pub(crate) fn open(&self) -> Result<SourceReader<'_>, SourceError> {
        let (bytes, path): (Box<dyn Read>, &Path) = match self {
            Self::Bytes(bytes) => (Box::new(bytes.as_ref()), Path::new("")),
            Self::File { physical, .. } => match open_source(physical) {
                Ok(file) => (Box::new(file), physical),
                Err(source) => return Err(SourceError::Read { path: physical.clone(), source }),
            },
        };
        Ok(SourceReader { bytes, path, planned: self.size() })
    }
}

/// Contents that must still have the length that they were planned with.
pub(crate) struct SourceReader<'s> {
    bytes: Box<dyn Read + 's>,
    path: &'s Path,
    planned: u64,
}

impl SourceReader<'_> {
    /// Fills the buffer with the next bytes.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), SourceError> {
        self.bytes.read_exact(buffer).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.changed(),
            _ => self.failed(source),
        })
    }

    /// Checks that nothing follows.
    pub(crate) fn end(mut self) -> Result<(), SourceError> {
        // An interrupted call is made again, which `read` alone does not do.
        match self.bytes.read_exact(&mut [0]) {
            Ok(()) => Err(self.changed()),
            Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn changed(&self) -> SourceError {
        let found = self.path.metadata().map_or(0, |metadata| metadata.len());
        SourceError::Changed { path: self.path.to_owned(), planned: self.planned, found }
    }

    fn failed(&self, source: io::Error) -> SourceError {
        SourceError::Read { path: self.path.to_owned(), source }
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
