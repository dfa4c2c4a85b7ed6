//! The hash of a NAR, in every form that Nix and its tools write it.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, BitOrder, Encoding, HEXLOWER_PERMISSIVE, Specification};

use crate::text::TextError;

/// The length of a SHA-256 digest in bytes.
const SHA256_BYTES: usize = 32;
/// The digits of Nix's base-32 (the Nix manual, "Store path"), which leaves out e, o, t and u.
const NIX_BASE32_DIGITS: &str = "0123456789abcdfghijklmnpqrsvwxyz";

/// The hash and size of a NAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NarInfo {
    /// SHA-256 of the NAR.
    pub hash: NarHash,
    /// Its length in bytes.
    pub size: u64,
}

/// The SHA-256 of a NAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NarHash(pub [u8; SHA256_BYTES]);

impl NarHash {
    /// Reads a hash; none for an empty line.
    pub(super) fn parse_optional(text: &str) -> Result<Option<Self>, TextError> {
        if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
    }
}

impl FromStr for NarHash {
    type Err = TextError;

    /// Reads any of the forms that Nix and its tools write.
    fn from_str(text: &str) -> Result<Self, TextError> {
        let decoded = match text.strip_prefix("sha256-") {
            Some(base64) => BASE64.decode(base64.as_bytes()).ok(),
            None => decode_hex_or_base32(text.strip_prefix("sha256:").unwrap_or(text)),
        };
        let bytes = decoded.and_then(|bytes| <[u8; SHA256_BYTES]>::try_from(bytes).ok());
        let expected = "a SHA-256 hash: write 64 hexadecimal or 52 base-32 digits, with or without `sha256:`, or \
                        `sha256-` and base 64";
        bytes.map(Self).ok_or_else(|| TextError::new(text, expected))
    }
}

fn decode_hex_or_base32(digits: &str) -> Option<Vec<u8>> {
    if digits.len() == 2 * SHA256_BYTES {
        return HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
    }
    // Nix writes the most significant digit first, the encoding has it last.
    let reversed: Vec<u8> = digits.bytes().rev().collect();
    nix_base32()?.decode(&reversed).ok()
}

fn nix_base32() -> Option<Encoding> {
    let mut specification = Specification::new();
    specification.symbols.push_str(NIX_BASE32_DIGITS);
    specification.bit_order = BitOrder::LeastSignificantFirst;
    specification.encoding().ok()
}

impl fmt::Display for NarHash {
    /// As `nix-store --query --hash` prints it: `sha256:` and 52 base-32 digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = nix_base32().ok_or(fmt::Error)?.encode(&self.0);
        f.write_str("sha256:")?;
        digits.chars().rev().try_for_each(|digit| write!(f, "{digit}"))
    }
}
