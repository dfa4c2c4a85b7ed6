//! Whether the headers of a GPT are whole: their CRC-32 (UEFI specification 2.10, chapter 5.3.2), that of the entries, and
//! what the two headers have in common.

use std::mem::offset_of;

use zerocopy::byteorder::little_endian::U32;

use crate::disk::gpt_disk::Header;
use crate::on_disk::Structure;
use crate::units::index;

impl Header {
    /// What is wrong with the header in a block.
    pub(super) fn problem(&self, block: &[u8], lba: u64) -> Option<String> {
        let size = index(self.header_size.get().into());
        if size < size_of::<Self>() || size > block.len() {
            return Some(format!("it cannot have {size} bytes"));
        }
        let mut covered = block[..size].to_vec();
        let field = offset_of!(Self, header_crc32);
        covered[field..field + size_of::<U32>()].fill(0);
        let (found, expected) = (crc32fast::hash(&covered), self.header_crc32.get());
        if found != expected {
            return Some(format!("its CRC-32 is {found:#x}, not {expected:#x}"));
        }
        (self.my_lba.get() != lba).then(|| format!("it says that it is in LBA {}", self.my_lba.get()))
    }

    /// What is wrong with the array of entries.
    pub(super) fn entries_problem(&self, array: &[u8]) -> Option<String> {
        let (found, expected) = (crc32fast::hash(array), self.partition_entry_array_crc32.get());
        (found != expected)
            .then(|| format!("the GPT's entries are damaged: their CRC-32 is {found:#x}, not {expected:#x}"))
    }
}

/// The two headers must agree in all but their own places and checksums.
pub(super) fn compare(header: &Header, backup: &Header, problems: &mut Vec<String>) {
    let own = ["header_crc32", "my_lba", "alternate_lba", "partition_entry_lba"];
    for (a, b) in header.fields().iter().zip(backup.fields()) {
        if a.value != b.value && !own.contains(&a.name) {
            problems.push(format!("the GPT headers disagree: {} is {} and {}", a.name, a.value, b.value));
        }
    }
}
