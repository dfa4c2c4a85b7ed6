//! Image files: raw or qcow2, written at planned offsets by any number of threads, and read.

mod foreign;
mod overwrite;
mod part;
mod qcow2;
mod raw;
pub mod reader;
mod reflink;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error_kind::{ErrorKind, InternalError};
use crate::units::{ByteCount, GuestOffset, GuestRange, SECTOR};

pub use foreign::Foreign;
pub use part::{Part, ranges_of_part};
pub(crate) use qcow2::disk::{COMPRESSION_TYPE_ZSTD, Header};

/// A range for [`Sink::reflink`] has something other than zeros in each piece of the disk of this many bytes: a qcow2 image
/// leaves out clusters of zeros.
pub const REFLINK_PIECE: u64 = 64 << 10;

/// Takes the bytes of a disk or file system at their final offset.
///
/// Bytes that are not written read as zeros. Calls may come in any order and from several
/// threads. Ranges never overlap and lie within the plan that the container was created with.
pub trait Sink: Sync {
    /// `bytes` are the guest's content from `offset` on.
    fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()>;

    /// Does what [`Sink::data`] would with the bytes in this range of `source`, but without a copy: the image gets the
    /// blocks that hold them. Tells whether it could. If not, some may be in the image, and the caller writes all of them.
    ///
    /// No [`REFLINK_PIECE`] of the disk may have zeros only in this range.
    fn reflink(&self, offset: GuestOffset, source: &File, range: Range<u64>) -> io::Result<bool> {
        let _ = (offset, source, range);
        Ok(false)
    }

    /// Whether a call takes much longer than reading the bytes did, so that several threads should call, with data
    /// in roughly ascending order.
    fn compresses(&self) -> bool {
        false
    }
}

/// How many bytes should be gathered for a call of [`Sink::data`]. Large enough that the calls do not count, small enough
/// that the bytes are still in the processor's cache when they are written, and that the kernel does not look for large
/// free pages to hold them, which took far longer to fill on a virtual machine (docs/performance.md).
pub const RUN: usize = 128 << 10;

/// The form of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The bytes as the guest sees them.
    Raw,
    /// QEMU's copy-on-write format, version 3.
    Qcow2,
}

impl Format {
    /// The name that QEMU and qemu-img know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// How the clusters of a qcow2 image are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Deflate, which every QEMU reads.
    Zlib,
    /// Zstandard, for QEMU 5.1 and later: several times faster, and smaller.
    Zstd,
}

/// Why an image file cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The system said no.
    #[error("cannot {action} the image file")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// More than the format, or QEMU, can address.
    #[error("a {format} image of {size} is larger than QEMU can open ({limit} at most)")]
    TooLarge {
        /// The format's name.
        format: &'static str,
        /// The size asked for.
        size: ByteCount,
        /// The largest possible size.
        limit: ByteCount,
    },
    /// More than a file can have where the image is written: 16 TiB on ext4, or the process's limit.
    #[error(
        "a raw image is a file of {size}, and where it is written no file can be that large; write a qcow2 image, or to \
         another file system"
    )]
    FileTooLarge {
        /// The size asked for.
        size: ByteCount,
    },
    /// The name is longer than QEMU reads.
    #[error("the backing file's name has {length} bytes; qcow2 holds at most {limit}: use a shorter path")]
    BackingName {
        /// Its length.
        length: usize,
        /// The format's limit.
        limit: usize,
    },
    /// The plan of an image has ranges that lie outside of it or overlap.
    #[error("the plan of the image is inconsistent at byte {0}")]
    Plan(u64),
    /// The file has no qcow2 header.
    #[error("the file is not a qcow2 image (it does not begin with `QFI\\xfb`)")]
    NotQcow2,
    /// Another version than 2 and 3.
    #[error("the qcow2 image has version {0}; this program knows 2 and 3")]
    Version(u32),
    /// The library contradicts itself.
    #[error(transparent)]
    Internal(#[from] InternalError),
}

impl ContainerError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => ErrorKind::of(source),
            Self::TooLarge { .. } | Self::FileTooLarge { .. } | Self::BackingName { .. } => {
                ErrorKind::TooLarge
            }
            Self::Plan(_) | Self::NotQcow2 => ErrorKind::InvalidInput,
            Self::Version(_) => ErrorKind::Unsupported,
            Self::Internal(error) => error.kind(),
        }
    }
}

/// An image file that is being written.
#[must_use = "an image is complete only after `finish`"]
pub struct ImageFile<'f> {
    writer: Writer<'f>,
}

