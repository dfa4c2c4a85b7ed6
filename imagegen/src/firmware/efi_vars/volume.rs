//! The frame around the variables: firmware volume header, block map, variable store header.

use std::ops::Range;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::EfiVarsError;
use crate::guid::Guid;
use crate::units::{index, length};

/// `EFI_SYSTEM_NV_DATA_FV_GUID`: a firmware volume of variables.
pub(super) const SYSTEM_NV_DATA_FV: Guid = Guid::from_u128(0xfff1_2b8d_7696_4c8b_a985_2747_075b_4f50);
/// `EFI_VARIABLE_GUID`: a store of `VARIABLE_HEADER` records.
const VARIABLE: Guid = Guid::from_u128(0xddcf_3616_3275_4164_98b6_fe85_707f_fe7d);
/// `EFI_AUTHENTICATED_VARIABLE_GUID`: a store of `AUTHENTICATED_VARIABLE_HEADER` records.
const AUTHENTICATED_VARIABLE: Guid = Guid::from_u128(0xaaf3_2c78_947b_439a_a180_2e14_4ec3_7792);

pub(super) const FVH_SIGNATURE: [u8; 4] = *b"_FVH";
const FVH_REVISION: u8 = 2;
const VARIABLE_STORE_FORMATTED: u8 = 0x5a;
const VARIABLE_STORE_HEALTHY: u8 = 0xfe;
/// What flash holds where nothing was written since it was erased.
pub(super) const ERASED: u8 = 0xff;

/// `EFI_FIRMWARE_VOLUME_HEADER` without its block map (Platform Initialization 1.7, volume 3, section 3.2.1).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct FirmwareVolumeHeader {
    zero_vector: [u8; 16],
    pub file_system_guid: [u8; 16],
    /// Length of the volume in bytes, headers included.
    pub fv_length: U64,
    pub signature: [u8; 4],
    attributes: U32,
    /// Length of this header in bytes, block map included.
    header_length: U16,
    /// Makes the 16-bit words of the header and block map add up to zero.
    checksum: U16,
    ext_header_offset: U16,
    reserved: u8,
    revision: u8,
}

/// `EFI_FV_BLOCK_MAP_ENTRY` (same section): a run of flash blocks of one length. Zeros end the map.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BlockMapEntry {
    num_blocks: U32,
    length: U32,
}

/// `VARIABLE_STORE_HEADER` (edk2, `MdeModulePkg/Include/Guid/VariableFormat.h`).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct VariableStoreHeader {
    signature: [u8; 16],
    /// Length of the store in bytes, this header included.
    size: U32,
    format: u8,
    state: u8,
    reserved: U16,
    reserved1: U32,
}

/// `EFI_FAULT_TOLERANT_WORKING_BLOCK_HEADER` (edk2, `MdeModulePkg/Include/Guid/SystemNvDataGuid.h`).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WorkingBlockHeader {
    signature: [u8; 16],
    /// CRC-32 of this header with this field and the next one erased.
    crc: U32,
    /// One bit each, cleared to set: the block is valid, the block is invalid.
    state: u8,
    reserved: [u8; 3],
    /// Length of the queue after this header, in bytes.
    write_queue_size: U64,
}

/// How a store keeps its variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Without authentication data, as builds without Secure Boot once had it.
    Plain,
    /// With count, timestamp and key index: every OVMF and AAVMF of the last years.
    Authenticated,
}

impl Format {
    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Authenticated => "authenticated",
        }
    }
}

/// Where an image keeps its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub format: Format,
    /// The bytes of the image after the store's header, up to its end.
    pub variables: Range<usize>,
}

impl Layout {
    /// Reads and checks the headers of an image.
    pub fn read(image: &[u8]) -> Result<Self, EfiVarsError> {
        let volume = check_volume(image)?;
        let (store, _) = VariableStoreHeader::ref_from_prefix(image.get(volume.header..).unwrap_or_default())
            .map_err(|_| truncated("variable store header", volume.header + STORE_HEADER, image))?;
        let damaged = |problem| {
            let offset = volume.header;
            EfiVarsError::Damaged(format!(
                "the variable store header at offset {offset:#x} is damaged: {problem}"
            ))
        };

        let format = match Guid::from_mixed_endian(store.signature) {
            VARIABLE => Format::Plain,
            AUTHENTICATED_VARIABLE => Format::Authenticated,
            other => return Err(damaged(format!("its signature {other} is unknown"))),
        };
        if store.format != VARIABLE_STORE_FORMATTED || store.state != VARIABLE_STORE_HEALTHY {
            let (format, state) = (store.format, store.state);
            return Err(damaged(format!(
                "it is not marked formatted and healthy (format {format:#04x}, state {state:#04x})"
            )));
        }
        let size = index(u64::from(store.size.get()));
        let end = volume.header + size;
        if size < STORE_HEADER || end > volume.length {
            let volume = volume.length;
            return Err(damaged(format!("its size {size:#x} does not fit the volume's {volume:#x} bytes")));
        }
        // The firmware rewrites the store by whole blocks.
        if !end.is_multiple_of(volume.block) {
            return Err(damaged(format!("its end {end:#x} is not the end of a flash block")));
        }
        Ok(Self { format, variables: volume.header + STORE_HEADER..end })
    }
}

