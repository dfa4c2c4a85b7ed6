//! The first cluster of a qcow2 file: the header, its extensions and the backing file's name.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zerocopy::{FromZeros, IntoBytes};

use super::disk::{
    BACKING_NAME_MAX, COMPRESSION_TYPE_ZSTD, EXTENSION_BACKING_FORMAT, ExtensionHeader, Header,
    IncompatibleFeatures, MAGIC, REFCOUNT_ORDER,
};
use super::layout::{Layout, REFCOUNT_TABLE};
use super::{CLUSTER, CLUSTER_BITS};
use crate::container::{Compression, ContainerError, Format};
use crate::error_kind::InternalError;
use crate::units::{ByteCount, fit, index, length};

/// The image that an overlay shows until it is written.
#[derive(Debug, Clone, Copy)]
pub struct Backing<'p> {
    /// Its name, as it is stored.
    pub name: &'p Path,
    /// Its format; without it QEMU would have to guess, which a guest could abuse.
    pub format: Format,
}

/// The bytes of the first cluster.
pub fn first_cluster(
    layout: &Layout,
    backing: Option<Backing<'_>>,
    compression: Option<Compression>,
) -> Result<Vec<u8>, ContainerError> {
    let mut header = Header::new_zeroed();
    header.magic = MAGIC;
    header.version = 3.into();
    header.cluster_bits = CLUSTER_BITS.into();
    header.size = layout.size.0.into();
    header.l1_size = layout.l1_entries.into();
    header.l1_table_offset = layout.l1_table().0.into();
    header.refcount_table_offset = REFCOUNT_TABLE.into();
    header.refcount_table_clusters = layout.refcount_table_clusters.into();
    header.refcount_order = REFCOUNT_ORDER.into();
    header.header_length = fit::<u32, _>(size_of::<Header>())?.into();
    if compression == Some(Compression::Zstd) {
        header.incompatible_features = IncompatibleFeatures::COMPRESSION_TYPE.bits().into();
        header.compression_type = COMPRESSION_TYPE_ZSTD;
    }

    let mut extensions = Vec::new();
    let mut name: &[u8] = &[];
    if let Some(backing) = backing {
        name = backing.name.as_os_str().as_bytes();
        if name.len() > BACKING_NAME_MAX {
            return Err(ContainerError::BackingName { length: name.len(), limit: BACKING_NAME_MAX });
        }
        extension(&mut extensions, EXTENSION_BACKING_FORMAT, backing.format.name().as_bytes())?;
    }
    extension(&mut extensions, 0, &[])?;
    if !name.is_empty() {
        header.backing_file_offset = length(size_of::<Header>() + extensions.len()).into();
        header.backing_file_size = fit::<u32, _>(name.len())?.into();
    }

    let mut cluster = [header.as_bytes(), &extensions, name].concat();
    cluster.resize(index(CLUSTER), 0);
    Ok(cluster)
}

fn extension(out: &mut Vec<u8>, kind: u32, data: &[u8]) -> Result<(), InternalError> {
    let length: u32 = fit(data.len())?;
    out.extend_from_slice(ExtensionHeader { kind: kind.into(), length: length.into() }.as_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(8), 0);
    Ok(())
}

/// The size of the disk that a qcow2 file holds, from its header. Older files have a shorter header, but the
/// fields that are read here are in all of them.
pub fn virtual_size(file: &File) -> Result<ByteCount, ContainerError> {
    let mut header = Header::new_zeroed();
    match file.read_exact_at(&mut header.as_mut_bytes()[..Header::VERSION_2], 0) {
        Ok(()) if header.magic == MAGIC => {}
        Err(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            return Err(ContainerError::Io { action: "read the header of", source });
        }
        _ => return Err(ContainerError::NotQcow2),
    }
    match header.version.get() {
        2 | 3 => Ok(ByteCount(header.size.get())),
        other => Err(ContainerError::Version(other)),
    }
}
