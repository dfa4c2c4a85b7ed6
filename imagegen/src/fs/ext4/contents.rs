//! The contents of single files, for file systems that hold more than a closure.

use std::io::{self, Read};
use std::path::Path;

use super::{BLOCK, Plan};
use crate::container::{RUN, Sink};
use crate::fs::file_source::{FileSource, open_source};
use crate::fs::file_tree::NodeId;
use crate::job::Job;
use crate::units::{index, length};

/// Why the contents of a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Where it is read from.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The contents have another length than the file in the tree.
    #[error("`{name}` was planned with {planned} bytes and has {found} now; nothing may change it meanwhile")]
    Size {
        /// The file.
        name: String,
        /// Its length in the tree.
        planned: u64,
        /// The length that was found.
        found: u64,
    },
    /// The image cannot be written.
    #[error("cannot write the contents of `{name}` to the image")]
    Write {
        /// The file.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Plan<'_> {
    /// Writes the contents of one file of the tree. They must have the length that the tree gives it.
    pub fn write_content(
        &self,
        node: NodeId,
        content: &FileSource,
        sink: &(impl Sink + ?Sized),
        job: &Job<'_>,
    ) -> Result<(), ContentError> {
        match content {
            FileSource::Bytes(bytes) => self.write_from(node, &mut bytes.as_ref(), None, sink, job),
            FileSource::File { physical, .. } => {
                let error = |source| ContentError::Read { path: physical.display().to_string(), source };
                let mut file = open_source(physical).map_err(error)?;
                self.write_from(node, &mut file, Some(physical), sink, job)
            }
        }
    }

    fn write_from(
        &self,
        node: NodeId,
        source: &mut impl Read,
        path: Option<&Path>,
        sink: &(impl Sink + ?Sized),
        job: &Job<'_>,
    ) -> Result<(), ContentError> {
        let name = || match path {
            Some(path) => path.display().to_string(),
            None => String::from_utf8_lossy(self.tree.name(node)).into_owned(),
        };
        let planned = self.layout.file_size(self.tree, node);
        let mut piece = Vec::new();
        let mut read = |wanted: u64, piece: &mut Vec<u8>| {
            piece.clear();
            source
                .by_ref()
                .take(wanted)
                .read_to_end(piece)
                .map_err(|source| ContentError::Read { path: name(), source })
        };
        let mut found = 0;
        for (start, bytes) in self.file_data(node) {
            for at in (0..bytes).step_by(RUN) {
                let wanted = length(RUN).min(bytes - at);
                let got = length(read(wanted, &mut piece)?);
                found += got;
                if got < wanted {
                    return Err(ContentError::Size { name: name(), planned, found });
                }
                // Zeros up to the end of the block, so that whoever waits for all planned bytes gets them.
                piece.resize(piece.len().next_multiple_of(index(BLOCK)), 0);
                sink.data(start.advanced(at), &piece)
                    .map_err(|source| ContentError::Write { name: name(), source })?;
                job.progress.advance(got);
            }
        }
        let more = length(read(1, &mut piece)?);
        if more > 0 {
            return Err(ContentError::Size { name: name(), planned, found: found + more });
        }
        Ok(())
    }
}
