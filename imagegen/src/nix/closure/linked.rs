//! The digests of files that have several names in the image.

use crate::fs::file_tree::NodeId;

/// The digests of files with several names, by the first name of each, sorted.
#[derive(Debug, Default)]
pub struct Linked(pub(super) Vec<(NodeId, Digest)>);

/// The SHA-256 of contents and, behind them, the zeros that a NAR has there.
pub(crate) type Digest = [u8; 32];

impl Linked {
    /// What the contents of a file must still be when the image is written, if it has several names.
    pub(crate) fn digest(&self, first_name: NodeId) -> Option<&Digest> {
        let found = self.0.binary_search_by_key(&first_name, |&(node, _)| node).ok()?;
        self.0.get(found).map(|(_, digest)| digest)
    }
}
