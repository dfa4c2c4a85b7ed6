//! Text as firmware keeps it: UTF-16 that may be malformed.

use std::fmt::{self, Write};

use zerocopy::IntoBytes;
use zerocopy::little_endian::U16;

use crate::error_kind::ErrorKind;

/// UTF-16 text without NUL: a variable's name, a boot entry's title, a file path.
///
/// It may hold unpaired surrogates, since firmware takes any 16-bit units. [`Display`](fmt::Display) shows those,
/// and control characters, as `\u{…}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EfiText(Vec<u16>);

/// Text that firmware could not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EfiTextError {
    /// A NUL would end the text there.
    #[error("a NUL character stands before the end")]
    Nul,
    /// The bytes run out before the NUL.
    #[error("it does not end with a NUL character")]
    Unterminated,
    /// Nothing stands before the NUL, where something has to.
    #[error("it is empty")]
    Empty,
}

impl EfiTextError {
    /// Always [`ErrorKind::InvalidInput`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

impl EfiText {
    /// Text of these 16-bit units, given without a terminating NUL.
    pub fn from_units(units: Vec<u16>) -> Result<Self, EfiTextError> {
        if units.contains(&0) { Err(EfiTextError::Nul) } else { Ok(Self(units)) }
    }

    /// The part of `text` before its first NUL, all of it as a rule.
    pub fn until_nul(text: &str) -> Self {
        Self(text.encode_utf16().take_while(|unit| *unit != 0).collect())
    }

    /// Reads NUL-terminated text that takes up all of `bytes`.
    pub(super) fn from_terminated(bytes: &[u8]) -> Result<Self, EfiTextError> {
        match Self::split_terminated(bytes)? {
            (text, []) => Ok(text),
            _ => Err(EfiTextError::Nul),
        }
    }

    /// Reads NUL-terminated text from the front of `bytes`, and gives what follows it.
    pub(super) fn split_terminated(bytes: &[u8]) -> Result<(Self, &[u8]), EfiTextError> {
        let mut units = Vec::new();
        let mut rest = bytes;
        while let Some((unit, after)) = rest.split_first_chunk::<2>() {
            rest = after;
            match u16::from_le_bytes(*unit) {
                0 => return Ok((Self(units), rest)),
                unit => units.push(unit),
            }
        }
        Err(EfiTextError::Unterminated)
    }

    /// The bytes with the terminating NUL, little-endian.
    pub(super) fn terminated(&self) -> Vec<u8> {
        let units: Vec<U16> = self.0.iter().copied().chain([0]).map(U16::new).collect();
        units.as_bytes().to_vec()
    }

    /// The 16-bit units, without a terminating NUL.
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is `text`.
    pub fn is(&self, text: &str) -> bool {
        self.0.iter().copied().eq(text.encode_utf16())
    }
}

impl TryFrom<&str> for EfiText {
    type Error = EfiTextError;

    fn try_from(text: &str) -> Result<Self, EfiTextError> {
        Self::from_units(text.encode_utf16().collect())
    }
}

impl std::str::FromStr for EfiText {
    type Err = EfiTextError;

    fn from_str(text: &str) -> Result<Self, EfiTextError> {
        Self::try_from(text)
    }
}

impl fmt::Display for EfiText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = String::new();
        for c in decoded(self.0.iter().copied()).chars() {
            if c.is_control() { shown.extend(c.escape_unicode()) } else { shown.push(c) }
        }
        f.pad(&shown)
    }
}

/// UTF-16 as text, with unpaired surrogates as `\u{…}`.
pub(super) fn decoded(units: impl IntoIterator<Item = u16>) -> String {
    let mut out = String::new();
    for c in char::decode_utf16(units) {
        match c {
            Ok(c) => out.push(c),
            // Writing to a string cannot fail.
            Err(unpaired) => _ = write!(out, "\\u{{{:x}}}", unpaired.unpaired_surrogate()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_up_to_its_nul() {
        let bytes = b"B\0o\0\0\0rest";
        let (text, rest) = EfiText::split_terminated(bytes).unwrap();
        assert!(text.is("Bo"));
        assert_eq!(rest, b"rest");
        assert_eq!(text.terminated(), b"B\0o\0\0\0");
        assert_eq!(EfiText::from_terminated(bytes), Err(EfiTextError::Nul));
        assert_eq!(EfiText::from_terminated(b"B\0o\0\0"), Err(EfiTextError::Unterminated));
        assert_eq!(EfiText::try_from("a\0b"), Err(EfiTextError::Nul));
    }

    #[test]
    fn what_a_terminal_should_not_get_is_escaped() {
        let text = EfiText::from_units(vec![0x41, 0xd800, 0x1b, 0xdc00, 0xd83d, 0xde00]).unwrap();
        assert_eq!(text.to_string(), "A\\u{d800}\\u{1b}\\u{dc00}😀");
        assert_eq!(format!("{:4}|", EfiText::try_from("ab").unwrap()), "ab  |");
    }
}
