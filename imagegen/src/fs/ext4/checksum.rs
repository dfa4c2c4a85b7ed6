//! The checksums of `metadata_csum` (the kernel's documentation of ext4, "Checksums").

use zerocopy::byteorder::little_endian::{U16, U32};

use crate::guid::Guid;

/// A running CRC-32C without the usual inversions at both ends, as ext4 chains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum(u32);

impl Checksum {
    /// Where every checksum that has no seed begins.
    pub const START: Self = Self(!0);

    /// The seed of everything in a file system but its superblock: the checksum of its UUID.
    pub fn of_file_system(uuid: Guid) -> Self {
        Self::START.and(&uuid.bytes())
    }

    /// The seed that a superblock names (`metadata_csum_seed`).
    pub const fn of_seed(seed: u32) -> Self {
        Self(seed)
    }

    /// The seed of everything that belongs to an inode; generations are always zero here.
    pub fn of_inode(self, inode: u32) -> Self {
        self.and(&inode.to_le_bytes()).and(&[0; 4])
    }

    /// Goes on with more bytes.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        // The crate inverts before and after; inverting again undoes it.
        Self(!crc32c::crc32c_append(!self.0, bytes))
    }

    /// All 32 bits.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The two halves, low one first, since many structures keep them apart.
    pub const fn halves(self) -> (U16, U16) {
        let [low, high] = zerocopy::transmute!(U32::new(self.0));
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_value() {
        // The check value of CRC-32C for "123456789" is e3069283; undone inversion turns all bits around.
        assert_eq!(Checksum::START.and(b"123456789").get(), !0xE306_9283);
        assert_eq!(Checksum::START.and(b"1234").and(b"56789").get(), !0xE306_9283);
    }
}
