//! Inodes (the kernel's documentation of ext4, "Index Nodes").

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::Checksum;
use super::superblock::halves;

/// The size of an inode on disk.
pub const INODE_SIZE: u16 = 256;
/// Inodes in a block of an inode table.
pub const INODES_PER_BLOCK: u32 = 16;
/// What an inode has beyond the first 128 bytes: second checksum half, times, project.
pub const EXTRA_ISIZE: u16 = 32;
/// The root directory's number.
pub const ROOT_INODE: u32 = 2;
/// The first number that is not reserved; mke2fs gives it to lost+found, where e2fsck looks first.
pub const FIRST_INODE: u32 = 11;
/// The room for extents or a short link's target.
pub const BLOCK_AREA: usize = 60;
/// More subdirectories than this make the link count say 1 (`dir_nlink`).
const LINKS_MAX: u32 = super::NAMES_MAX;

/// File types in the upper bits of a mode.
pub const MODE_DIRECTORY: u16 = 0o040_000;
pub const MODE_FILE: u16 = 0o100_000;

/// The directory has an index of hashes.
const FLAG_INDEX: u32 = 0x1000;
/// The block area holds extents.
const FLAG_EXTENTS: u32 = 0x8_0000;

#[derive(IntoBytes, FromZeros, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawInode {
    i_mode: U16,
    i_uid: U16,
    i_size_lo: U32,
    i_atime: U32,
    i_ctime: U32,
    i_mtime: U32,
    i_dtime: U32,
    i_gid: U16,
    i_links_count: U16,
    i_blocks_lo: U32,
    i_flags: U32,
    i_osd1: U32,
    i_block: [u8; BLOCK_AREA],
    i_generation: U32,
    i_file_acl_lo: U32,
    i_size_high: U32,
    i_obso_faddr: U32,
    l_i_blocks_high: U16,
    l_i_file_acl_high: U16,
    l_i_uid_high: U16,
    l_i_gid_high: U16,
    l_i_checksum_lo: U16,
    l_i_reserved: U16,
    i_extra_isize: U16,
    i_checksum_hi: U16,
    i_ctime_extra: U32,
    i_mtime_extra: U32,
    i_atime_extra: U32,
    i_crtime: U32,
    i_crtime_extra: U32,
    i_version_hi: U32,
    i_projid: U32,
    /// Extended attributes would be here.
    unused: [u8; 96],
}

const _: () = assert!(size_of::<RawInode>() == 256);

/// What differs from one inode to the next. Owner and group are root's, times are the file system's.
#[derive(Debug)]
pub struct Inode {
    /// File type and permissions.
    pub mode: u16,
    /// The length in bytes.
    pub size: u64,
    /// The number of names; for a directory, two and its subdirectories.
    pub links: u32,
    /// Blocks in use, extent blocks included.
    pub blocks: u64,
    /// What is in the block area.
    pub area: Area,
}

/// The 60 bytes of an inode that lead to its contents.
#[derive(Debug)]
pub enum Area {
    /// The root of an extent tree.
    Extents([u8; BLOCK_AREA]),
    /// The same, of a directory with an index.
    IndexedExtents([u8; BLOCK_AREA]),
    /// A short link's target.
    Target([u8; BLOCK_AREA]),
    /// A map of blocks, as ext2 and ext3 have.
    Blocks([u8; BLOCK_AREA]),
}

impl Inode {
    /// The inode as it lies in the table.
    pub fn encode(&self, number: u32, time: u32, seed: Checksum) -> [u8; 256] {
        let (size_lo, size_high) = halves(self.size);
        // In units of 512 bytes, 48 bits wide (`huge_file`).
        let (blocks_lo, blocks_high) = halves(self.blocks * (super::BLOCK / 512));
        let [b0, b1, ..] = blocks_high.to_le_bytes();
        let (flags, area) = match self.area {
            Area::Extents(area) => (FLAG_EXTENTS, area),
            Area::IndexedExtents(area) => (FLAG_EXTENTS | FLAG_INDEX, area),
            Area::Target(area) | Area::Blocks(area) => (0, area),
        };
        let links = if self.links > LINKS_MAX { 1 } else { self.links };

        let mut raw = RawInode::new_zeroed();
        raw.i_mode = self.mode.into();
        raw.i_size_lo = size_lo.into();
        raw.i_size_high = size_high.into();
        raw.i_links_count = u16::try_from(links).unwrap_or(1).into();
        raw.i_blocks_lo = blocks_lo.into();
        raw.l_i_blocks_high = U16::from_bytes([b0, b1]);
        raw.i_flags = flags.into();
        raw.i_block = area;
        raw.i_extra_isize = EXTRA_ISIZE.into();
        for field in [&mut raw.i_atime, &mut raw.i_ctime, &mut raw.i_mtime, &mut raw.i_crtime] {
            *field = time.into();
        }
        let (low, high) = seed.of_inode(number).and(raw.as_bytes()).halves();
        raw.l_i_checksum_lo = low.into();
        raw.i_checksum_hi = high.into();
        zerocopy::transmute!(raw)
    }
}
