//! Which file system of an image is meant: the image itself, or one of its partitions, by its number or its name.

use std::fmt;

use crate::container::reader::{Image, ReadError, Source, Window};
use crate::disk::gpt::reader::{Partition, PartitionTable};
use crate::error_kind::ErrorKind;
use crate::reading::probe::Contents;
use crate::text::shown;

/// A partition, and what is in it by its first bytes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Volume {
    /// Its number, from 1 on.
    pub number: u32,
    /// Its name in a GPT, fit for a terminal; often empty.
    pub name: String,
    /// Its first byte on the disk.
    pub start: u64,
    /// Its length in bytes.
    pub size: u64,
    /// What is in it.
    pub contents: Contents,
}

/// Why there is no file system, or not one alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// The image cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A partition is asked for, and the image has none.
    #[error("the image has no partition table, and so no partition `{0}`")]
    NoTable(String),
    /// A partition that is not there.
    #[error("there is no partition `{wanted}`; there are {there}")]
    NoPartition {
        /// Its number or name.
        wanted: String,
        /// Those that are there.
        there: Volumes,
    },
    /// Several partitions, and none is asked for.
    #[error("several partitions have files: {0}")]
    Several(Volumes),
    /// Nothing that is read.
    #[error("{place} is neither ext4 nor FAT ({contents})")]
    Unread {
        /// The image, or its partition.
        place: String,
        /// Where on the disk that is, in bytes.
        start: u64,
        /// The partition's number.
        number: Option<u32>,
        /// What it is.
        contents: &'static str,
    },
    /// No partition that is read.
    #[error("no partition is ext4 or FAT; there are {0}")]
    NoneIsRead(Volumes),
}

impl VolumeError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::NoPartition { .. } | Self::NoTable(_) => ErrorKind::NotFound,
            Self::Unread { .. } | Self::NoneIsRead(_) => ErrorKind::Unsupported,
            Self::Several(_) => ErrorKind::InvalidInput,
        }
    }
}

/// The partitions of a disk.
#[derive(Debug)]
pub struct Volumes(pub Vec<Volume>);

impl fmt::Display for Volumes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, Volume { number, name, contents, .. }) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let name = if name.is_empty() { String::new() } else { format!(" `{name}`") };
            write!(f, "{comma}{number}{name} ({})", contents.name())?;
        }
        Ok(())
    }
}

impl Volume {
    fn is_read(&self) -> bool {
        matches!(self.contents, Contents::Ext4 | Contents::Fat)
    }
}

impl Volumes {
    /// The partitions of a disk; none where there is no partition table.
    pub fn of(image: &Image) -> Result<Option<Self>, ReadError> {
        let Contents::Partitions(table) = Contents::detect(image)? else { return Ok(None) };
        Ok(Some(Self::in_table(image, &table)?))
    }

    /// The partitions of a disk with this table.
    pub(super) fn in_table(disk: &dyn Source, table: &PartitionTable) -> Result<Self, ReadError> {
        let volume = |partition: &Partition| {
            let window = Window::new(disk, partition.start_bytes, partition.bytes)?;
            Ok(Volume {
                number: partition.number,
                name: partition.name.clone(),
                start: partition.start_bytes,
                size: partition.bytes,
                contents: Contents::detect(&window)?,
            })
        };
        Ok(Self(table.partitions.iter().map(volume).collect::<Result<_, ReadError>>()?))
    }

    /// The partition with this number or, if there is none, this name.
    fn named(&self, wanted: &str) -> Option<&Volume> {
        let by_number = self.0.iter().find(|volume| volume.number.to_string() == wanted);
        by_number.or_else(|| self.0.iter().find(|volume| volume.name == wanted))
    }

    /// The partition that is meant if none is named: the only one that is read, or the only one.
    fn only(&self) -> Option<&Volume> {
        let mut read = self.0.iter().filter(|volume| volume.is_read());
        match (read.next(), read.next(), self.0.as_slice()) {
            (Some(volume), None, _) | (None, _, [volume]) => Some(volume),
            _ => None,
        }
    }
}

/// The file system of a partition, by its number or its name; without one, the only one in the image.
pub fn find<'i>(image: &'i Image, partition: Option<&str>) -> Result<Window<'i>, VolumeError> {
    let Some(volumes) = Volumes::of(image)? else {
        if let Some(wanted) = partition {
            return Err(VolumeError::NoTable(shown(wanted.as_bytes())));
        }
        return match Contents::detect(image)? {
            Contents::Ext4 | Contents::Fat => Ok(Window::new(image, 0, image.size())?),
            contents => Err(VolumeError::Unread {
                place: "the image".to_owned(),
                start: 0,
                number: None,
                contents: contents.name(),
            }),
        };
    };
    let volume = match partition {
        Some(wanted) => volumes.named(wanted),
        None => volumes.only(),
    };
    let Some(volume) = volume else {
        return Err(match partition {
            Some(wanted) => VolumeError::NoPartition { wanted: shown(wanted.as_bytes()), there: volumes },
            None if volumes.0.iter().any(Volume::is_read) => VolumeError::Several(volumes),
            None => VolumeError::NoneIsRead(volumes),
        });
    };
    if !volume.is_read() {
        return Err(VolumeError::Unread {
            place: format!("partition {}", volume.number),
            start: volume.start,
            number: Some(volume.number),
            contents: volume.contents.name(),
        });
    }
    Ok(Window::new(image, volume.start, volume.size)?)
}
