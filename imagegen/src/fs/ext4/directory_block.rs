//! A block of directory entries (the kernel's documentation of ext4, "Linear (Classic) Directories").

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;

use super::BLOCK;
use super::checksum::Checksum;
use super::disk::{ENTRY_ALIGNMENT, EntryHeader, EntryTail, TYPE_DIRECTORY, TYPE_TAIL};
use crate::error_kind::InternalError;
use crate::units::{fit, index};

/// The bytes of a block that entries can use; a checksum stands behind them.
pub const USABLE: usize = index(BLOCK) - size_of::<EntryTail>();

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'t> {
    pub name: &'t [u8],
    pub inode: u32,
    pub file_type: u8,
}

impl<'t> Entry<'t> {
    pub fn directory(name: &'t [u8], inode: u32) -> Self {
        Self { name, inode, file_type: TYPE_DIRECTORY }
    }

    /// The bytes that it takes, at least.
    pub fn length(&self) -> usize {
        (size_of::<EntryHeader>() + self.name.len()).next_multiple_of(ENTRY_ALIGNMENT)
    }

    /// Appends it with a length of `length` bytes; only the name is written behind the header.
    pub fn append(&self, length: usize, out: &mut Vec<u8>) -> Result<(), InternalError> {
        let header = EntryHeader {
            inode: self.inode.into(),
            rec_len: fit::<u16, _>(length)?.into(),
            name_len: fit(self.name.len())?,
            file_type: self.file_type,
        };
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(self.name);
        out.resize(out.len().next_multiple_of(ENTRY_ALIGNMENT), 0);
        Ok(())
    }
}

/// A block of entries that fit; the last one reaches to the checksum at the end.
pub fn block<'t>(
    entries: impl IntoIterator<Item = Entry<'t>>,
    seed: Checksum,
) -> Result<Vec<u8>, InternalError> {
    let mut out = Vec::with_capacity(index(BLOCK));
    let mut entries = entries.into_iter().peekable();
    while let Some(entry) = entries.next() {
        let length = if entries.peek().is_some() { entry.length() } else { USABLE - out.len() };
        entry.append(length, &mut out)?;
    }
    out.resize(USABLE, 0);
    let tail = EntryTail {
        det_reserved_zero1: U32::ZERO,
        det_rec_len: fit::<u16, _>(size_of::<EntryTail>())?.into(),
        det_reserved_zero2: 0,
        det_reserved_ft: TYPE_TAIL,
        det_checksum: seed.and(&out).get().into(),
    };
    out.extend_from_slice(tail.as_bytes());
    Ok(out)
}