enum Writer<'f> {
    Raw(raw::Writer<'f>),
    Overwrite(overwrite::Writer<'f>),
    Qcow2(qcow2::Writer<'f>),
    Compressed(Box<qcow2::CompressedWriter<'f>>),
}

impl<'f> ImageFile<'f> {
    /// Lays out an empty file for an image of `size` bytes, rounded up to a whole sector. Only the `allocated`
    /// ranges, sorted and disjoint, may be written.
    pub fn create(
        file: &'f File,
        format: Format,
        size: ByteCount,
        allocated: &[GuestRange],
    ) -> Result<Self, ContainerError> {
        let size = check(size, format, allocated)?;
        let writer = match format {
            Format::Raw => Writer::Raw(raw::Writer::create(file, size)?),
            Format::Qcow2 => Writer::Qcow2(qcow2::Writer::create(file, size, allocated)?),
        };
        Ok(Self { writer })
    }

    /// Writes a raw image over what is in `file`, which is a block device: bytes that are not written become zeros at
    /// the end, and what lies behind the image stays.
    pub fn overwrite(
        file: &'f File,
        size: ByteCount,
        allocated: &[GuestRange],
    ) -> Result<Self, ContainerError> {
        let size = check(size, Format::Raw, allocated)?;
        Ok(Self { writer: Writer::Overwrite(overwrite::Writer::new(file, size)) })
    }

    /// The same as [`ImageFile::create`] for qcow2, with each cluster compressed unless that makes it longer. Several
    /// threads that call [`Sink::data`] compress at once; the bytes of the file do not depend on them.
    pub fn create_compressed(
        file: &'f File,
        compression: Compression,
        size: ByteCount,
        allocated: &[GuestRange],
    ) -> Result<Self, ContainerError> {
        let size = check(size, Format::Qcow2, allocated)?;
        let writer = qcow2::CompressedWriter::create(file, compression, size, allocated)?;
        Ok(Self { writer: Writer::Compressed(Box::new(writer)) })
    }

    /// Writes the tables; the file is complete after it. Its bytes depend on what was written and where, not on the order
    /// or the number of threads.
    pub fn finish(self) -> Result<(), ContainerError> {
        match self.writer {
            Writer::Raw(_) => Ok(()),
            Writer::Overwrite(writer) => writer.finish(),
            Writer::Qcow2(writer) => writer.finish(None),
            Writer::Compressed(writer) => writer.finish(),
        }
    }
}

impl Sink for ImageFile<'_> {
    fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        match &self.writer {
            Writer::Raw(writer) => writer.data(offset, bytes),
            Writer::Overwrite(writer) => writer.data(offset, bytes),
            Writer::Qcow2(writer) => writer.data(offset, bytes),
            Writer::Compressed(writer) => writer.data(offset, bytes),
        }
    }

    fn reflink(&self, offset: GuestOffset, source: &File, range: Range<u64>) -> io::Result<bool> {
        match &self.writer {
            Writer::Raw(writer) => writer.reflink(offset, source, range),
            Writer::Qcow2(writer) => writer.reflink(offset, source, range),
            // A device has blocks of its own, and compressed clusters have other bytes.
            Writer::Overwrite(_) | Writer::Compressed(_) => Ok(false),
        }
    }

    fn compresses(&self) -> bool {
        matches!(self.writer, Writer::Compressed(_))
    }
}

/// Writes an image of zeros.
pub fn create_empty(file: &File, format: Format, size: ByteCount) -> Result<(), ContainerError> {
    ImageFile::create(file, format, size, &[])?.finish()
}

/// Writes a qcow2 image of `size` bytes that shows the contents of `backing` until the guest writes. The name is
/// stored as it is given; QEMU takes a relative one from the overlay's directory.
pub fn create_overlay(
    file: &File,
    backing: &Path,
    backing_format: Format,
    size: ByteCount,
) -> Result<(), ContainerError> {
    let size = check(size, Format::Qcow2, &[])?;
    qcow2::Writer::create(file, size, &[])?
        .finish(Some(qcow2::Backing { name: backing, format: backing_format }))
}

/// The size of the disk in an image: for a raw one, the length of the file or block device.
pub fn virtual_size(mut file: &File, format: Format) -> Result<ByteCount, ContainerError> {
    match format {
        Format::Raw => file
            .seek(SeekFrom::End(0))
            .map(ByteCount)
            .map_err(|source| ContainerError::Io { action: "find the end of", source }),
        Format::Qcow2 => qcow2::virtual_size(file),
    }
}

/// What an image is by its first bytes; whatever is not qcow2 may be raw.
pub fn detect_format(file: &File) -> io::Result<Format> {
    let mut magic = [0; 4];
    match file.read_exact_at(&mut magic, 0) {
        Ok(()) if magic == qcow2::MAGIC => Ok(Format::Qcow2),
        Ok(()) => Ok(Format::Raw),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Format::Raw),
        Err(error) => Err(error),
    }
}

/// Rounds up to sectors, as qemu-img does, and refuses what QEMU could not open, and ranges out of order.
fn check(size: ByteCount, format: Format, allocated: &[GuestRange]) -> Result<ByteCount, ContainerError> {
    let limit = match format {
        // File offsets are signed.
        Format::Raw => ByteCount(i64::MAX.unsigned_abs() / SECTOR * SECTOR),
        Format::Qcow2 => qcow2::SIZE_MAX,
    };
    if size > limit {
        return Err(ContainerError::TooLarge { format: format.name(), size, limit });
    }
    let size = ByteCount(size.0.next_multiple_of(SECTOR));
    let mut end = GuestOffset(0);
    for range in allocated {
        if range.start < end || range.end < range.start || range.end.0 > size.0 {
            return Err(ContainerError::Plan(range.start.0));
        }
        end = range.end;
    }
    Ok(size)
}

/// Whether all bytes are zero. Folding a stretch at a time lets the compiler use vector instructions, and contents
/// that are not zero are told by their first stretch.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(512).all(|stretch| stretch.iter().fold(0, |all, byte| all | byte) == 0)
}
