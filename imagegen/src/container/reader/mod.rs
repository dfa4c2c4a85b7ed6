//! Reading an image file at any guest offset, whatever its form: raw or qcow2, compressed or not, with or without
//! backing files. Any number of threads may read at once.
//!
//! Nothing in a file is trusted: every offset and size is checked before it is used or memory is taken for it.

mod allocation;
mod backing;
mod compressed;
mod first_cluster;
mod qcow2;
mod window;

use std::fmt;
use std::fs::{File, FileType};
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::qcow2::disk::Mapping;
use super::{Foreign, Format, detect_format};
use crate::error_kind::{ErrorKind, Failure};
use crate::host_file::open_without_waiting;
use crate::units::{GuestOffset, index, joined, length};

pub use allocation::{Extent, State, Totals};
pub use backing::{Backing, check_backing};
pub(crate) use first_cluster::Extension;
pub(crate) use qcow2::Qcow2;
pub use window::Window;

/// How many backing files an image may have below it.
const DEPTH_MAX: usize = 16;

/// A disk or a part of one that can be read at any offset.
pub trait Source: Sync {
    /// The size in bytes.
    fn size(&self) -> u64;
    /// Fills the buffer with the bytes from `offset` on. A range that goes beyond the end is an error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError>;
    /// Where a byte lies on the whole disk; nothing if it is in a hole of a file, or not on the disk at all.
    fn guest_offset(&self, offset: u64) -> Option<GuestOffset>;

    /// The first offset from `offset` on where there may be anything but zeros, as far as that is known without reading;
    /// the size if there is nothing.
    fn data_from(&self, offset: u64) -> Result<u64, ReadError> {
        Ok(offset)
    }

    /// The bytes of a range that is known to be small.
    fn bytes(&self, offset: u64, count: usize) -> Result<Vec<u8>, ReadError> {
        self.check(offset, length(count))?;
        let mut buffer = vec![0; count];
        self.read_at(&mut buffer, offset)?;
        Ok(buffer)
    }

    /// Whether a range lies within.
    fn check(&self, offset: u64, count: u64) -> Result<(), ReadError> {
        let size = self.size();
        match offset.checked_add(count) {
            Some(end) if end <= size => Ok(()),
            _ => Err(ReadError::damaged(format!(
                "the {count} bytes at offset {offset:#x} lie beyond the end at {size:#x}; is the image cut short?"
            ))),
        }
    }
}

/// Why an image, or what is in it, cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system said no.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An image file of another program, or one that has to be unpacked first.
    #[error("`{path}` {advice}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        advice: String,
    },
    /// A backing file that the caller does not allow.
    #[error(
        "`{path}` has the backing file `{backing}`, which {problem} and is not opened for an image that somebody else may \
         have made"
    )]
    Backing {
        /// The file that names it.
        path: PathBuf,
        /// The backing file.
        backing: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What is there is damaged ([`ErrorKind::InvalidInput`], or [`ErrorKind::Mismatch`] by a checksum), not supported, or
    /// larger than anybody's.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl ReadError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => ErrorKind::of(source),
            Self::Foreign { .. } => ErrorKind::Unsupported,
            Self::Backing { .. } => ErrorKind::InvalidInput,
            Self::Failure(failure) => failure.kind(),
        }
    }

    /// Says what could not be done with a file.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(problem: impl Into<String>) -> Self {
        Failure::invalid(problem).into()
    }

    pub(crate) fn unsupported(problem: impl Into<String>) -> Self {
        Failure::unsupported(problem).into()
    }
}

/// An image file and its backing files.
#[derive(Debug)]
pub struct Image {
    /// The image itself first, then its backing file, and so on.
    layers: Vec<Layer>,
    /// Where data may be; found when it is first needed.
    data: OnceLock<Vec<Range<u64>>>,
}

/// One file of an image.
#[derive(Debug)]
pub struct Layer {
    path: PathBuf,
    file: File,
    /// The length of the file.
    file_length: u64,
    /// Of a qcow2 file, its header and tables; other files are raw.
    qcow2: Option<Box<Qcow2>>,
}

