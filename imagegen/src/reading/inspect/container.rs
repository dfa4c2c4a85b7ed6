//! The files of an image.

use serde::Serialize;

use crate::container::reader::{Image, Layer, ReadError, Source, Totals};
use crate::on_disk::{Field, Structure};
use crate::text::shown;

/// The image file and the files that it stands on.
#[derive(Debug, Serialize)]
pub struct Container {
    /// The size of the disk.
    pub virtual_bytes: u64,
    /// The image itself first, then its backing file, and so on.
    pub files: Vec<AllocatedFile>,
}

/// One file of an image.
#[derive(Debug, Serialize)]
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
        let compression = qcow2.map(|qcow2| if qcow2.header.compression_type == 1 { "zstd" } else { "zlib" });
        Ok(Self {
            path: shown(layer.path().as_os_str().as_encoded_bytes()),
            format: layer.format().name(),
            file_bytes: layer.file_length(),
            disk_bytes: layer.disk_usage()?,
            virtual_bytes: layer.virtual_size(),
            allocation: Totals::of(&layer.allocation()?),
            cluster_bytes: qcow2.map(crate::container::reader::Qcow2::cluster_size),
            compression,
            backing_file: qcow2.and_then(|qcow2| qcow2.backing_name()).map(shown),
            snapshots: qcow2.map_or(0, |qcow2| qcow2.header.nb_snapshots.get()),
            header: qcow2.map(|qcow2| qcow2.header.fields()).unwrap_or_default(),
            extensions: qcow2
                .map(|qcow2| {
                    qcow2.extensions().iter().map(crate::container::reader::Extension::name).collect()
                })
                .unwrap_or_default(),
        })
    }
}
