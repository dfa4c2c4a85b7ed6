//! The files of an image.

use serde::Serialize;

use crate::container::reader::{Extension, Image, Layer, Qcow2, ReadError, Source, Totals};
use crate::container::{COMPRESSION_TYPE_ZSTD, Header};
use crate::on_disk::{Field, Structure};
use crate::text::shown;

/// The image file and its backing files.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Container {
    /// The size of the disk.
    pub virtual_bytes: u64,
    /// The image itself first, then its backing file, and so on.
    pub files: Vec<AllocatedFile>,
}

/// One file of an image.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AllocatedFile {
    /// Its path.
    pub path: String,
    /// `raw` or `qcow2`.
    pub format: &'static str,
    /// Its length.
    pub file_bytes: u64,
    /// What it takes up on its disk.
    pub disk_bytes: u64,
    /// The size of the disk that it shows.
    pub virtual_bytes: u64,
    /// What of the disk it holds.
    pub allocation: Totals,
    /// The size of a cluster, in a qcow2 file.
    pub cluster_bytes: Option<u64>,
    /// `zlib` or `zstd`, in a qcow2 file.
    pub compression: Option<&'static str>,
    /// The backing file's name as it is stored.
    pub backing_file: Option<String>,
    /// The number of snapshots, which are ignored.
    pub snapshots: u32,
    /// The header's fields, by their names in the specification.
    pub header: Vec<Field>,
    /// The header's extensions.
    pub extensions: Vec<&'static str>,
}

impl Container {
    pub(super) fn of(image: &Image) -> Result<Self, ReadError> {
        let files = image.layers().iter().map(AllocatedFile::of).collect::<Result<_, _>>()?;
        Ok(Self { virtual_bytes: image.size(), files })
    }
}

impl AllocatedFile {
    fn of(layer: &Layer) -> Result<Self, ReadError> {
        let qcow2 = layer.qcow2();
        let header = qcow2.map(Qcow2::header);
        let zstd = |header: &Header| header.compression_type == COMPRESSION_TYPE_ZSTD;
        Ok(Self {
            path: shown(layer.path().as_os_str().as_encoded_bytes()),
            format: layer.format().name(),
            file_bytes: layer.file_length(),
            disk_bytes: layer.disk_usage()?,
            virtual_bytes: layer.virtual_size(),
            allocation: Totals::of(&layer.allocation()?),
            cluster_bytes: qcow2.map(Qcow2::cluster_size),
            compression: header.map(|header| if zstd(header) { "zstd" } else { "zlib" }),
            backing_file: qcow2.and_then(|qcow2| qcow2.first.backing_name.as_deref()).map(shown),
            snapshots: header.map_or(0, |header| header.nb_snapshots.get()),
            header: header.map(Structure::fields).unwrap_or_default(),
            extensions: qcow2
                .map(|qcow2| qcow2.first.extensions.iter().map(Extension::name).collect())
                .unwrap_or_default(),
        })
    }
}
