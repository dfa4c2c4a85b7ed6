//! The contents of files.

use super::extent::Blocks;
use super::inode::Inode;
use super::{Ext4ReadError, FileSystem};
use crate::units::{GuestOffset, index, length};

/// A file that can be read at any offset.
pub struct File<'f, 's> {
    file_system: &'f FileSystem<'s>,
    blocks: Blocks,
    size: u64,
}

impl<'s> FileSystem<'s> {
    /// Finds the blocks of a file, directory or long link.
    pub fn file<'f>(&'f self, inode: &Inode) -> Result<File<'f, 's>, Ext4ReadError> {
        inode.check_readable()?;
        let blocks = if inode.has_extents() {
            Blocks::read(self, inode)?
        } else if inode.raw.i_block == [0; 60] {
            Blocks::default()
        } else {
            return Err(inode.unread("has a block map, as ext2 and ext3 have"));
        };
        Ok(File { file_system: self, blocks, size: inode.size() })
    }
}

impl File<'_, '_> {
    /// The length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the contents lie.
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Fills the buffer with the bytes from `offset` on; all must lie within the file. What has no blocks reads as
    /// zeros.
    pub fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> Result<(), Ext4ReadError> {
        let block = u64::from(self.file_system.superblock().block_size());
        while !buffer.is_empty() {
            let number = offset / block;
            let (end, place) = match self.blocks.find(number) {
                Ok(run) => {
                    let place = (!run.unwritten).then_some(run.physical + (number - run.logical));
                    (run.logical + run.count, place)
                }
                Err(next) => (next.unwrap_or(u64::MAX / block), None),
            };
            let count = length(buffer.len()).min((end * block).saturating_sub(offset));
            let (piece, rest) = buffer.split_at_mut(index(count));
            match place {
                Some(place) => {
                    let start = self.file_system.block_offset(place)? + offset % block;
                    self.file_system.source.read_at(piece, start)?;
                }
                None => piece.fill(0),
            }
            if count == 0 {
                // Beyond any file: nothing but zeros.
                rest.fill(0);
                return Ok(());
            }
            offset += count;
            buffer = rest;
        }
        Ok(())
    }

    /// The first offset from `offset` on where there may be anything but zeros, as far as that is known without reading;
    /// the size if there is nothing.
    pub fn data_from(&self, mut offset: u64) -> Result<u64, Ext4ReadError> {
        let block = u64::from(self.file_system.superblock().block_size());
        while offset < self.size {
            let number = offset / block;
            offset = match self.blocks.find(number) {
                Ok(run) if run.unwritten => (run.logical + run.count) * block,
                Ok(run) => {
                    let place = run.physical + (number - run.logical);
                    let start = self.file_system.block_offset(place)? + offset % block;
                    let data = offset.saturating_add(self.file_system.source.data_from(start)? - start);
                    let end = (run.logical + run.count) * block;
                    if data < end {
                        return Ok(data.min(self.size));
                    }
                    end
                }
                Err(Some(next)) => next * block,
                Err(None) => self.size,
            };
        }
        Ok(self.size)
    }

    /// Where a byte of the file lies on the disk; nothing for a hole.
    pub fn guest_offset(&self, offset: u64) -> Option<GuestOffset> {
        let block = u64::from(self.file_system.superblock().block_size());
        let run = self.blocks.find(offset / block).ok()?;
        let place = self.file_system.block_offset(run.physical + (offset / block - run.logical)).ok()?;
        Some(self.file_system.source.guest_offset(place + offset % block))
    }
}
