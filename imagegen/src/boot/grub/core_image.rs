//! The core image (`core.img`): what must be read before GRUB can read a file system.
//!
//! Its first sector, `diskboot.img`, loads the sectors after it: `lzma_decompress.img`, then a compressed stream,
//! which becomes GRUB's kernel and behind it the module area. The formats are those of `grub-mkimage` 2.06, found
//! by taking its images apart; the tests compare with it.

use std::path::Path;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{GrubDirectory, GrubError, kernel_image, lzma};
use crate::units::{Lba, SECTOR, index, length};

/// `diskboot.img` loads the image to 0x8000, and below 0x80000 no BIOS has anything of its own.
/// `grub-mkimage` draws the same line.
const SECTORS_MAX: u64 = (0x8_0000 - 0x8000) / SECTOR;
/// The real-mode segment of 0x8200: where the second sector goes, behind the first.
const SECOND_SECTOR_SEGMENT: u16 = 0x820;

/// The first sector of the core image: `diskboot.img`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct DiskBoot {
    code: [u8; 500],
    /// Entries grow downwards from the end of the sector; one is enough where the image lies in one run.
    block_list: BlockListEntry,
}

/// A run of sectors to load.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BlockListEntry {
    start: U64,
    len: U16,
    segment: U16,
}

/// The beginning of `lzma_decompress.img`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct DecompressorHeader {
    jump: [u8; 8],
    compressed_size: U32,
    uncompressed_size: U32,
    /// The bytes of error-correcting codes behind the image; `grub-install` adds them where sectors are left, and
    /// a disk image has no bad sectors.
    reed_solomon_redundancy: U32,
}

/// The beginning of the module area.
#[derive(Debug, Clone, Copy, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ModuleInfo {
    magic: [u8; 4],
    /// The offset of the first record from here.
    offset: U32,
    /// The whole area in bytes, this header included.
    size: U32,
}

const MODULE_MAGIC: [u8; 4] = *b"mimg";

/// The beginning of a record of the module area.
#[derive(Debug, Clone, Copy, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ModuleHeader {
    record_type: U32,
    /// This header and the body, filled up to a multiple of [`RECORD_ALIGNMENT`].
    size: U32,
}

const RECORD_ALIGNMENT: usize = 4;

/// The type of a record: a module file as it is.
const MODULE: u32 = 0;
/// The type of a record: a script that runs before the menu is read; NUL-terminated.
const CONFIG: u32 = 2;
/// The type of a record: where GRUB's files are; NUL-terminated.
const PREFIX: u32 = 3;

/// A core image without the block list, which says where on the disk it lies.
#[derive(Debug, Clone)]
pub struct CoreImage {
    disk_boot: DiskBoot,
    /// From the second sector on, in whole sectors.
    rest: Vec<u8>,
}

/// Builds the core image of `modules` and all that they need, which looks for GRUB's files under `prefix`, as in
/// `(hd0,gpt2)/grub`, and runs the script `config` first, if there is one.
pub fn plan_core(
    directory: &GrubDirectory,
    modules: &[&str],
    prefix: &str,
    config: Option<&[u8]>,
) -> Result<CoreImage, GrubError> {
    let kernel = kernel_image::flatten(&directory.file("kernel.img"), &directory.read("kernel.img")?)?;
    let modules = module_area(directory, modules, prefix, config)?;
    let decompressor = directory.read("lzma_decompress.img")?;
    let decompressor_file = directory.file("lzma_decompress.img");
    let disk_boot = parse_disk_boot(&directory.file("diskboot.img"), &directory.read("diskboot.img")?)?;

    let uncompressed = [kernel, modules].concat();
    let compressed = lzma::compress(&uncompressed)?;
    let mut rest = with_sizes(&decompressor_file, decompressor, &compressed, &uncompressed)?;
    rest.extend_from_slice(&compressed);
    rest.resize(rest.len().next_multiple_of(index(SECTOR)), 0);

    let core = CoreImage { disk_boot, rest };
    if core.sectors() > SECTORS_MAX {
        return Err(core.too_large());
    }
    Ok(core)
}

impl CoreImage {
    /// How many sectors it has.
    pub fn sectors(&self) -> u64 {
        1 + length(self.rest.len()) / SECTOR
    }

