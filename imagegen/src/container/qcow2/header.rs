//! The first cluster of a qcow2 file: the header and its extensions.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::Layout;
use super::{CLUSTER, CLUSTER_BITS};
use crate::container::{Compression, ContainerError, Format};
use crate::error_kind::InternalError;
use crate::units::{ByteCount, fit, index, length};

/// How every qcow2 file begins.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";
/// The longest name of a backing file that the format allows.
const BACKING_NAME_MAX: usize = 1023;
/// The header extension that names the backing file's format.
const EXTENSION_BACKING_FORMAT: u32 = 0xE279_2ACA;
/// Refcounts of 2^4 bits, the only width that version 2 knew and the usual one.
const REFCOUNT_ORDER: u32 = 4;

/// Clusters are compressed by another method than zlib's; readers that know only that must refuse the image.
const INCOMPATIBLE_COMPRESSION_TYPE: u64 = 1 << 3;
const COMPRESSION_TYPE_ZSTD: u8 = 1;

/// The header of version 3, all numbers big-endian ("Header" in the specification). Fields that are always zero
/// here (encryption, snapshots, feature bits) keep their places.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Debug)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U32,
    /// Where the backing file's name lies in this file, or 0 for none; the name has no NUL at its end.
    backing_file_offset: U64,
    backing_file_size: U32,
    cluster_bits: U32,
    /// The virtual disk's size in bytes.
    size: U64,
    crypt_method: U32,
    /// The number of entries of the L1 table.
    l1_size: U32,
    l1_table_offset: U64,
    refcount_table_offset: U64,
    refcount_table_clusters: U32,
    nb_snapshots: U32,
    snapshots_offset: U64,
    incompatible_features: U64,
    compatible_features: U64,
    autoclear_features: U64,
    /// Refcounts have 2^this bits.
    refcount_order: U32,
    /// The length of this structure; extensions follow it.
    header_length: U32,
    /// 0 for zlib, the default; 1 for zstd.
    compression_type: u8,
    padding: [u8; 7],
}

/// What stands before each header extension ("Header extensions").
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Extension {
    kind: U32,
    /// The length of the data, which is padded to a multiple of 8.
    length: U32,
}

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
    header.refcount_table_offset = layout.refcount_table().0.into();
    header.refcount_table_clusters = layout.refcount_table_clusters.into();
    header.refcount_order = REFCOUNT_ORDER.into();
    header.header_length = fit::<u32, _>(size_of::<Header>())?.into();
    if compression == Some(Compression::Zstd) {
        header.incompatible_features = INCOMPATIBLE_COMPRESSION_TYPE.into();
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

    let mut cluster = Vec::with_capacity(index(CLUSTER));
    cluster.extend_from_slice(header.as_bytes());
    cluster.extend_from_slice(&extensions);
    cluster.extend_from_slice(name);
    cluster.resize(index(CLUSTER), 0);
    Ok(cluster)
}

fn extension(out: &mut Vec<u8>, kind: u32, data: &[u8]) -> Result<(), InternalError> {
    let size: u32 = fit(data.len())?;
    out.extend_from_slice(Extension { kind: kind.into(), length: size.into() }.as_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(8), 0);
    Ok(())
}

/// The size of the disk that a qcow2 file holds, from its header. Older files have a shorter header, but the
/// fields that are read here are in all of them.
pub fn virtual_size(file: &File) -> Result<ByteCount, ContainerError> {
    let mut header = Header::new_zeroed();
    let version_2_length = std::mem::offset_of!(Header, incompatible_features);
    file.read_exact_at(&mut header.as_mut_bytes()[..version_2_length], 0).map_err(|source| {
        if source.kind() == std::io::ErrorKind::UnexpectedEof {
            ContainerError::NotQcow2
        } else {
            ContainerError::Io { action: "read the header of", source }
        }
    })?;
    if header.magic != MAGIC {
        return Err(ContainerError::NotQcow2);
    }
    match header.version.get() {
        2 | 3 => Ok(ByteCount(header.size.get())),
        other => Err(ContainerError::Version(other)),
    }
}
