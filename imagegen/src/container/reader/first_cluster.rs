//! The first cluster of a qcow2 file, version 2 or 3, read and checked.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{ReadError, refuse};
use crate::container::Format;
use crate::container::qcow2::disk::{
    BACKING_NAME_MAX, COMPRESSION_TYPE_ZSTD, EXTENSION_BACKING_FORMAT, EXTENSIONS, ExtensionHeader, Header,
    IncompatibleFeatures, L1_BYTES_MAX, MAGIC, REFCOUNT_ORDER,
};
use crate::text::shown;
use crate::units::{index, length};

const DATA_FILE: &str = "keeps its data in an external file";

/// A header extension.
#[derive(Debug)]
pub struct Extension {
    kind: u32,
    data: Vec<u8>,
}

impl Extension {
    /// The specification's name of it.
    pub fn name(&self) -> &'static str {
        EXTENSIONS.iter().find(|(kind, _)| *kind == self.kind).map_or("unknown", |(_, name)| name)
    }
}

/// What the first cluster of a file says.
#[derive(Debug)]
pub struct FirstCluster {
    pub header: Header,
    pub extensions: Vec<Extension>,
    /// The backing file's name as it is stored.
    pub backing_name: Option<Vec<u8>>,
}

impl FirstCluster {
    /// Reads and checks the first cluster of a file of `file_length` bytes. The file may not use features that this program
    /// cannot read.
    pub fn read(path: &Path, file: &File, file_length: u64) -> Result<Self, ReadError> {
        let first = Self::read_any(path, file, file_length)?;
        check_features(&first.header).map_err(|problem| unsupported(path, &problem))?;
        Ok(first)
    }

    /// The same, whatever features the file has.
    pub fn read_any(path: &Path, file: &File, file_length: u64) -> Result<Self, ReadError> {
        let damaged = |problem: String| {
            ReadError::damaged(format!("the qcow2 header of `{}` is damaged: {problem}", path.display()))
        };
        let mut header = Header::new_zeroed();
        let size = index(file_length).min(size_of::<Header>());
        if size < Header::VERSION_2 {
            return Err(damaged(format!("the file has only {file_length} bytes")));
        }
        file.read_exact_at(&mut header.as_mut_bytes()[..size], 0).map_err(ReadError::io("read", path))?;
        normalize(&mut header, size).map_err(damaged)?;
        check(&header, file_length).map_err(damaged)?;

        // At most 2 MiB: the cluster size has been checked.
        let mut cluster = vec![0; index((1 << header.cluster_bits.get()).min(file_length))];
        file.read_exact_at(&mut cluster, 0).map_err(ReadError::io("read", path))?;
        let backing_name = backing_name(&header, &cluster).map_err(damaged)?;
        let extensions = extensions(&header, &cluster).map_err(damaged)?;
        Ok(Self { header, extensions, backing_name })
    }

    /// Refuses a file whose data are in another file, of any name.
    pub fn check_data_file(&self, path: &Path) -> Result<(), ReadError> {
        if !self.header.incompatible_features().contains(IncompatibleFeatures::EXTERNAL_DATA) {
            return Ok(());
        }
        Err(unsupported(path, DATA_FILE))
    }

