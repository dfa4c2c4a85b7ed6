//! What a GRUB menu is like besides its entries.

use std::str::FromStr;

use super::Place;
use crate::boot::Timeout;

/// A PC has four serial ports with known addresses.
const PORTS: u8 = 4;

/// What is in the menu besides its entries.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where GRUB's files are.
    pub place: Place,
    /// How long the menu waits.
    pub timeout: Timeout,
    /// Parameters that every kernel gets after its own.
    pub kernel_params: Vec<String>,
    /// Show the menu in graphics of this size; in text if there is none.
    pub resolution: Option<Resolution>,
    /// Show the menu on a serial port, too.
    pub serial: Option<Serial>,
}

/// The size of a menu in graphics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// Pixels in a line.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// A resolution that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a resolution: write width and height in pixels, as in 1024x768")]
pub struct ResolutionError(String);

/// A serial port of the PC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial {
    /// Its number; 0 is Linux's `ttyS0`.
    pub unit: u8,
    /// Bits a second.
    pub speed: u32,
}

/// A serial port that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a serial port of a PC: write ttyS0 to ttyS3 and, if it is not 9600, the speed, as in ttyS0,115200"
)]
pub struct SerialError(String);

impl FromStr for Resolution {
    type Err = ResolutionError;

    fn from_str(text: &str) -> Result<Self, ResolutionError> {
        let pixels = |digits: &str| digits.parse().ok().filter(|&pixels: &u16| pixels > 0);
        let parse = || {
            let (width, height) = text.split_once('x')?;
            Some(Self { width: pixels(width)?, height: pixels(height)? })
        };
        parse().ok_or_else(|| ResolutionError(text.to_owned()))
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    /// Reads what stands behind Linux's `console=`.
    fn from_str(text: &str) -> Result<Self, SerialError> {
        let parse = || {
            let (port, speed) = text.split_once(',').unwrap_or((text, "9600"));
            let unit = port.strip_prefix("ttyS")?.parse().ok().filter(|&unit| unit < PORTS)?;
            let speed = speed.parse().ok().filter(|&speed: &u32| speed > 0)?;
            Some(Self { unit, speed })
        };
        parse().ok_or_else(|| SerialError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ports_are_read() {
        assert_eq!("1024x768".parse(), Ok(Resolution { width: 1024, height: 768 }));
        for text in ["", "1024", "1024x", "0x768", "1024x768x32", "70000x1", "auto"] {
            assert!(text.parse::<Resolution>().is_err(), "{text}");
        }
        assert_eq!("ttyS1,115200".parse(), Ok(Serial { unit: 1, speed: 115_200 }));
        assert_eq!("ttyS0".parse(), Ok(Serial { unit: 0, speed: 9600 }));
        for text in ["", "0", "ttyS", "ttyS4", "ttyS0,", "ttyS0,0", "ttyS0,115200n8", "ttyAMA0"] {
            assert!(text.parse::<Serial>().is_err(), "{text}");
        }
    }
}
