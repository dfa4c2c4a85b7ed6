//! The contents of single files, for file systems that hold more than a closure.

use std::io;
use std::path::PathBuf;

use super::layout::file_size;
use super::{BLOCK, Plan};
use crate::container::{RUN, Sink};
use crate::error_kind::ErrorKind;
use crate::fs::file_source::{FileSource, SourceError};
use crate::fs::file_tree::NodeId;
use crate::job::Job;
use crate::units::{index, length};

/// Why the contents of a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileDataError {
    /// The contents cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The contents have another length than the file in the tree.
    #[error("`{path}` was planned with {planned} bytes, and its contents have {found}")]
    Size {
        /// The file in the tree.
        path: PathBuf,
        /// Its length in the tree.
        planned: u64,
        /// The length of the contents.
        found: u64,
    },
    /// The image cannot be written.
    #[error("cannot write the contents of `{path}` to the image")]
    Write {
        /// The file in the tree.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FileDataError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(error) => error.kind(),
            Self::Size { .. } => ErrorKind::InvalidInput,
            Self::Write { source, .. } => ErrorKind::of(source),
        }
    }
}

impl Plan<'_> {
    /// Writes the contents of one file of the tree. They must have the length that the tree gives it.
    pub fn write_content(
        &self,
        node: NodeId,
        contents: &FileSource,
        sink: &(impl Sink + ?Sized),
        job: &Job<'_>,
    ) -> Result<(), FileDataError> {
        let path = || self.tree.path(node);
        let (planned, found) = (file_size(self.tree, node), contents.size());
        if planned != found {
            return Err(FileDataError::Size { path: path(), planned, found });
        }
        let mut reader = contents.open()?;
        let mut piece = Vec::new();
        for (start, bytes) in self.file_data(node) {
            for at in (0..bytes).step_by(RUN) {
                let count = length(RUN).min(bytes - at);
                // Zeros up to the end of the block, so that whoever waits for all planned bytes gets them.
                piece.resize(index(count.next_multiple_of(BLOCK)), 0);
                let (contents, behind) = piece.split_at_mut(index(count));
                reader.fill(contents)?;
                behind.fill(0);
                sink.data(start.advanced(at), &piece)
                    .map_err(|source| FileDataError::Write { path: path(), source })?;
                job.progress.advance(count);
            }
        }
        Ok(reader.end()?)
    }
}
