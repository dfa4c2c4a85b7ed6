//! Directories (the kernel's documentation of ext4, "Directory Entries"), read from front to back: the index of a large
//! one looks like empty entries.

use zerocopy::FromBytes;

use super::inode::{Inode, Type};
use super::{FileSystem, check};
use crate::container::reader::{ReadError, Source};
use crate::fs::ext4::disk::{ENTRY_ALIGNMENT, EntryHeader, EntryTail, TYPE_TAIL};
use crate::text::shown;
use crate::units::{index, length};

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, 1 to 255 bytes.
    pub name: Vec<u8>,
    /// The number of what has the name.
    pub inode: u32,
}

impl FileSystem<'_> {
    /// The entries of a directory but `.` and `..`, sorted by the bytes of their names.
    pub fn entries(&self, directory: &Inode) -> Result<Vec<Entry>, ReadError> {
        if directory.kind() != Type::Directory {
            return Err(directory.damaged("is not a directory"));
        }
        let blocks = self.blocks(directory)?;
        let file = self.file_in(directory, &blocks);
        let block = u64::from(self.superblock().block_size());
        // The blocks that are there; the size may claim anything.
        let claimed = directory.size() / block;
        if claimed > blocks.runs.iter().map(|run| run.count).sum() {
            return Err(directory.damaged("is a directory with holes"));
        }
        let mut entries = Vec::new();
        let mut bytes = vec![0; index(block)];
        for i in 0..claimed {
            file.read_at(&mut bytes, i * block)?;
            parse_block(directory, &bytes, &mut entries)?;
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(directory.damaged(format!("has the entry `{}` twice", shown(&pair[0].name))));
        }
        Ok(entries)
    }

    /// Where a link points to.
    pub fn link_target(&self, link: &Inode) -> Result<Vec<u8>, ReadError> {
        /// Linux has none that is longer.
        const TARGET_MAX: u64 = 4096;
        let size = link.size();
        if link.kind() != Type::Symlink || size > TARGET_MAX {
            return Err(link.damaged(format!("is no symbolic link, or one of {size} bytes")));
        }
        link.check_readable()?;
        if !link.has_extents() && size < length(link.raw.i_block.len()) {
            return Ok(link.raw.i_block[..index(size)].to_vec());
        }
        self.file(link)?.read()
    }
}

/// Adds the names in one block.
fn parse_block(directory: &Inode, bytes: &[u8], entries: &mut Vec<Entry>) -> Result<(), ReadError> {
    check_block(directory, bytes)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let malformed = || directory.damaged("has a malformed directory entry");
        let (header, after) = EntryHeader::read_from_prefix(rest).map_err(|_| malformed())?;
        let step = match header.rec_len.get() {
            // How a block of 64 KiB is written in 16 bits.
            0 | u16::MAX if bytes.len() > 0xFFFF => bytes.len(),
            step => usize::from(step),
        };
        let name_length = usize::from(header.name_len);
        if step < size_of::<EntryHeader>() + name_length || step % ENTRY_ALIGNMENT != 0 || step > rest.len() {
            return Err(malformed());
        }
        if header.inode.get() != 0 {
            let name = after.get(..name_length).ok_or_else(malformed)?;
            if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                return Err(directory.damaged(format!("has the impossible entry `{}`", shown(name))));
            }
            if name != b"." && name != b".." {
                entries.push(Entry { name: name.to_vec(), inode: header.inode.get() });
            }
        }
        rest = &rest[step..];
    }
    Ok(())
}

/// Compares the checksum at the end of a leaf block. Blocks of an index have theirs elsewhere and hold no names.
fn check_block(directory: &Inode, bytes: &[u8]) -> Result<(), ReadError> {
    let Some(seed) = directory.seed else { return Ok(()) };
    let Ok((before, tail)) = EntryTail::read_from_suffix(bytes) else { return Ok(()) };
    let is_tail = tail.det_reserved_zero1.get() == 0
        && usize::from(tail.det_rec_len.get()) == size_of::<EntryTail>()
        && tail.det_reserved_zero2 == 0
        && tail.det_reserved_ft == TYPE_TAIL;
    if !is_tail {
        return Ok(());
    }
    let what = format_args!("the directory with inode {}", directory.number);
    check(what, seed.and(before).get(), tail.det_checksum.get())
}
