//! Quantities that must not be taken for one another: sectors, bytes and offsets.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::error_kind::{ErrorKind, InternalError};

/// The sector size of every disk this library writes, in bytes.
pub const SECTOR: u64 = 512;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteCount(pub u64);

/// A logical block address: the number of a 512-byte sector of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lba(pub u64);

/// A byte offset as the guest sees the disk, whatever container holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GuestOffset(pub u64);

/// A byte offset in the container file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HostOffset(pub u64);

/// A half-open range of guest bytes.
pub type GuestRange = Range<GuestOffset>;

impl Lba {
    /// The offset of this sector's first byte.
    pub const fn offset(self) -> GuestOffset {
        GuestOffset(self.0 * SECTOR)
    }
}

impl GuestOffset {
    /// The offset `bytes` further on.
    #[must_use]
    pub const fn advanced(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

/// Converts a length or index that is known to fit into memory.
///
/// Every supported target has 64-bit pointers, so nothing is lost; elsewhere the crate does not build.
pub(crate) const fn index(n: u64) -> usize {
    const { assert!(usize::BITS == u64::BITS, "imagegen needs a 64-bit target") };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::as_conversions,
        reason = "usize is 64 bits, see above"
    )]
    {
        n as usize
    }
}

/// Converts a slice length; the reverse of [`index`].
pub(crate) const fn length(n: usize) -> u64 {
    #[expect(clippy::as_conversions, reason = "usize is at most 64 bits on every target of Rust")]
    {
        n as u64
    }
}

/// Converts a number for the field that it is written to. That it fits was checked before; should it not, nothing is
/// written.
#[track_caller]
pub(crate) fn fit<Field: TryFrom<Number>, Number: Copy + fmt::Display>(
    number: Number,
) -> Result<Field, InternalError> {
    match Field::try_from(number) {
        Ok(field) => Ok(field),
        Err(_) => {
            Err(InternalError::new(format!("{number} does not fit in a {}", std::any::type_name::<Field>())))
        }
    }
}

/// Sorts ranges, and joins those that touch or overlap.
pub(crate) fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let touch = next.start <= last.end;
        if touch {
            last.end = last.end.max(next.end);
        }
        touch
    });
    ranges
}

/// A size that could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizeError {
    /// Neither a number nor a number with a known suffix.
    #[error(
        "`{0}` is not a size: write bytes, or a whole number with K, M, G or T (powers of 1024), as in `60M`"
    )]
    Malformed(String),
    /// More than 2^64 bytes.
    #[error("`{0}` is more than this program can count (2^64 bytes)")]
    TooLarge(String),
}

impl SizeError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed(_) => ErrorKind::InvalidInput,
            Self::TooLarge(_) => ErrorKind::TooLarge,
        }
    }
}

impl FromStr for ByteCount {
    type Err = SizeError;

    /// Reads plain bytes or a whole number with a suffix K, M, G or T (powers of 1024; `KiB` and so on too).
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let malformed = || SizeError::Malformed(text.to_owned());
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, suffix) = text.split_at(digits);
        if number.is_empty() {
            return Err(malformed());
        }
        let shift = match suffix {
            "" | "B" => 0,
            "K" | "k" | "KiB" => 10,
            "M" | "m" | "MiB" => 20,
            "G" | "g" | "GiB" => 30,
            "T" | "t" | "TiB" => 40,
            _ => return Err(malformed()),
        };
        // Only digits are left, so the one way to fail is overflow.
        let number: u64 = number.parse().map_err(|_| SizeError::TooLarge(text.to_owned()))?;
        let bytes = number.checked_mul(1 << shift).ok_or_else(|| SizeError::TooLarge(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for ByteCount {
    /// Writes the largest unit of at least one, with one decimal: `60.0 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        for (name, shift) in UNITS {
            if self.0 >> shift > 0 {
                let tenths = (u128::from(self.0) * 10) >> shift;
                return write!(f, "{}.{} {name}", tenths / 10, tenths % 10);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!("60M".parse(), Ok(ByteCount(62_914_560)));
        assert_eq!("2G".parse(), Ok(ByteCount(2_147_483_648)));
        assert_eq!("4096".parse(), Ok(ByteCount(4096)));
        assert_eq!("1KiB".parse(), Ok(ByteCount(1024)));
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "M", "-1", "1.5G", "10X", "60 M", "1e3"] {
            assert!(matches!(text.parse::<ByteCount>(), Err(SizeError::Malformed(_))), "{text}");
        }
        for text in ["18446744073709551616", "16777216T"] {
            assert!(matches!(text.parse::<ByteCount>(), Err(SizeError::TooLarge(_))), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_internal_error() {
        assert_eq!(fit::<u16, _>(65_535_u64), Ok(65_535));
        let error = fit::<u16, _>(65_536_usize).unwrap_err();
        assert!(error.to_string().contains("65536 does not fit in a u16 (imagegen/src/units.rs:"), "{error}");
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        assert_eq!(ByteCount(62_914_560).to_string(), "60.0 MiB");
        assert_eq!(ByteCount(1023).to_string(), "1023 bytes");
        assert_eq!(ByteCount(1_610_612_736).to_string(), "1.5 GiB");
    }
}
