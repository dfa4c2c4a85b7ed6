//! What stands in a qcow2 file (QEMU's docs/interop/qcow2): the header, its extensions, and the entries of the tables. All
//! numbers are big-endian.

use bitflags::bitflags;
use zerocopy::byteorder::big_endian::{U32, U64};

use crate::on_disk::structure;
use crate::units::HostOffset;

/// How every qcow2 file begins.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";
/// The longest name of a backing file, in bytes.
pub const BACKING_NAME_MAX: usize = 1023;
/// QEMU refuses a larger L1 table, in bytes.
pub const L1_BYTES_MAX: u64 = 32 << 20;
/// Refcounts of 2^4 bits, the only width in version 2 and the usual one in version 3.
pub const REFCOUNT_ORDER: u32 = 4;
/// `compression_type`: zstd instead of zlib, which is 0.
pub const COMPRESSION_TYPE_ZSTD: u8 = 1;
/// The sectors in which the length of compressed data is counted.
const SECTOR: u64 = 512;

structure! {
    /// The header. The fields from `incompatible_features` on are only in version 3, and `compression_type` not in all of
    /// those.
    pub struct Header {
        magic: [u8; 4] = bytes,
        version: U32 = decimal,
        backing_file_offset: U64 = hex,
        backing_file_size: U32 = decimal,
        cluster_bits: U32 = decimal,
        size: U64 = decimal,
        crypt_method: U32 = decimal,
        l1_size: U32 = decimal,
        l1_table_offset: U64 = hex,
        refcount_table_offset: U64 = hex,
        refcount_table_clusters: U32 = decimal,
        nb_snapshots: U32 = decimal,
        snapshots_offset: U64 = hex,
        incompatible_features: U64 = hex,
        compatible_features: U64 = hex,
        autoclear_features: U64 = hex,
        refcount_order: U32 = decimal,
        header_length: U32 = decimal,
        compression_type: u8 = decimal,
        padding: [u8; 7] = bytes,
    }
}

impl Header {
    /// The length of version 2.
    pub const VERSION_2: usize = std::mem::offset_of!(Self, incompatible_features);
    /// The smallest length of version 3.
    pub const VERSION_3: usize = std::mem::offset_of!(Self, compression_type);

    pub fn incompatible_features(&self) -> IncompatibleFeatures {
        IncompatibleFeatures::from_bits_retain(self.incompatible_features.get())
    }
}

bitflags! {
    /// Features that a reader must know, or refuse the file.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct IncompatibleFeatures: u64 {
        /// Refcounts may be wrong; only a writer minds.
        const DIRTY = 1 << 0;
        const CORRUPT = 1 << 1;
        const EXTERNAL_DATA = 1 << 2;
        const COMPRESSION_TYPE = 1 << 3;
        const EXTENDED_L2 = 1 << 4;
    }
}

structure! {
    /// What stands before each header extension, which is padded to a multiple of 8 bytes. Zeros end the list.
    pub struct ExtensionHeader {
        kind: U32 = hex,
        length: U32 = decimal,
    }
}

/// The extension that names the backing file's format.
pub const EXTENSION_BACKING_FORMAT: u32 = 0xE279_2ACA;
/// The specification's names of the extensions.
pub const EXTENSIONS: [(u32, &str); 5] = [
    (EXTENSION_BACKING_FORMAT, "backing file format"),
    (0x6803_F857, "feature names"),
    (0x2385_2875, "bitmaps"),
    (0x0537_BE77, "full disk encryption"),
    (0x4441_5441, "external data file"),
];

bitflags! {
    /// The bits of an L1 or L2 entry beside the offset.
    struct Entry: u64 {
        /// The cluster has a refcount of exactly one, so that QEMU may write it in place.
        const COPIED = 1 << 63;
        const COMPRESSED = 1 << 62;
        /// The cluster reads as zeros, whether or not it has a place in the file. Only in version 3.
        const ZEROS = 1;
    }
}

/// Bits 9 to 55 of an entry.
const OFFSET_MASK: u64 = 0x00FF_FFFF_FFFF_FE00;

/// The L1 entry of an L2 table that nothing else uses.
pub fn l1_entry(table: HostOffset) -> u64 {
    table.0 | Entry::COPIED.bits()
}

/// Where the L2 table of an L1 entry lies, if there is one.
pub fn l2_table_offset(l1_entry: u64) -> Option<u64> {
    Some(l1_entry & OFFSET_MASK).filter(|&offset| offset != 0)
}

/// Where a guest cluster is: what an L2 entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Not in this file: the backing file has it, or it is zeros.
    Unallocated,
    /// It reads as zeros, whatever the backing file has.
    Zeros,
    /// In the file as it is.
    Data(HostOffset),
    Compressed(CompressedData),
}

/// A compressed cluster in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressedData {
    pub start: u64,
    /// Of a file that is read: the bytes up to the end of the last sector. The data may end earlier.
    pub length: u64,
}

impl Mapping {
    /// The L2 entry; clusters in the file as they are must have a refcount of one.
    pub fn to_entry(self, cluster_bits: u32) -> u64 {
        match self {
            Self::Unallocated => 0,
            Self::Zeros => Entry::ZEROS.bits(),
            Self::Data(HostOffset(offset)) => offset | Entry::COPIED.bits(),
            Self::Compressed(CompressedData { start, length }) => {
                let further_sectors = (start % SECTOR + length).div_ceil(SECTOR) - 1;
                start | further_sectors << offset_bits(cluster_bits) | Entry::COMPRESSED.bits()
            }
        }
    }

    pub fn of_entry(entry: u64, header: &Header) -> Self {
        let flags = Entry::from_bits_retain(entry);
        if flags.contains(Entry::COMPRESSED) {
            let bits = offset_bits(header.cluster_bits.get());
            let start = entry & ((1 << bits) - 1);
            let sectors = 1 + ((entry & (Entry::COMPRESSED.bits() - 1)) >> bits);
            return Self::Compressed(CompressedData { start, length: sectors * SECTOR - start % SECTOR });
        }
        if flags.contains(Entry::ZEROS) && header.version.get() >= 3 {
            return Self::Zeros;
        }
        match entry & OFFSET_MASK {
            0 => Self::Unallocated,
            offset => Self::Data(HostOffset(offset)),
        }
    }
}

/// The width of the offset of compressed data; above it stands the number of further sectors.
const fn offset_bits(cluster_bits: u32) -> u32 {
    62 - (cluster_bits - 8)
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn the_length_of_compressed_data_is_counted_in_sectors() {
        let mut header = Header::new_zeroed();
        header.version = 3.into();
        header.cluster_bits = 16.into();
        for (start, length, to_sector) in
            [(511, 1, 1), (511, 2, 513), (512, 512, 512), (1 << 40, 65_535, 65_536)]
        {
            let entry = Mapping::Compressed(CompressedData { start, length }).to_entry(16);
            let expected = Mapping::Compressed(CompressedData { start, length: to_sector });
            assert_eq!(Mapping::of_entry(entry, &header), expected);
        }
        let mapping = Mapping::Data(HostOffset(3 << 16));
        assert_eq!(mapping.to_entry(16), 0x8000_0000_0003_0000);
        for mapping in [mapping, Mapping::Zeros, Mapping::Unallocated] {
            assert_eq!(Mapping::of_entry(mapping.to_entry(16), &header), mapping);
        }
        header.version = 2.into();
        assert_eq!(Mapping::of_entry(1, &header), Mapping::Unallocated);
    }
}
