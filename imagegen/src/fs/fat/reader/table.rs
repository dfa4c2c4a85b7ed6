//! The allocation table: which clusters follow one another.

use super::boot_sector::{BootSector, Width, impossible};
use crate::container::reader::{ReadError, Source};
use crate::units::{index, length};

/// How much of the table is read at once.
const PAGE: u64 = 4096;

/// Reads the first allocation table, a page at a time.
pub struct Table<'b, 's> {
    boot: &'b BootSector,
    source: &'s dyn Source,
    page: Option<(u64, Vec<u8>)>,
}

/// What a table says of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is free.
    Free,
    /// The next cluster of the chain.
    Cluster(u32),
    /// The chain ends here.
    End,
    /// The cluster must not be used.
    Bad,
}

impl<'b, 's> Table<'b, 's> {
    pub fn new(boot: &'b BootSector, source: &'s dyn Source) -> Self {
        Self { boot, source, page: None }
    }

    /// What stands for a cluster.
    pub fn next(&mut self, cluster: u32) -> Result<Next, ReadError> {
        let n = u64::from(cluster);
        let (entry, bad) = match self.boot.width {
            Width::Fat12 => {
                let pair = u16::from_le_bytes(self.bytes(n * 3 / 2)?);
                (u32::from(if n.is_multiple_of(2) { pair & 0xFFF } else { pair >> 4 }), 0xFF7)
            }
            Width::Fat16 => (u16::from_le_bytes(self.bytes(n * 2)?).into(), 0xFFF7),
            Width::Fat32 => (u32::from_le_bytes(self.bytes(n * 4)?) & 0x0FFF_FFFF, 0x0FFF_FFF7),
        };
        Ok(match entry {
            0 => Next::Free,
            entry if entry == bad => Next::Bad,
            entry if entry > bad => Next::End,
            entry => Next::Cluster(entry),
        })
    }

    /// The chain that begins with a cluster, at most `limit` of it.
    pub fn chain(&mut self, first: u32, limit: u64) -> Result<Vec<u32>, ReadError> {
        let mut chain = Vec::new();
        let mut next = first;
        while length(chain.len()) < limit {
            if self.boot.cluster(next).is_none() {
                return Err(breaks_off(first, next));
            }
            chain.push(next);
            match self.next(next)? {
                Next::Cluster(cluster) => next = cluster,
                Next::End => break,
                Next::Free | Next::Bad => return Err(breaks_off(first, next)),
            }
        }
        Ok(chain)
    }

    fn bytes<const N: usize>(&mut self, at: u64) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        for (byte, at) in bytes.iter_mut().zip(at..) {
            *byte = self.byte(at)?;
        }
        Ok(bytes)
    }

    fn byte(&mut self, at: u64) -> Result<u8, ReadError> {
        let start = at / PAGE * PAGE;
        if self.page.as_ref().is_none_or(|(page, _)| *page != start) {
            let size = PAGE.min(self.boot.table_size.saturating_sub(start));
            self.page = Some((start, self.source.bytes(self.boot.table + start, index(size))?));
        }
        let byte = self.page.as_ref().and_then(|(_, bytes)| bytes.get(index(at - start)).copied());
        byte.ok_or_else(|| impossible(format_args!("byte {at} is beyond the end of the allocation table")))
    }
}

fn breaks_off(first: u32, cluster: u32) -> ReadError {
    ReadError::damaged(format!(
        "the chain of clusters that begins with {first} breaks off at {cluster}; `fsck.fat -n` says more"
    ))
}