impl Image {
    /// Opens an image and the backing files that it names. Without a format, the first bytes decide.
    pub fn open(path: &Path, format: Option<Format>, backing: &Backing) -> Result<Self, ReadError> {
        let allowed = backing.of(path);
        let mut layers: Vec<Layer> = Vec::new();
        let mut identities = Vec::new();
        let mut next = Some((path.to_owned(), path.to_owned(), format));
        while let Some((path, target, format)) = next {
            if layers.len() > DEPTH_MAX {
                return Err(too_deep(&path));
            }
            let (layer, identity) = Layer::open(&path, &target, format)?;
            if identities.contains(&identity) {
                return Err(ReadError::damaged(format!(
                    "`{}` is its own backing file, directly or through others",
                    path.display()
                )));
            }
            identities.push(identity);
            next = match &layer.qcow2 {
                Some(qcow2) => allowed.backing(&qcow2.first, &path)?,
                None => None,
            };
            layers.push(layer);
        }
        Ok(Self { layers, data: OnceLock::new() })
    }

    /// The files of the image, itself first. There is at least one.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The ranges in which any layer has data, in order and disjoint.
    fn data(&self) -> Result<&[Range<u64>], ReadError> {
        if self.data.get().is_none() {
            let mut all = Vec::new();
            let mut size = u64::MAX;
            for layer in &self.layers {
                size = size.min(layer.virtual_size());
                let extents = layer.allocation()?.into_iter();
                let held =
                    extents.filter(|extent| !matches!(extent.state, State::Unallocated | State::Zeros));
                all.extend(held.map(|extent| extent.guest.start.min(size)..extent.guest.end.min(size)));
            }
            // Another thread may have been faster; it found the same.
            let _ = self.data.set(joined(all));
        }
        Ok(self.data.get().map(Vec::as_slice).unwrap_or_default())
    }

    /// Reads from a layer what it has, and the rest from those below it.
    fn read_layer(&self, depth: usize, mut buffer: &mut [u8], mut offset: u64) -> Result<(), ReadError> {
        let Some(layer) = self.layers.get(depth) else {
            buffer.fill(0);
            return Ok(());
        };
        while !buffer.is_empty() {
            let left = layer.virtual_size().saturating_sub(offset);
            if left == 0 {
                // A disk that is larger than its backing file has zeros there.
                buffer.fill(0);
                return Ok(());
            }
            let at_most = left.min(length(buffer.len()));
            let Some(qcow2) = &layer.qcow2 else {
                let (piece, rest) = buffer.split_at_mut(index(at_most));
                layer.read_file(piece, offset)?;
                (offset, buffer) = (offset + at_most, rest);
                continue;
            };
            let (mapping, count) = qcow2.map(layer, offset, at_most)?;
            let (piece, rest) = buffer.split_at_mut(index(count));
            match mapping {
                Mapping::Unallocated => self.read_layer(depth + 1, piece, offset)?,
                Mapping::Zeros => piece.fill(0),
                Mapping::Data(host) => layer.read_file(piece, host.0)?,
                Mapping::Compressed(data) => qcow2.decompressor.read(layer, piece, offset, data)?,
            }
            offset += count;
            buffer = rest;
        }
        Ok(())
    }
}

impl Source for Image {
    fn size(&self) -> u64 {
        self.layers.first().map_or(0, Layer::virtual_size)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        self.check(offset, length(buffer.len()))?;
        self.read_layer(0, buffer, offset)
    }

    fn guest_offset(&self, offset: u64) -> Option<GuestOffset> {
        Some(GuestOffset(offset))
    }

    fn data_from(&self, offset: u64) -> Result<u64, ReadError> {
        let ranges = self.data()?;
        let next = ranges.partition_point(|range| range.end <= offset);
        Ok(ranges.get(next).map_or(self.size(), |range| range.start.max(offset)))
    }
}

/// Refuses what has one of these problems; what matters first stands first.
pub(crate) fn refuse<const N: usize>(problems: [(bool, String); N]) -> Result<(), String> {
    problems.into_iter().find(|(is_so, _)| *is_so).map_or(Ok(()), |(_, problem)| Err(problem))
}

