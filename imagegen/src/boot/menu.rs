//! What a boot menu is like besides its entries, and how that is written.

use std::fmt;
use std::str::FromStr;

use crate::text::TextError;

/// How the menu looks and behaves. The default is what NixOS's options are unless they are set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Menu {
    /// How long the menu waits.
    pub timeout: Timeout,
    /// Parameters that every kernel gets after its own.
    pub kernel_params: Vec<String>,
    /// systemd-boot: whether kernel parameters may be edited in the menu.
    pub editor: bool,
    /// systemd-boot: the resolution of the menu.
    pub console_mode: ConsoleMode,
    /// systemd-boot: the machine's ID, which some tools look for in entries.
    pub machine_id: Option<MachineId>,
    /// GRUB: show the menu in graphics of this size; in text if there is none.
    pub resolution: Option<Resolution>,
    /// GRUB: show the menu on a serial port, too.
    pub serial: Option<Serial>,
}

impl Default for Menu {
    fn default() -> Self {
        Self {
            timeout: Timeout::Seconds(5),
            kernel_params: Vec::new(),
            editor: true,
            console_mode: ConsoleMode::Keep,
            machine_id: None,
            resolution: None,
            serial: None,
        }
    }
}

/// How long the menu waits, in the words of `loader.conf(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeout {
    /// This many seconds; with 0 it shows only when a key is pressed.
    Seconds(u32),
    /// Until something is chosen.
    MenuForce,
    /// As with 0, whatever the firmware's variables say.
    MenuHidden,
    /// Never, not even when a key is pressed.
    MenuDisabled,
}

/// Writes and reads a setting that is one of some words, or a number.
macro_rules! words_or_number {
    ($type:ident, $expected:literal, $number:ident, $($word:literal = $value:ident),*) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$value => f.write_str($word),)*
                    Self::$number(number) => write!(f, "{number}"),
                }
            }
        }

        impl FromStr for $type {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                match text {
                    $($word => Ok(Self::$value),)*
                    number => number.parse().map(Self::$number).map_err(|_| TextError::new(text, $expected)),
                }
            }
        }
    };
}

words_or_number!(
    Timeout,
    "a timeout: write a number of seconds, menu-force, menu-hidden or menu-disabled",
    Seconds,
    "menu-force" = MenuForce,
    "menu-hidden" = MenuHidden,
    "menu-disabled" = MenuDisabled
);

/// The resolution of systemd-boot's menu, in the words of `loader.conf(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsoleMode {
    /// As the firmware left it.
    Keep,
    /// Chosen by systemd-boot.
    Auto,
    /// The highest that there is.
    Max,
    /// A UEFI text mode.
    Mode(u32),
}

words_or_number!(
    ConsoleMode,
    "a console mode: write keep, auto, max or a number",
    Mode,
    "keep" = Keep,
    "auto" = Auto,
    "max" = Max
);

/// A machine ID as in `/etc/machine-id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineId(String);

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MachineId {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let is_id = text.len() == 32 && text.bytes().all(is_digit);
        let expected = "a machine ID, which has 32 hexadecimal digits in lower case (machine-id(5))";
        if is_id { Ok(Self(text.to_owned())) } else { Err(TextError::new(text, expected)) }
    }
}

/// The size of GRUB's menu in graphics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// Pixels in a line.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

impl FromStr for Resolution {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let pixels = |digits: &str| digits.parse().ok().filter(|&pixels: &u16| pixels > 0);
        let parse = || {
            let (width, height) = text.split_once('x')?;
            Some(Self { width: pixels(width)?, height: pixels(height)? })
        };
        let expected = "a resolution: write width and height in pixels, as in 1024x768";
        parse().ok_or_else(|| TextError::new(text, expected))
    }
}

/// A PC has four serial ports with known addresses.
const PORTS: u8 = 4;

/// A serial port of the PC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial {
    /// Its number; 0 is Linux's `ttyS0`.
    pub unit: u8,
    /// Bits a second.
    pub speed: u32,
}

impl FromStr for Serial {
    type Err = TextError;

    /// Reads what stands behind Linux's `console=`.
    fn from_str(text: &str) -> Result<Self, TextError> {
        let parse = || {
            let (port, speed) = text.split_once(',').unwrap_or((text, "9600"));
            let unit = port.strip_prefix("ttyS")?.parse().ok().filter(|&unit| unit < PORTS)?;
            let speed = speed.parse().ok().filter(|&speed: &u32| speed > 0)?;
            Some(Self { unit, speed })
        };
        let expected = "a serial port of a PC: write ttyS0 to ttyS3 and, if it is not 9600, the speed, as in ttyS0,115200";
        parse().ok_or_else(|| TextError::new(text, expected))
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

    #[test]
    fn machine_ids_are_read() {
        assert!("0123456789abcdef0123456789abcdef".parse::<MachineId>().is_ok());
        for text in ["", "0123", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcde\n"] {
            assert!(text.parse::<MachineId>().is_err(), "{text}");
        }
    }
}