    /// The backing file of the image at `path`: its path as seen from here, and its format if the image names it.
    pub fn backing(&self, path: &Path) -> Result<Option<(PathBuf, Option<Format>)>, ReadError> {
        let Some(name) = &self.backing_name else { return Ok(None) };
        let named = self.extensions.iter().find(|extension| extension.kind == EXTENSION_BACKING_FORMAT);
        let format = match named.map(|extension| extension.data.as_slice()) {
            None => None,
            Some(b"raw") => Some(Format::Raw),
            Some(b"qcow2") => Some(Format::Qcow2),
            Some(other) => {
                let problem = format!(
                    "has a backing file of the format `{}`, which is not read; make a plain image of it with `qemu-img \
                     convert -O qcow2`",
                    shown(other)
                );
                return Err(unsupported(path, &problem));
            }
        };
        let name = name.strip_prefix(b"file:").unwrap_or(name);
        // To QEMU, a name with a colon and no slash before it begins with a protocol.
        let colon = name.iter().position(|&byte| byte == b':');
        if colon.is_some_and(|colon| !name[..colon].contains(&b'/')) {
            let problem = format!(
                "has the backing file `{}`, which is no plain file name; make a plain image of it with \
                 `qemu-img convert`",
                shown(name)
            );
            return Err(unsupported(path, &problem));
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        Ok(Some((directory.join(OsStr::from_bytes(name)), format)))
    }
}

fn unsupported(path: &Path, problem: &str) -> ReadError {
    ReadError::unsupported(format!("`{}` {problem}", path.display()))
}

/// Sets the fields that a header of this version or length lacks to the values that the specification gives them.
fn normalize(header: &mut Header, there: usize) -> Result<(), String> {
    if header.magic != MAGIC {
        return Err("it does not begin with `QFI\\xfb`".to_owned());
    }
    let known = match header.version.get() {
        2 => {
            header.refcount_order = REFCOUNT_ORDER.into();
            Header::VERSION_2
        }
        3 => {
            let claimed = index(header.header_length.get().into());
            if claimed < Header::VERSION_3 || there < Header::VERSION_3 {
                return Err(format!("a header of version 3 has {} bytes, not {claimed}", Header::VERSION_3));
            }
            claimed.min(there)
        }
        other => return Err(format!("it has version {other}; this program knows 2 and 3")),
    };
    if known == Header::VERSION_2 {
        header.header_length = 72.into();
        header.incompatible_features = 0.into();
        header.compatible_features = 0.into();
        header.autoclear_features = 0.into();
    }
    if known < size_of::<Header>() {
        header.compression_type = 0;
        header.padding = [0; 7];
    }
    Ok(())
}

fn check(header: &Header, file_length: u64) -> Result<(), String> {
    let bits = header.cluster_bits.get();
    if !(9..=21).contains(&bits) {
        return Err(format!("clusters of 2^{bits} bytes are not between 512 bytes and 2 MiB"));
    }
    let cluster = 1_u64 << bits;
    let (entries, offset) = (u64::from(header.l1_size.get()), header.l1_table_offset.get());
    let size = header.size.get();
    let needed = size.div_ceil(cluster).div_ceil(cluster / 8);
    let is_beyond = |length: u64| offset.checked_add(length).is_none_or(|end| end > file_length);
    refuse([
        (u64::from(header.header_length.get()) > cluster, "it is longer than a cluster".to_owned()),
        (entries * 8 > L1_BYTES_MAX, format!("its L1 table has {entries} entries, more than QEMU takes")),
        (!offset.is_multiple_of(cluster), format!("its L1 table at {offset:#x} does not begin at a cluster")),
        (is_beyond(entries * 8), format!("its L1 table at {offset:#x} goes beyond the end of the file")),
        (needed > entries, format!("a disk of {size} bytes needs {needed} L1 entries; there are {entries}")),
    ])
}

fn check_features(header: &Header) -> Result<(), String> {
    let features = header.incompatible_features();
    let convert = "make a plain image of it with `qemu-img convert -O qcow2`";
    let compression = header.compression_type;
    let is_other = features.contains(IncompatibleFeatures::COMPRESSION_TYPE);
    let unknown_compression = compression > COMPRESSION_TYPE_ZSTD || (compression != 0) != is_other;
    refuse([
        (header.crypt_method.get() != 0, format!("is encrypted; {convert}")),
        (
            features.contains(IncompatibleFeatures::EXTENDED_L2),
            format!("has extended L2 entries (subclusters), which this program does not read; {convert}"),
        ),
        (features.contains(IncompatibleFeatures::EXTERNAL_DATA), format!("{DATA_FILE}; {convert}")),
        (
            features.contains(IncompatibleFeatures::CORRUPT),
            "is marked as corrupt; repair it with `qemu-img check -r all`".to_owned(),
        ),
        (
            !IncompatibleFeatures::all().contains(features),
            format!("has unknown incompatible features ({:#x}); {convert}", features.bits()),
        ),
        (unknown_compression, format!("has the unknown compression type {compression}; {convert}")),
    ])
}

fn backing_name(header: &Header, cluster: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let (offset, size) = (header.backing_file_offset.get(), header.backing_file_size.get());
    if offset == 0 || size == 0 {
        return Ok(None);
    }
    if index(size.into()) > BACKING_NAME_MAX {
        return Err(format!("the backing file's name has {size} bytes; {BACKING_NAME_MAX} are allowed"));
    }
    let end = offset.checked_add(size.into()).filter(|&end| end <= length(cluster.len()));
    let end = end.ok_or("the backing file's name lies beyond the first cluster")?;
    Ok(Some(cluster[index(offset)..index(end)].to_vec()))
}

fn extensions(header: &Header, cluster: &[u8]) -> Result<Vec<Extension>, String> {
    let start = index(header.header_length.get().into());
    let end = match header.backing_file_offset.get() {
        0 => cluster.len(),
        name => index(name).min(cluster.len()),
    };
    let mut rest = cluster.get(start..end).unwrap_or_default();
    let mut all = Vec::new();
    while let Ok((extension, after)) = ExtensionHeader::read_from_prefix(rest) {
        let (kind, size) = (extension.kind.get(), index(extension.length.get().into()));
        if kind == 0 {
            break;
        }
        let data = after.get(..size).ok_or("a header extension goes beyond the first cluster")?;
        all.push(Extension { kind, data: data.to_vec() });
        rest = after.get(size.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(all)
}