const STORE_HEADER: usize = size_of::<VariableStoreHeader>();

/// What the volume's header says, in bytes.
struct Volume {
    /// Length of the header, block map included: where the store's header begins.
    header: usize,
    length: usize,
    /// Length of the first flash block.
    block: usize,
}

fn check_volume(image: &[u8]) -> Result<Volume, EfiVarsError> {
    let (volume, rest) = FirmwareVolumeHeader::ref_from_prefix(image)
        .map_err(|_| truncated("firmware volume header", size_of::<FirmwareVolumeHeader>(), image))?;
    if volume.signature != FVH_SIGNATURE {
        return Err(if image.starts_with(b"QFI\xfb") {
            let advice = "this is a qcow2 image; make a raw one of it with `qemu-img convert -O raw`";
            EfiVarsError::Unsupported(advice.to_owned())
        } else if is_filled(volume.as_bytes(), 0) || is_filled(volume.as_bytes(), ERASED) {
            EfiVarsError::Blank
        } else {
            EfiVarsError::NotAStore("the firmware volume signature `_FVH` is missing")
        });
    }
    if Guid::from_mixed_endian(volume.file_system_guid) != SYSTEM_NV_DATA_FV {
        return Err(EfiVarsError::NotAStore(
            "the firmware volume holds something other than variables; a firmware's code has a file of variables beside it, as \
             OVMF_CODE_4M.fd has OVMF_VARS_4M.fd",
        ));
    }

    let damaged = |problem: String| {
        Err(EfiVarsError::Damaged(format!("the firmware volume header is damaged: {problem}")))
    };
    let header_length = usize::from(volume.header_length.get());
    let header = image
        .get(..header_length)
        .ok_or_else(|| truncated("firmware volume header", header_length, image))?;
    let sum = words_sum(header);
    if sum != 0 {
        return damaged(format!("its 16-bit words add up to {sum:#06x}, not to zero"));
    }
    if volume.revision != FVH_REVISION {
        return damaged(format!("its revision is {}, not 2", volume.revision));
    }

    let map_length = header_length.checked_sub(size_of::<FirmwareVolumeHeader>());
    let map = map_length.and_then(|map_length| rest.get(..map_length));
    let map = map.and_then(|map| <[BlockMapEntry]>::ref_from_bytes(map).ok());
    let Some([blocks @ .., end]) = map else {
        return damaged("its length does not end a block map".to_owned());
    };
    let is_end = |entry: &BlockMapEntry| entry.num_blocks.get() == 0 || entry.length.get() == 0;
    let (Some(first), true, false) = (blocks.first(), is_end(end), blocks.iter().any(is_end)) else {
        return damaged("its block map is malformed".to_owned());
    };
    let block = index(u64::from(first.length.get()));
    // AAVMF's map counts the whole flash bank, of which the volume is the front.
    let mapped = blocks.iter().fold(0_u64, |sum, entry| {
        sum.saturating_add(u64::from(entry.num_blocks.get()) * u64::from(entry.length.get()))
    });
    let fv_length = volume.fv_length.get();
    if mapped < fv_length {
        return damaged(format!("its block map has {mapped:#x} bytes, it has {fv_length:#x}"));
    }
    if fv_length > length(image.len()) {
        return Err(truncated("firmware volume", index(fv_length), image));
    }
    Ok(Volume { header: header_length, length: index(fv_length), block })
}

/// The sum of the 16-bit words; a last odd byte, which no header has, is left out.
fn words_sum(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    words.iter().fold(0, |sum, word| sum.wrapping_add(u16::from_le_bytes(*word)))
}

fn truncated(part: &'static str, end: usize, image: &[u8]) -> EfiVarsError {
    let length = image.len();
    EfiVarsError::Damaged(format!(
        "the image is cut short: the {part} goes up to byte {end:#x}, the image only to {length:#x}"
    ))
}

/// Whether every byte is `fill`, compared a page at a time.
fn is_filled(bytes: &[u8], fill: u8) -> bool {
    let page = [fill; 4096];
    bytes.chunks(page.len()).all(|chunk| page.starts_with(chunk))
}

/// QEMU's flash bank for variables on ARM's `virt` machine, and its blocks, in bytes.
const VIRT_BANK: u32 = 64 << 20;
const VIRT_BLOCK: u32 = 256 << 10;

