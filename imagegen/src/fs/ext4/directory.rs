//! Directories: in one block as long as all entries fit, with an index otherwise (the kernel's documentation of ext4,
//! "Directory Entries").

use super::checksum::Checksum;
use super::directory_block::{Entry, USABLE, block};
use super::{BLOCK, Ext4Error, htree};
use crate::guid::Guid;
use crate::units::{fit, length};

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
        if self.is_linear() {
            return Ok(1);
        }
        // The checksums, which are not known yet, take no more or less room.
        Ok(fit(length(self.encode(hash_seed, Checksum::START)?.len()) / BLOCK)?)
    }

    /// Its blocks, one after the other.
    pub fn encode(&self, hash_seed: Guid, seed: Checksum) -> Result<Vec<u8>, Ext4Error> {
        let seed = seed.of_inode(self.inode);
        if self.is_linear() {
            Ok(block(self.with_dots(), seed)?)
        } else {
            htree::encode(self.dots(), &self.entries, hash_seed, seed)
        }
    }

    fn is_linear(&self) -> bool {
        self.with_dots().map(|entry| entry.length()).sum::<usize>() <= USABLE
    }

    fn with_dots(&self) -> impl Iterator<Item = Entry<'_>> {
        self.dots().into_iter().chain(self.entries.iter().copied())
    }

    fn dots(&self) -> [Entry<'static>; 2] {
        [Entry::directory(b".", self.inode), Entry::directory(b"..", self.parent)]
    }
}
