//! Load options: what `Boot####` variables hold.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::device_path::{DevicePath, DevicePathError};
use super::text::{EfiText, EfiTextError};
use crate::error_kind::ErrorKind;

/// The fixed front of `EFI_LOAD_OPTION` (UEFI 2.10, section 3.1.3).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LoadOptionHeader {
    attributes: U32,
    /// Length of the device paths after the description, in bytes.
    file_path_list_length: U16,
}

/// `EFI_LOAD_OPTION`: a program to load, and the name under which people choose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOption {
    /// [`LoadOption::ACTIVE`] and others.
    pub attributes: u32,
    /// The title in boot menus.
    pub description: EfiText,
    /// The program first; what others mean is up to the firmware.
    pub file_path_list: Vec<DevicePath>,
    /// Given to the program as it is.
    pub optional_data: Vec<u8>,
}

/// Bytes that are no load option, or an option that has no such bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadOptionError {
    /// The bytes run out.
    #[error("the boot entry is cut short after {0} bytes")]
    Truncated(usize),
    /// The title is malformed.
    #[error("the boot entry's title is malformed")]
    Description(#[from] EfiTextError),
    /// One of the paths is malformed.
    #[error("the boot entry's path is malformed")]
    Path(#[from] DevicePathError),
    /// The length of the paths has 16 bits.
    #[error("the boot entry's paths are {0} bytes long; at most 65,535 fit")]
    PathsTooLong(usize),
}

impl LoadOptionError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Path(error) => error.kind(),
            Self::PathsTooLong(_) => ErrorKind::TooLarge,
            Self::Truncated(_) | Self::Description(_) => ErrorKind::InvalidInput,
        }
    }
}

impl LoadOption {
    /// `LOAD_OPTION_ACTIVE`: the firmware tries the entry by itself.
    pub const ACTIVE: u32 = 1;

    /// An active entry for the program at `path`.
    pub fn active(description: &str, path: DevicePath) -> Result<Self, LoadOptionError> {
        Ok(Self {
            attributes: Self::ACTIVE,
            description: EfiText::try_from(description)?,
            file_path_list: vec![path],
            optional_data: Vec::new(),
        })
    }

    /// Reads the value of a `Boot####` variable.
    pub fn decode(data: &[u8]) -> Result<Self, LoadOptionError> {
        let truncated = || LoadOptionError::Truncated(data.len());
        let (header, rest) = LoadOptionHeader::ref_from_prefix(data).map_err(|_| truncated())?;
        let (description, rest) = EfiText::split_terminated(rest)?;
        let (mut paths, optional_data) =
            rest.split_at_checked(usize::from(header.file_path_list_length.get())).ok_or_else(truncated)?;
        let mut file_path_list = Vec::new();
        while !paths.is_empty() {
            let (path, rest) = DevicePath::split_from(paths)?;
            file_path_list.push(path);
            paths = rest;
        }
        Ok(Self {
            attributes: header.attributes.get(),
            description,
            file_path_list,
            optional_data: optional_data.to_vec(),
        })
    }

    /// The value of a `Boot####` variable.
    pub fn encode(&self) -> Result<Vec<u8>, LoadOptionError> {
        let mut paths = Vec::new();
        for path in &self.file_path_list {
            paths.extend(path.to_bytes()?);
        }
        let length = u16::try_from(paths.len()).map_err(|_| LoadOptionError::PathsTooLong(paths.len()))?;
        let header = LoadOptionHeader {
            attributes: U32::new(self.attributes),
            file_path_list_length: U16::new(length),
        };
        Ok([header.as_bytes(), &self.description.terminated(), &paths, &self.optional_data].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::efi_vars::HardDrive;
    use crate::fixed::ESP_GUID;
    use crate::units::Lba;

    /// The entry that OVMF is known to boot, byte by byte.
    const LINUX_BOOT_MANAGER: &[u8] = b"\x01\0\0\0\x74\0\
        L\0i\0n\0u\0x\0 \0B\0o\0o\0t\0 \0M\0a\0n\0a\0g\0e\0r\0\0\0\
        \x04\x01\x2a\0\x02\0\0\0\0\x08\0\0\0\0\0\0\xdf\xd7\x01\0\0\0\0\0\
        \x4f\x69\x0c\x97\xd0\xaf\x99\x4b\xb7\x50\xcd\xb7\xa3\x29\xab\x6f\x02\x02\
        \x04\x04\x46\0\\\0E\0F\0I\0\\\0s\0y\0s\0t\0e\0m\0d\0\
        \\\0s\0y\0s\0t\0e\0m\0d\0-\0b\0o\0o\0t\0x\x006\x004\0.\0e\0f\0i\0\0\0\
        \x7f\xff\x04\0";

    #[test]
    fn the_boot_entry_of_the_boot_disk() {
        let esp = HardDrive::gpt(2, Lba(2048), 120_799, ESP_GUID);
        let path = DevicePath::file_on(esp, "/EFI/systemd/systemd-bootx64.efi").unwrap();
        assert_eq!(
            path.to_string(),
            "HD(2,GPT,970c694f-afd0-4b99-b750-cdb7a329ab6f,0x800,0x1d7df)/\\EFI\\systemd\\systemd-bootx64.efi"
        );
        let option = LoadOption::active("Linux Boot Manager", path).unwrap();
        assert_eq!(option.encode().unwrap(), LINUX_BOOT_MANAGER);
        assert_eq!(LoadOption::decode(LINUX_BOOT_MANAGER).unwrap(), option);
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        for length in 0..LINUX_BOOT_MANAGER.len() {
            assert!(LoadOption::decode(&LINUX_BOOT_MANAGER[..length]).is_err(), "{length}");
        }
        // A node shorter than its own header.
        let path = DevicePath::split_from(b"\x04\x04\x03\0\x7f\xff\x04\0");
        assert_eq!(path, Err(DevicePathError::NodeLength { offset: 0, length: 3 }));
    }

    #[test]
    fn flipped_bytes_are_refused_or_kept() {
        for position in 0..LINUX_BOOT_MANAGER.len() {
            let mut bytes = LINUX_BOOT_MANAGER.to_vec();
            bytes[position] ^= 0xff;
            if let Ok(option) = LoadOption::decode(&bytes) {
                assert_eq!(option.encode().unwrap(), bytes, "{position}");
                let _ = option.file_path_list.iter().map(ToString::to_string).collect::<Vec<_>>();
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let esp = HardDrive::gpt(2, Lba(2048), 120_799, ESP_GUID);
        let long = DevicePath::file_on(esp, &"x".repeat(40_000)).unwrap();
        assert_eq!(long.to_bytes(), Err(DevicePathError::TooLong(80_006)));
        let half = DevicePath::file_on(esp, &"x".repeat(20_000)).unwrap();
        let mut option = LoadOption::active("", half.clone()).unwrap();
        option.file_path_list.push(half);
        assert!(matches!(option.encode(), Err(LoadOptionError::PathsTooLong(_))));
        assert!(matches!(DevicePath::file_on(esp, "a\0b"), Err(DevicePathError::FilePath { .. })));
    }
}