/// Lays an empty store on a blank image, as AAVMF does when it first starts from one.
///
/// Some distributions ship AAVMF's template as 64 MiB of zeros. The shape: three blocks of 256 KiB for variables,
/// working area and spare area, then what the image had. Anything but a blank image of 64 MiB is an error.
pub fn format_blank(image: &[u8]) -> Result<Vec<u8>, EfiVarsError> {
    if !is_filled(image, 0) && !is_filled(image, ERASED) {
        return Err(EfiVarsError::NotAStore("nor is the image blank, so as to be given one"));
    }
    if length(image.len()) != u64::from(VIRT_BANK) {
        return Err(EfiVarsError::Unsupported(format!(
            "a blank image of {} bytes fits no known firmware; only AAVMF's, of {VIRT_BANK} bytes, does",
            image.len()
        )));
    }
    let block = index(VIRT_BLOCK.into());
    let mut formatted = Vec::with_capacity(image.len());
    formatted.extend_from_slice(VirtHeaders::new().as_bytes());
    formatted.resize(block, ERASED);
    formatted.extend_from_slice(VIRT_WORKING_BLOCK.as_bytes());
    formatted.resize(3 * block, ERASED);
    formatted.extend_from_slice(image.get(3 * block..).unwrap_or_default());
    Ok(formatted)
}

/// What stands at the front of AAVMF's image.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct VirtHeaders {
    volume: FirmwareVolumeHeader,
    block_map: [BlockMapEntry; 2],
    store: VariableStoreHeader,
}

impl VirtHeaders {
    /// The values that edk2's NOR flash driver writes.
    fn new() -> Self {
        const VOLUME_HEADER: u16 = 72;
        const {
            assert!(size_of::<FirmwareVolumeHeader>() + size_of::<[BlockMapEntry; 2]>() == 72);
        }
        let mut headers = Self {
            volume: FirmwareVolumeHeader {
                zero_vector: [0; 16],
                file_system_guid: SYSTEM_NV_DATA_FV.mixed_endian(),
                fv_length: U64::new(3 * u64::from(VIRT_BLOCK)),
                signature: FVH_SIGNATURE,
                // Reading and writing are possible and on, a lock is possible, memory mapped, erased to ones.
                attributes: U32::new(0x0e36),
                header_length: U16::new(VOLUME_HEADER),
                checksum: U16::ZERO,
                ext_header_offset: U16::ZERO,
                reserved: 0,
                revision: FVH_REVISION,
            },
            block_map: [
                BlockMapEntry { num_blocks: U32::new(VIRT_BANK / VIRT_BLOCK), length: U32::new(VIRT_BLOCK) },
                BlockMapEntry { num_blocks: U32::ZERO, length: U32::ZERO },
            ],
            store: VariableStoreHeader {
                signature: AUTHENTICATED_VARIABLE.mixed_endian(),
                size: U32::new(VIRT_BLOCK - u32::from(VOLUME_HEADER)),
                format: VARIABLE_STORE_FORMATTED,
                state: VARIABLE_STORE_HEALTHY,
                reserved: U16::ZERO,
                reserved1: U32::ZERO,
            },
        };
        let volume = words_sum(headers.volume.as_bytes());
        let sum = volume.wrapping_add(words_sum(headers.block_map.as_bytes()));
        headers.volume.checksum = U16::new(sum.wrapping_neg());
        headers
    }
}

/// The fault-tolerant write driver's header before its first write, for a working area of one block.
const VIRT_WORKING_BLOCK: WorkingBlockHeader = WorkingBlockHeader {
    signature: Guid::from_u128(0x9e58_292b_7c68_497d_a0ce_6500_fd9f_1b95).mixed_endian(),
    crc: U32::new(0x86c6_e75b),
    state: 0xfe,
    reserved: [ERASED; 3],
    write_queue_size: U64::new(0x3_ffe0),
};

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32 as zlib has it, bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        })
    }

    #[test]
    fn the_working_block_has_the_checksum_of_its_other_fields() {
        let size = u64::from(VIRT_BLOCK) - length(size_of::<WorkingBlockHeader>());
        assert_eq!(VIRT_WORKING_BLOCK.write_queue_size.get(), size);
        let erased = WorkingBlockHeader { crc: U32::new(u32::MAX), state: ERASED, ..VIRT_WORKING_BLOCK };
        assert_eq!(crc32(erased.as_bytes()), VIRT_WORKING_BLOCK.crc.get());
    }

    #[test]
    fn a_blank_image_is_given_a_store_that_reads_as_empty() {
        for fill in [0, ERASED] {
            let blank = vec![fill; index(VIRT_BANK.into())];
            assert!(matches!(Layout::read(&blank), Err(EfiVarsError::Blank)));
            let formatted = format_blank(&blank).unwrap();
            assert_eq!(formatted.len(), blank.len());
            let layout = Layout::read(&formatted).unwrap();
            assert_eq!(layout, Layout { format: Format::Authenticated, variables: 0x64..0x4_0000 });
            assert!(is_filled(&formatted[layout.variables], ERASED));
            assert!(is_filled(&formatted[0xc_0000..], fill));
            assert!(matches!(format_blank(&formatted), Err(EfiVarsError::NotAStore(_))));
        }
        assert!(matches!(format_blank(&[0; 4096]), Err(EfiVarsError::Unsupported(_))));
    }
}
