//! The header of a qcow2 file, version 2 or 3 (QEMU's docs/interop/qcow2, "Header").

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ReadError;
use crate::container::Format;
use crate::on_disk::structure;
use crate::text::shown;
use crate::units::{index, length};

structure! {
    /// The fields of the header; those from `incompatible_features` on are only in version 3.
    pub struct Header {
        magic: [u8; 4] = bytes,
        version: U32 = decimal,
        backing_file_offset: U64 = hex,
        backing_file_size: U32 = decimal,
        cluster_bits: U32 = decimal,
        size: U64 = decimal,
        crypt_method: U32 = decimal,
        l1_size: U32 = decimal,
        l1_table_offset: U64 = hex,
        refcount_table_offset: U64 = hex,
        refcount_table_clusters: U32 = decimal,
        nb_snapshots: U32 = decimal,
        snapshots_offset: U64 = hex,
        incompatible_features: U64 = hex,
        compatible_features: U64 = hex,
        autoclear_features: U64 = hex,
        refcount_order: U32 = decimal,
        header_length: U32 = decimal,
        compression_type: u8 = decimal,
        padding: [u8; 7] = bytes,
    }
}

const VERSION_2_LENGTH: usize = std::mem::offset_of!(Header, incompatible_features);
const VERSION_3_LENGTH: usize = std::mem::offset_of!(Header, compression_type);
const BACKING_NAME_MAX: u32 = 1023;
/// QEMU's own limit on an L1 table, in bytes.
const L1_MAX: u64 = 32 << 20;
const EXTENSION_BACKING_FORMAT: u32 = 0xE279_2ACA;

const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_EXTERNAL_DATA: u64 = 1 << 2;
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;
/// Bit 0 says that refcounts may be wrong, which no reader minds.
const INCOMPATIBLE_KNOWN: u64 = 0b1111;

const DATA_FILE: &str = "keeps its data in an external file";

/// A header extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Its number.
    pub kind: u32,
    /// What is in it.
    pub data: Vec<u8>,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ExtensionHeader {
    kind: U32,
    length: U32,
}

/// What the first cluster of a file says.
#[derive(Debug)]
pub struct FirstCluster {
    pub header: Header,
    pub extensions: Vec<Extension>,
    /// The backing file's name as it is stored.
    pub backing_name: Option<Vec<u8>>,
}

impl Extension {
    /// The specification's name of it.
    pub fn name(&self) -> &'static str {
        match self.kind {
            EXTENSION_BACKING_FORMAT => "backing file format",
            0x6803_F857 => "feature names",
            0x2385_2875 => "bitmaps",
            0x0537_BE77 => "full disk encryption",
            0x4441_5441 => "external data file",
            _ => "unknown",
        }
    }
}

impl FirstCluster {
    /// Reads and checks the first cluster of a file of `file_length` bytes, whose contents this program must know how to
    /// read.
    pub fn read(path: &Path, file: &File, file_length: u64) -> Result<Self, ReadError> {
        let first = Self::read_any(path, file, file_length)?;
        check_features(&first.header)
            .map_err(|problem| ReadError::Unsupported { path: path.display().to_string(), problem })?;
        Ok(first)
    }

    /// The same, whatever features the file has.
    pub fn read_any(path: &Path, file: &File, file_length: u64) -> Result<Self, ReadError> {
        let damaged = |problem: String| ReadError::Header { path: path.display().to_string(), problem };
        let io = |source| ReadError::Io { action: "read", path: path.display().to_string(), source };
        let mut header = Header::new_zeroed();
        let size = index(file_length).min(size_of::<Header>());
        if size < VERSION_2_LENGTH {
            return Err(damaged(format!("the file has only {file_length} bytes")));
        }
        file.read_exact_at(&mut header.as_mut_bytes()[..size], 0).map_err(io)?;
        normalize(&mut header, size).map_err(damaged)?;
        check(&header, file_length).map_err(damaged)?;

        // At most 2 MiB: the cluster size has been checked.
        let mut cluster = vec![0; index((1 << header.cluster_bits.get()).min(file_length))];
        file.read_exact_at(&mut cluster, 0).map_err(io)?;
        let backing_name = backing_name(&header, &cluster).map_err(damaged)?;
        let extensions = extensions(&header, &cluster).map_err(damaged)?;
        Ok(Self { header, extensions, backing_name })
    }

    /// Refuses a file whose data are in another file, of any name.
    pub fn check_data_file(&self, path: &Path) -> Result<(), ReadError> {
        if self.header.incompatible_features.get() & INCOMPATIBLE_EXTERNAL_DATA == 0 {
            return Ok(());
        }
        let problem = DATA_FILE.to_owned();
        Err(ReadError::Unsupported { path: path.display().to_string(), problem })
    }