fn too_deep(path: &Path) -> ReadError {
    ReadError::unsupported(format!("`{}` stands on more than {DEPTH_MAX} backing files", path.display()))
}

/// What a file is by its first or last bytes; images of other programs are errors.
fn format_of(path: &Path, file: &File, file_length: u64) -> Result<Format, ReadError> {
    match Foreign::of(file, file_length).map_err(ReadError::io("read", path))? {
        None => detect_format(file).map_err(ReadError::io("read", path)),
        Some(foreign) => Err(ReadError::Foreign { path: path.to_owned(), advice: foreign.described(path) }),
    }
}

/// Opens a file that may be an image; gives its length, and its numbers of device and inode.
fn open_file(path: &Path, target: &Path) -> Result<(File, u64, (u64, u64)), ReadError> {
    let io = |action| ReadError::io(action, path);
    let check = |kind: FileType| {
        if kind.is_file() || kind.is_block_device() {
            return Ok(());
        }
        let kind = if kind.is_dir() { "directory" } else { "device, pipe or socket" };
        let path = path.display();
        Err(ReadError::damaged(format!("`{path}` is a {kind}; name an image file or a block device")))
    };
    // Some devices do something when they are opened.
    check(target.metadata().map_err(io("open"))?.file_type())?;
    // By now it may be a pipe, whose other end must not be waited for.
    let mut file = open_without_waiting(target).map_err(io("open"))?;
    let metadata = file.metadata().map_err(io("open"))?;
    check(metadata.file_type())?;
    let length = file.seek(SeekFrom::End(0)).map_err(io("find the end of"))?;
    Ok((file, length, (metadata.dev(), metadata.ino())))
}

impl Layer {
    /// Opens the file at `target`, which errors call `path`. Gives its numbers of device and inode too.
    fn open(path: &Path, target: &Path, format: Option<Format>) -> Result<(Self, (u64, u64)), ReadError> {
        let (file, file_length, identity) = open_file(path, target)?;
        let format = match format {
            Some(format) => format,
            None => format_of(path, &file, file_length)?,
        };
        let qcow2 = match format {
            Format::Raw => None,
            Format::Qcow2 => Some(Box::new(Qcow2::open(path, &file, file_length)?)),
        };
        Ok((Self { path: path.to_owned(), file, file_length, qcow2 }, identity))
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's format.
    pub fn format(&self) -> Format {
        if self.qcow2.is_some() { Format::Qcow2 } else { Format::Raw }
    }

    /// The length of the file in bytes.
    pub fn file_length(&self) -> u64 {
        self.file_length
    }

    /// What the file takes up on its disk, in bytes.
    pub fn disk_usage(&self) -> Result<u64, ReadError> {
        let metadata = self.file.metadata().map_err(ReadError::io("examine", &self.path))?;
        // In units of 512 bytes, whatever the block size of the file system (stat(2)).
        Ok(metadata.blocks().saturating_mul(512))
    }

    /// The size of the disk that the file shows.
    pub fn virtual_size(&self) -> u64 {
        self.qcow2().map_or(self.file_length, |qcow2| qcow2.header().size.get())
    }

    /// The qcow2 header and tables.
    pub(crate) fn qcow2(&self) -> Option<&Qcow2> {
        self.qcow2.as_deref()
    }

    /// Bytes of the file itself. Those beyond its end are zeros: the last cluster need not be there in full.
    pub fn read_file(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let there = self.file_length.saturating_sub(offset).min(length(buffer.len()));
        let (front, rest) = buffer.split_at_mut(index(there));
        rest.fill(0);
        self.file.read_exact_at(front, offset).map_err(ReadError::io("read", &self.path))
    }

    fn damaged(&self, guest: u64, problem: impl fmt::Display) -> ReadError {
        ReadError::damaged(format!(
            "`{}` is damaged: guest offset {guest:#x}: {problem}; `qemu-img check` says more",
            self.path.display()
        ))
    }
}
