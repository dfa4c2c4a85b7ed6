//! GUIDs as firmware and partition tables store them, and UUIDs as file systems do.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::text::TextError;

/// A 128-bit identifier, kept in the order in which it is written as text (RFC 9562, section 4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(Uuid);

impl Guid {
    /// Makes one from its sixteen bytes in text order.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The number whose 32 hexadecimal digits are the identifier's, without the dashes.
    pub const fn from_u128(digits: u128) -> Self {
        Self(Uuid::from_u128(digits))
    }

    /// The sixteen bytes in text order, as ext4 stores a UUID.
    pub const fn bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The sixteen bytes as GPT and UEFI store a GUID: the first three groups little-endian (UEFI 2.10, appendix A).
    pub const fn mixed_endian(self) -> [u8; 16] {
        self.0.to_bytes_le()
    }

    /// Reads what [`Guid::mixed_endian`] gives.
    pub const fn from_mixed_endian(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes_le(bytes))
    }
}

impl FromStr for Guid {
    type Err = TextError;

    /// Reads five groups of 8-4-4-4-12 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, TextError> {
        let parsed: Result<Hyphenated, _> = text.parse();
        let expected = "a UUID: write 8-4-4-4-12 hexadecimal digits";
        parsed.map(|guid| Self(guid.into_uuid())).map_err(|_| TextError::new(text, expected))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_disk_order() {
        let esp: Guid = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B".parse().unwrap();
        assert_eq!(esp.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(esp.mixed_endian()[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
        assert_eq!(Guid::from_mixed_endian(esp.mixed_endian()), esp);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "c12a7328",
            "c12a7328f81f11d2ba4b00a0c93ec93b",
            "+12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "{c12a7328-f81f-11d2-ba4b-00a0c93ec93b}",
            "urn:uuid:c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93b ",
            "c12a7328f-81f-11d2-ba4b-00a0c93ec93b",
        ] {
            assert!(text.parse::<Guid>().is_err(), "{text}");
        }
    }
}
