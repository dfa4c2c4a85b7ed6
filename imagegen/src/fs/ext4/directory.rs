//! Directories: linear ones, and what indexed ones have in common with them (the kernel's documentation of ext4,
//! "Directory Entries").

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes, Unaligned};

use super::checksum::Checksum;
use super::{BLOCK, Ext4Error, htree};
use crate::guid::Guid;
use crate::units::index;

/// The bytes of a block that entries can use; a checksum stands behind them.
pub const USABLE: usize = 4096 - size_of::<Tail>();
/// Entries are aligned to this.
const ALIGNMENT: usize = 4;

/// File types in directory entries (`filetype`).
pub const TYPE_FILE: u8 = 1;
pub const TYPE_DIRECTORY: u8 = 2;
pub const TYPE_SYMLINK: u8 = 7;

#[derive(IntoBytes, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct EntryHeader {
    pub inode: U32,
    /// How far it is to the next entry.
    pub rec_len: U16,
    pub name_len: u8,
    pub file_type: u8,
}

/// The end of a block, disguised as an entry without a name.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Tail {
    det_reserved_zero1: U32,
    det_rec_len: U16,
    det_reserved_zero2: u8,
    det_reserved_ft: u8,
    det_checksum: U32,
}

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'t> {
    pub name: &'t [u8],
    pub inode: u32,
    pub file_type: u8,
}

/// A directory that is about to be written, or counted.
#[derive(Debug)]
pub struct Directory<'t> {
    pub inode: u32,
    pub parent: u32,
    pub entries: Vec<Entry<'t>>,
}

impl Directory<'_> {
    /// How many blocks it takes: one, or those of an index and its leaves.
    pub fn block_count(&self, hash_seed: Guid) -> Result<u32, Ext4Error> {
        if self.is_linear() { Ok(1) } else { htree::block_count(&self.entries, hash_seed) }
    }

    /// Its blocks, one after the other.
    pub fn encode(&self, hash_seed: Guid, seed: Checksum) -> Result<Vec<u8>, Ext4Error> {
        let seed = seed.of_inode(self.inode);
        if self.is_linear() {
            let all = self.dots().into_iter().chain(self.entries.iter().copied());
            Ok(block(all, seed))
        } else {
            htree::encode(self, hash_seed, seed)
        }
    }

    /// Whether all entries fit into one block, which is then searched from the front.
    pub fn is_linear(&self) -> bool {
        let mut used = 0;
        let mut all = self.dots().into_iter().chain(self.entries.iter().copied());
        all.all(|entry| {
            used += entry.length();
            used <= USABLE
        })
    }

    /// The directory itself and its parent.
    pub fn dots(&self) -> [Entry<'static>; 2] {
        [
            Entry { name: b".", inode: self.inode, file_type: TYPE_DIRECTORY },
            Entry { name: b"..", inode: self.parent, file_type: TYPE_DIRECTORY },
        ]
    }
}

impl Entry<'_> {
    /// The bytes that it takes, at least.
    pub fn length(&self) -> usize {
        (size_of::<EntryHeader>() + self.name.len()).next_multiple_of(ALIGNMENT)
    }

    /// Appends it with a length of `length` bytes; only the name is written behind the header.
    pub fn append(&self, length: usize, out: &mut Vec<u8>) {
        let header = EntryHeader {
            inode: self.inode.into(),
            rec_len: u16::try_from(length).unwrap_or_default().into(),
            // The plan has checked names.
            name_len: u8::try_from(self.name.len()).unwrap_or_default(),
            file_type: self.file_type,
        };
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(self.name);
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    }
}

/// A block of entries that fit; the last one reaches to the checksum at the end.
pub fn block<'t>(entries: impl IntoIterator<Item = Entry<'t>>, seed: Checksum) -> Vec<u8> {
    let mut out = Vec::with_capacity(index(BLOCK));
    let mut entries = entries.into_iter().peekable();
    while let Some(entry) = entries.next() {
        let length = if entries.peek().is_some() { entry.length() } else { USABLE - out.len() };
        entry.append(length, &mut out);
    }
    out.resize(USABLE, 0);
    let tail = Tail {
        det_reserved_zero1: U32::ZERO,
        det_rec_len: u16::try_from(size_of::<Tail>()).unwrap_or_default().into(),
        det_reserved_zero2: 0,
        det_reserved_ft: 0xDE,
        det_checksum: seed.and(&out).get().into(),
    };
    out.extend_from_slice(tail.as_bytes());
    out
}
