//! The compressed stream of the core image.

use std::io::Write;

use lzma_rust2::{EncodeMode, LzmaOptions, LzmaWriter, MfType};

use super::GrubError;

/// What GRUB's decompressor is built for: a raw LZMA1 stream of lc 3, lp 0, pb 2 with a dictionary of 64 KiB, and
/// no end marker, as the header says where to stop. The rest decides how small the stream gets and how long that
/// takes. The most thorough search takes three times as long for a core image and saves two sectors of it, of 57,
/// where 960 fit (docs/performance.md).
const OPTIONS: LzmaOptions = LzmaOptions {
    dict_size: 64 << 10,
    lc: 3,
    lp: 0,
    pb: 2,
    mode: EncodeMode::Fast,
    nice_len: 128,
    mf: MfType::Hc4,
    // What `nice_len` suggests.
    depth_limit: 0,
    preset_dict: None,
};

/// Compresses for GRUB's decompressor. Same input, same bytes.
pub fn compress(bytes: &[u8]) -> Result<Vec<u8>, GrubError> {
    let mut encoder = LzmaWriter::new_no_header(Vec::new(), &OPTIONS, false).map_err(GrubError::Compress)?;
    encoder.write_all(bytes).map_err(GrubError::Compress)?;
    encoder.finish().map_err(GrubError::Compress)
}
