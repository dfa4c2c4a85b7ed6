//! Device paths: where a boot loader lies, node by node.

use std::fmt;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::node_text;
use super::text::{EfiText, EfiTextError};
use crate::error_kind::ErrorKind;
use crate::guid::Guid;
use crate::units::Lba;

/// Types and sub-types of the nodes that are read here (UEFI 2.10, section 10.3).
mod node_type {
    pub const HARD_DRIVE: (u8, u8) = (0x04, 0x01);
    pub const FILE_PATH: (u8, u8) = (0x04, 0x04);
    pub const END_INSTANCE: (u8, u8) = (0x7f, 0x01);
    pub const END_ENTIRE: (u8, u8) = (0x7f, 0xff);
}

/// `EFI_DEVICE_PATH_PROTOCOL`: the header of every node (UEFI 2.10, section 10.2).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct NodeHeader {
    r#type: u8,
    sub_type: u8,
    /// Length of the node in bytes, this header included.
    length: U16,
}

/// `HARDDRIVE_DEVICE_PATH`: a partition (UEFI 2.10, section 10.3.5.1), without the node's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct HardDrive {
    partition_number: U32,
    partition_start: U64,
    partition_size: U64,
    /// A GPT partition's unique GUID, or an MBR disk's signature.
    signature: [u8; 16],
    /// 1 for MBR, 2 for GPT.
    mbr_type: u8,
    /// 1 for an MBR disk's signature, 2 for a GUID.
    signature_type: u8,
}

const MBR: u8 = 1;
const GPT: u8 = 2;

impl HardDrive {
    /// A GPT partition: its number, counted from 1, first sector, number of sectors, and unique GUID.
    pub fn gpt(number: u32, start: Lba, sectors: u64, guid: Guid) -> Self {
        Self {
            partition_number: U32::new(number),
            partition_start: U64::new(start.0),
            partition_size: U64::new(sectors),
            signature: guid.mixed_endian(),
            mbr_type: GPT,
            signature_type: GPT,
        }
    }

    /// The unique GUID, if this is a GPT partition.
    pub fn guid(&self) -> Option<Guid> {
        (self.signature_type == GPT).then(|| Guid::from_mixed_endian(self.signature))
    }
}

/// One step of a device path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Type and sub-type.
    kind: (u8, u8),
    /// The bytes after the node's header.
    data: Vec<u8>,
}

/// A device path without the node that ends it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DevicePath {
    nodes: Vec<Node>,
}

/// Bytes that are no device path, or a path that has no such bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum DevicePathError {
    /// The bytes run out within a node.
    #[error("the device path is cut short after {0} bytes")]
    Truncated(usize),
    /// A node claims less than its own header.
    #[error("the device path's node at byte {offset} has the impossible length {length}")]
    NodeLength { offset: usize, length: u16 },
    /// A node's length has 16 bits.
    #[error("a device path node of {0} bytes is too long")]
    TooLong(usize),
    /// The path of a file has a character that ends it.
    #[error("`{path}` is no file path")]
    FilePath { path: String, source: EfiTextError },
}

impl DevicePathError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLong(_) => ErrorKind::TooLarge,
            _ => ErrorKind::InvalidInput,
        }
    }
}

impl DevicePath {
    /// The path of a file on a partition, found wherever that partition is. Slashes become backslashes.
    pub fn file_on(partition: HardDrive, file: &str) -> Result<Self, DevicePathError> {
        let bad_path = |source| DevicePathError::FilePath { path: file.to_owned(), source };
        let path = EfiText::try_from(file.replace('/', "\\").as_str()).map_err(bad_path)?;
        let partition = Node { kind: node_type::HARD_DRIVE, data: partition.as_bytes().to_vec() };
        let file = Node { kind: node_type::FILE_PATH, data: path.terminated() };
        Ok(Self { nodes: vec![partition, file] })
    }

    /// The steps, without the end.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Reads the path at the front of `bytes`, and gives what follows its end node.
    pub fn split_from(bytes: &[u8]) -> Result<(Self, &[u8]), DevicePathError> {
        let mut nodes = Vec::new();
        let mut rest = bytes;
        loop {
            let truncated = DevicePathError::Truncated(bytes.len());
            let offset = bytes.len() - rest.len();
            let Ok((header, body)) = NodeHeader::ref_from_prefix(rest) else { return Err(truncated) };
            let length = header.length.get();
            let data_length = usize::from(length).checked_sub(size_of::<NodeHeader>());
            let data_length = data_length.ok_or(DevicePathError::NodeLength { offset, length })?;
            let Some((data, after)) = body.split_at_checked(data_length) else { return Err(truncated) };
            rest = after;
            match (header.r#type, header.sub_type) {
                node_type::END_ENTIRE => return Ok((Self { nodes }, rest)),
                kind => nodes.push(Node { kind, data: data.to_vec() }),
            }
        }
    }

    /// The path's bytes with its end node.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DevicePathError> {
        let end = Node { kind: node_type::END_ENTIRE, data: Vec::new() };
        let mut bytes = Vec::new();
        for Node { kind: (r#type, sub_type), data } in self.nodes.iter().chain([&end]) {
            let length = size_of::<NodeHeader>() + data.len();
            let field = u16::try_from(length).map_err(|_| DevicePathError::TooLong(length))?;
            let header = NodeHeader { r#type: *r#type, sub_type: *sub_type, length: U16::new(field) };
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(data);
        }
        Ok(bytes)
    }
}

impl Node {
    /// The partition, if the node is one.
    pub fn hard_drive(&self) -> Option<HardDrive> {
        HardDrive::read_from_bytes(&self.data).ok().filter(|_| self.kind == node_type::HARD_DRIVE)
    }

    /// The path in a file system, from its root, with backslashes, if the node is one.
    pub fn file_path(&self) -> Option<EfiText> {
        EfiText::from_terminated(&self.data).ok().filter(|_| self.kind == node_type::FILE_PATH)
    }
}

impl fmt::Display for DevicePath {
    /// Writes the text form of UEFI 2.10, section 10.6.1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for node in &self.nodes {
            if node.kind == node_type::END_INSTANCE {
                separator = ",";
                continue;
            }
            write!(f, "{separator}{node}")?;
            separator = "/";
        }
        Ok(())
    }
}

impl fmt::Display for HardDrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, size) = (self.partition_start.get(), self.partition_size.get());
        let number = self.partition_number;
        let signature = match self.signature_type {
            GPT => format!("GPT,{}", Guid::from_mixed_endian(self.signature)),
            MBR => {
                let (disk, _) = U32::read_from_prefix(&self.signature).unwrap_or_default();
                format!("MBR,{disk:#010x}")
            }
            other => format!("{other},0"),
        };
        write!(f, "HD({number},{signature},{start:#x},{size:#x})")
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.hard_drive().map(|drive| drive.to_string());
        let known = known.or_else(|| self.file_path().map(|path| path.to_string()));
        let Self { kind: (r#type, sub_type), data } = self;
        if let Some(text) = known.or_else(|| node_text::text(*r#type, *sub_type, data)) {
            return f.write_str(&text);
        }
        let comma = if data.is_empty() { "" } else { "," };
        write!(f, "Path({type},{sub_type}{comma}{})", data_encoding::HEXLOWER.encode(data))
    }
}