    /// The bytes of the image for the disk whose sector `start` is its first.
    pub fn at(&self, start: Lba) -> Result<Vec<u8>, GrubError> {
        let second = start.0.checked_add(1).ok_or_else(|| {
            GrubError::Invalid(format!("the BIOS boot partition cannot start at sector {}", start.0))
        })?;
        // `plan_core` lets no more than `SECTORS_MAX` pass, which are far fewer than 2^16.
        let len = u16::try_from(self.sectors() - 1).map_err(|_| self.too_large())?;
        let block_list =
            BlockListEntry { start: second.into(), len: len.into(), segment: SECOND_SECTOR_SEGMENT.into() };
        let first = DiskBoot { block_list, ..self.disk_boot };
        Ok([first.as_bytes(), &self.rest].concat())
    }

    fn too_large(&self) -> GrubError {
        GrubError::TooLarge(format!(
            "the core image of GRUB has {} sectors, and only {SECTORS_MAX} fit into the memory that a BIOS \
             leaves free below 512 KiB; embed fewer modules",
            self.sectors()
        ))
    }
}

/// The module area: its header, the modules, the script, the prefix.
fn module_area(
    directory: &GrubDirectory,
    modules: &[&str],
    prefix: &str,
    config: Option<&[u8]>,
) -> Result<Vec<u8>, GrubError> {
    if prefix.contains('\0') {
        return Err(GrubError::Invalid(format!(
            "the GRUB prefix {prefix:?} holds a NUL character, which would cut it short"
        )));
    }
    let mut records = Vec::new();
    for module in directory.closure(modules)? {
        let bytes = directory.read_module(&module)?;
        push_record(&mut records, MODULE, &bytes, &format!("the module `{module}`"))?;
    }
    if let Some(script) = config {
        push_record(&mut records, CONFIG, &[script, b"\0"].concat(), "the embedded script")?;
    }
    push_record(&mut records, PREFIX, &[prefix.as_bytes(), b"\0"].concat(), "the prefix")?;

    let header_size = size_of::<ModuleInfo>();
    let header = ModuleInfo {
        magic: MODULE_MAGIC,
        offset: length_32(header_size, "the header")?,
        size: length_32(header_size + records.len(), "the module area")?,
    };
    Ok([header.as_bytes(), &records].concat())
}

fn push_record(area: &mut Vec<u8>, kind: u32, body: &[u8], what: &str) -> Result<(), GrubError> {
    let padded = body.len().next_multiple_of(RECORD_ALIGNMENT);
    let size = length_32(size_of::<ModuleHeader>() + padded, what)?;
    area.extend_from_slice(ModuleHeader { record_type: kind.into(), size }.as_bytes());
    area.extend_from_slice(body);
    area.resize(area.len() + padded - body.len(), 0);
    Ok(())
}

fn parse_disk_boot(file: &Path, bytes: &[u8]) -> Result<DiskBoot, GrubError> {
    let problem = |problem: &str| GrubError::not_an_image(file, problem);
    let disk_boot = DiskBoot::read_from_bytes(bytes).map_err(|_| problem("it must have 512 bytes"))?;
    if disk_boot.block_list.segment.get() != SECOND_SECTOR_SEGMENT {
        return Err(problem("its block list does not load to segment 0x820"));
    }
    Ok(disk_boot)
}

/// The decompressor, told how much it will find and how much it will make of that.
fn with_sizes(
    file: &Path,
    mut decompressor: Vec<u8>,
    compressed: &[u8],
    uncompressed: &[u8],
) -> Result<Vec<u8>, GrubError> {
    let (header, _) = DecompressorHeader::mut_from_prefix(&mut decompressor)
        .map_err(|_| GrubError::not_an_image(file, "it is too short for its header"))?;
    header.compressed_size = length_32(compressed.len(), "the compressed core image")?;
    header.uncompressed_size = length_32(uncompressed.len(), "the core image")?;
    header.reed_solomon_redundancy = 0.into();
    Ok(decompressor)
}

fn length_32(n: usize, what: &str) -> Result<U32, GrubError> {
    let too_large = |_| GrubError::TooLarge(format!("{what} is larger than GRUB's 32-bit lengths allow"));
    u32::try_from(n).map(U32::new).map_err(too_large)
}