    /// The backing file's format, if it is named.
    fn backing_format(&self) -> Option<&[u8]> {
        let mut found = self.extensions.iter().filter(|extension| extension.kind == EXTENSION_BACKING_FORMAT);
        found.next().map(|extension| extension.data.as_slice())
    }

    /// The backing file of the image at `path`, seen from here, and its format.
    pub fn backing(&self, path: &Path) -> Result<Option<(PathBuf, Option<Format>)>, ReadError> {
        let Some(name) = &self.backing_name else { return Ok(None) };
        let unsupported =
            |problem: String| Err(ReadError::Unsupported { path: path.display().to_string(), problem });
        let format = match self.backing_format() {
            None => None,
            Some(b"raw") => Some(Format::Raw),
            Some(b"qcow2") => Some(Format::Qcow2),
            Some(other) => {
                return unsupported(format!(
                    "has a backing file of the format `{}`, which is not read; make a plain image of it with `qemu-img \
                     convert -O qcow2`",
                    shown(other)
                ));
            }
        };
        let name = name.strip_prefix(b"file:").unwrap_or(name);
        // QEMU takes what stands before a colon and a slash-free start for a protocol.
        let colon = name.iter().position(|&byte| byte == b':');
        if colon.is_some_and(|colon| !name[..colon].contains(&b'/')) {
            return unsupported(format!(
                "has the backing file `{}`, which is no plain file name; make a plain image of it with \
                 `qemu-img convert`",
                shown(name)
            ));
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        Ok(Some((directory.join(std::ffi::OsStr::from_bytes(name)), format)))
    }
}

/// Gives fields that a version or length of the header lacks the values that they stand for.
fn normalize(header: &mut Header, there: usize) -> Result<(), String> {
    if header.magic != crate::container::qcow2::MAGIC {
        return Err("it does not begin with `QFI\\xfb`".to_owned());
    }
    let known = match header.version.get() {
        2 => {
            header.refcount_order = 4.into();
            VERSION_2_LENGTH
        }
        3 => {
            let claimed = index(header.header_length.get().into());
            if claimed < VERSION_3_LENGTH || there < VERSION_3_LENGTH {
                return Err(format!("a header of version 3 has {VERSION_3_LENGTH} bytes, not {claimed}"));
            }
            claimed.min(there)
        }
        other => return Err(format!("it has version {other}; this program knows 2 and 3")),
    };
    if known == VERSION_2_LENGTH {
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
    if u64::from(header.header_length.get()) > cluster {
        return Err("it is longer than a cluster".to_owned());
    }
    let entries = u64::from(header.l1_size.get());
    if entries * 8 > L1_MAX {
        return Err(format!("its L1 table has {entries} entries, more than QEMU takes"));
    }
    let offset = header.l1_table_offset.get();
    if !offset.is_multiple_of(cluster) {
        return Err(format!("its L1 table at {offset:#x} does not begin at a cluster"));
    }
    if offset.checked_add(entries * 8).is_none_or(|end| end > file_length) {
        return Err(format!("its L1 table at {offset:#x} goes beyond the end of the file"));
    }
    let size = header.size.get();
    let needed = size.div_ceil(cluster).div_ceil(cluster / 8);
    if needed > entries {
        return Err(format!("a disk of {size} bytes needs {needed} L1 entries; there are {entries}"));
    }
    Ok(())
}

fn check_features(header: &Header) -> Result<(), String> {
    let features = header.incompatible_features.get();
    let convert = "make a plain image of it with `qemu-img convert -O qcow2`";
    if header.crypt_method.get() != 0 {
        return Err(format!("is encrypted; {convert}"));
    }
    if features & INCOMPATIBLE_EXTENDED_L2 != 0 {
        return Err(format!(
            "has extended L2 entries (subclusters), which this program does not read; {convert}"
        ));
    }
    if features & INCOMPATIBLE_EXTERNAL_DATA != 0 {
        return Err(format!("{DATA_FILE}; {convert}"));
    }
    if features & INCOMPATIBLE_CORRUPT != 0 {
        return Err("is marked as corrupt; repair it with `qemu-img check -r all`".to_owned());
    }
    if features & !INCOMPATIBLE_KNOWN != 0 {
        return Err(format!("has unknown incompatible features ({features:#x}); {convert}"));
    }
    let compression = header.compression_type;
    if compression > 1 || (compression != 0) != (features & INCOMPATIBLE_COMPRESSION != 0) {
        return Err(format!("has the unknown compression type {compression}; {convert}"));
    }
    Ok(())
}

fn backing_name(header: &Header, cluster: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let (offset, size) = (header.backing_file_offset.get(), header.backing_file_size.get());
    if offset == 0 || size == 0 {
        return Ok(None);
    }
    if size > BACKING_NAME_MAX {
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
