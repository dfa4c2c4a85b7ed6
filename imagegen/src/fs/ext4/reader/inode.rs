//! Inodes (the kernel's documentation of ext4, "Index Nodes").

use std::fmt;

use zerocopy::byteorder::little_endian::U16;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{FileSystem, HELP, check};
use crate::container::reader::ReadError;
use crate::fs::ext4::checksum::Checksum;
use crate::fs::ext4::disk::{InodeFlags, RawInode, join};
use crate::fs::file_tree::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};

const SMALL: usize = std::mem::offset_of!(RawInode, i_extra_isize);
const CHECKSUM_LO: usize = std::mem::offset_of!(RawInode, l_i_checksum_lo);
const CHECKSUM_HI: usize = std::mem::offset_of!(RawInode, i_checksum_hi);

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A device, pipe or socket, none of which has contents.
    Special,
}

/// An inode and its number.
#[derive(Debug, Clone)]
pub struct Inode {
    /// Its number, from 1 on.
    pub number: u32,
    /// As it is on disk.
    pub raw: RawInode,
    /// The seed of everything that belongs to it.
    pub(super) seed: Option<Checksum>,
}

impl Inode {
    /// Reads and checks an inode.
    pub(super) fn read(file_system: &FileSystem<'_>, number: u32) -> Result<Self, ReadError> {
        let offset = file_system.inode_offset(number)?;
        let bytes = file_system.source.bytes(offset, file_system.superblock.inode_size().into())?;
        let mut raw = RawInode::new_zeroed();
        let known = bytes.len().min(size_of::<RawInode>());
        let extra = bytes.get(SMALL..SMALL + 2).and_then(|field| U16::read_from_bytes(field).ok());
        let known = if known > SMALL {
            // What lies behind the extra fields is extended attributes.
            known.min(SMALL + usize::from(extra.map_or(0, U16::get)))
        } else {
            known
        };
        raw.as_mut_bytes()[..known].copy_from_slice(&bytes[..known]);
        let seed = file_system.superblock.seed();
        let seed = seed.map(|seed| seed.and(&number.to_le_bytes()).and(raw.i_generation.as_bytes()));
        let inode = Self { number, raw, seed };
        inode.check(bytes, known > CHECKSUM_HI)?;
        Ok(inode)
    }

    /// Compares the checksum, taken with its own fields as zeros.
    fn check(&self, mut bytes: Vec<u8>, has_high: bool) -> Result<(), ReadError> {
        let Some(seed) = self.seed else { return Ok(()) };
        bytes[CHECKSUM_LO..CHECKSUM_LO + 2].fill(0);
        let mut expected = u32::from(self.raw.l_i_checksum_lo.get());
        let mut mask = 0xFFFF;
        if has_high {
            bytes[CHECKSUM_HI..CHECKSUM_HI + 2].fill(0);
            expected |= u32::from(self.raw.i_checksum_hi.get()) << 16;
            mask = u32::MAX;
        }
        check(format_args!("inode {}", self.number), seed.and(&bytes).get() & mask, expected)
    }

    /// What it is, by the upper bits of its mode.
    pub fn kind(&self) -> Type {
        match self.raw.i_mode.get() & S_IFMT {
            S_IFDIR => Type::Directory,
            S_IFREG => Type::File,
            S_IFLNK => Type::Symlink,
            _ => Type::Special,
        }
    }

    /// The permissions and the three bits above them.
    pub fn permissions(&self) -> u16 {
        self.raw.i_mode.get() & 0o7777
    }

    /// The length in bytes.
    pub fn size(&self) -> u64 {
        join(self.raw.i_size_lo, self.raw.i_size_high)
    }

    /// The owner's number.
    pub fn uid(&self) -> u32 {
        u32::from(self.raw.l_i_uid_high.get()) << 16 | u32::from(self.raw.i_uid.get())
    }

    /// The group's number.
    pub fn gid(&self) -> u32 {
        u32::from(self.raw.l_i_gid_high.get()) << 16 | u32::from(self.raw.i_gid.get())
    }

    /// When the contents changed last, in seconds since 1970.
    pub fn modified(&self) -> i64 {
        // 32 signed bits, and two more above them in the extra field.
        let low = i64::from(i32::from_le_bytes(self.raw.i_mtime.to_bytes()));
        low + (i64::from(self.raw.i_mtime_extra.get() & 0b11) << 32)
    }

    /// Whether the block area holds extents.
    pub fn has_extents(&self) -> bool {
        self.flags().contains(InodeFlags::EXTENTS)
    }

    fn flags(&self) -> InodeFlags {
        InodeFlags::from_bits_retain(self.raw.i_flags.get())
    }

    /// Refuses what cannot be read here.
    pub(super) fn check_readable(&self) -> Result<(), ReadError> {
        if self.flags().contains(InodeFlags::ENCRYPT) {
            return Err(self.unread("is encrypted", "mount the file system with the key"));
        }
        if self.flags().contains(InodeFlags::INLINE_DATA) {
            return Err(self.unread("has its contents in the inode (inline_data)", HELP));
        }
        Ok(())
    }

    pub(super) fn unread(&self, problem: &str, help: &str) -> ReadError {
        let number = self.number;
        ReadError::unsupported(format!("inode {number} {problem}, which this program does not read; {help}"))
    }

    pub(super) fn damaged(&self, problem: impl fmt::Display) -> ReadError {
        ReadError::damaged(format!("inode {} {problem}", self.number))
    }
}
