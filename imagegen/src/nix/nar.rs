//! The NAR serialisation of a store path (the Nix manual, "Nix Archive (NAR) format"): its framing, its size and
//! its hash.
//!
//! A NAR is a sequence of strings, each with its length as 64 bits little-endian before it and zeros behind it up
//! to a multiple of 8. The framing is written here, so that file contents are read straight into their place
//! between it, hashed in large pieces, and written to the image from the same buffer.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::nar_hash::NarHash;
use crate::fs::file_tree::{Kind, NodeId, Tree};
use crate::sha256::Sha256;
use crate::units::{index, length};

const MAGIC: &[u8] = b"nix-archive-1";

/// A step of a NAR, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Bytes of the format itself have been appended to the buffer given to [`Walk::next`]; go on.
    Framing,
    /// The contents of this file come next, `size` bytes of them, then [`padding`] zeros.
    Contents {
        /// The file.
        file: NodeId,
        /// Its length in bytes.
        size: u64,
    },
}

/// Goes through the NAR of one subtree. It keeps a stack of its own, since the depth is the input's choice.
#[derive(Debug)]
pub struct Walk<'t> {
    tree: &'t Tree,
    /// The node to begin next.
    next: u32,
    /// One past the subtree.
    end: u32,
    /// The ends of the directories that are open.
    open: Vec<u32>,
    /// A file's contents were announced; its closing is due.
    after_contents: bool,
    started: bool,
    /// Where the node that was begun last lies.
    place: PathBuf,
}

impl<'t> Walk<'t> {
    /// The NAR of the subtree below `root`; the root's own name is not part of it.
    pub fn new(tree: &'t Tree, root: NodeId) -> Self {
        let Range { start, end } = tree.subtree(root);
        let (open, place) = (Vec::new(), PathBuf::new());
        Self { tree, next: start, end, open, after_contents: false, started: false, place }
    }

    /// The same of a root that lies at a place of this machine.
    #[must_use]
    pub fn at(self, place: PathBuf) -> Self {
        Self { place, ..self }
    }

    /// Where the file is whose contents come next.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Appends the next piece of framing to `out` and says what follows it; nothing when the NAR is complete.
    /// At most [`FRAMING_MAX`] bytes are appended.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        if !self.started {
            self.started = true;
            string(out, MAGIC);
        }
        let next = self.next;
        if std::mem::take(&mut self.after_contents) || self.open.pop_if(|end| *end == next).is_some() {
            self.close_node(out);
            return Some(Step::Framing);
        }
        if self.next == self.end {
            return None;
        }
        let node = NodeId(self.next);
        self.next += 1;
        if !self.open.is_empty() {
            let name = self.tree.name(node);
            strings(out, &[b"entry", b"(", b"name", name, b"node"]);
            self.place.push(OsStr::from_bytes(name));
        }
        strings(out, &[b"(", b"type"]);
        Some(match self.tree.kind(node) {
            Kind::Directory => {
                string(out, b"directory");
                self.open.push(self.tree.subtree(node).end);
                Step::Framing
            }
            Kind::Symlink { target } => {
                strings(out, &[b"symlink", b"target", target]);
                self.close_node(out);
                Step::Framing
            }
            Kind::File { size, executable } => {
                string(out, b"regular");
                if executable {
                    strings(out, &[b"executable", b""]);
                }
                string(out, b"contents");
                out.extend_from_slice(&size.to_le_bytes());
                self.after_contents = true;
                Step::Contents { file: node, size }
            }
        })
    }

    /// Ends a node, and the directory entry that it is in.
    fn close_node(&mut self, out: &mut Vec<u8>) {
        string(out, b")");
        if !self.open.is_empty() {
            string(out, b")");
            self.place.pop();
        }
    }
}

/// More than one step of [`Walk::next`] ever appends: a link's name and target, 4,095 bytes each on Linux, and the
/// words around them.
pub const FRAMING_MAX: usize = 16 << 10;

/// The zeros behind `size` bytes of contents.
pub const fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; 8] = [0; 8];
    ZEROS.split_at(index(size.wrapping_neg() % 8)).0
}

/// The length of the NAR of a subtree, known from the scan alone; `u64::MAX` stands for all that is longer, as files of
/// a damaged image may claim to be.
pub fn size(tree: &Tree, root: NodeId) -> u64 {
    let mut total: u64 = 0;
    let mut framing = Vec::new();
    let mut walk = Walk::new(tree, root);
    while let Some(step) = walk.next(&mut framing) {
        total = total.saturating_add(length(framing.len()));
        framing.clear();
        if let Step::Contents { size, .. } = step {
            total = total.saturating_add(size).saturating_add(length(padding(size).len()));
        }
    }
    total
}

/// Hashes a NAR, piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Takes the next bytes of two NARs until there are none left of one of them. Gives how many it took of each.
    pub fn update_pair(hashers: [&mut Self; 2], bytes: [&[u8]; 2]) -> [usize; 2] {
        Sha256::update_pair(hashers.map(|hasher| &mut hasher.0), bytes)
    }

    /// Whether two NARs at once take less time than one after the other.
    pub fn pairs_are_faster() -> bool {
        Sha256::pairs_are_faster()
    }

    /// The hash of all bytes so far.
    pub fn finish(self) -> NarHash {
        NarHash(self.0.finish())
    }
}

fn strings(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        string(out, part);
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let size = length(bytes.len());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(padding(size));
}
