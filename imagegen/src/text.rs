//! Text out of images, configurations and file names, made fit for a terminal. All that is printed goes through here.

use std::fmt::Write;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::error_kind::ErrorKind;

/// The bytes as text: printable characters as they are; whatever [`is_unseen`], a backslash and what is not UTF-8 as
/// escapes (`\n`, `\x1b`, `\u{202e}`, `\\`), so that nothing is lost and nothing reaches the terminal that would command
/// it or show another text than is there.
pub fn shown(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if c.is_ascii_control() && !matches!(c, '\n' | '\t' | '\r') => {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
                c => push(&mut out, c),
            }
        }
        for &byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// UTF-16 as [`shown`]; surrogates without their other half are escaped too (`\u{d800}`).
pub fn shown_utf16(units: impl IntoIterator<Item = u16>) -> String {
    let mut out = String::new();
    for c in char::decode_utf16(units) {
        match c {
            Ok(c) => out.push_str(&shown(c.encode_utf8(&mut [0; 4]).as_bytes())),
            Err(unpaired) => {
                let _ = write!(out, "\\u{{{:x}}}", unpaired.unpaired_surrogate());
            }
        }
    }
    out
}

/// How many characters of a text stand in a message.
const EXCERPT: usize = 100;

/// As [`shown`], but cut off after about 100 characters, for messages about files of any kind and length.
pub fn excerpt(text: &str) -> String {
    let mut out = String::new();
    let mut length = 0;
    for c in text.chars() {
        if length >= EXCERPT {
            return out + "…";
        }
        let one = shown(c.encode_utf8(&mut [0; 4]).as_bytes());
        length += one.chars().count();
        out += &one;
    }
    out
}

/// A text that is not what it should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{}` is not {expected}", excerpt(.text))]
pub struct TextError {
    text: String,
    expected: &'static str,
}

impl TextError {
    /// Always [`ErrorKind::InvalidInput`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }

    /// `expected` says what it should be, and how that is written.
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.to_owned(), expected }
    }
}

/// A line of a message, in which parts may be escaped already: as [`shown`], but for the backslash, which stays.
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut out, c));
    out
}

/// Lines of a message or a table: as [`line()`], but for the line feeds between them.
pub fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Whether a terminal shows nothing for the character, or something that is not the character: controls (Unicode's
/// general category Cc), format characters, among them those that turn the direction of writing and the invisible tags
/// (Cf), line and paragraph separators (Zl, Zp), and letters and marks without any shape.
pub fn is_unseen(c: char) -> bool {
    if matches!(c, ' '..='~') {
        return false;
    }
    matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    ) || is_ignorable(c)
}

/// What Unicode 17 calls `Default_Ignorable_Code_Point` (`DerivedCoreProperties.txt`) without being of the categories
/// above: fillers, the joiner of graphemes, selectors of variants, and what is kept free for more of the kind.
fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2065}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}'
    )
}

fn push(out: &mut String, c: char) {
    if is_unseen(c) { out.extend(c.escape_default()) } else { out.push(c) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_commands_the_terminal() {
        assert_eq!(shown("grüße 🦀".as_bytes()), "grüße 🦀");
        assert_eq!(shown(b"a\nb\x1b[2J\x7f\\"), "a\\nb\\x1b[2J\\x7f\\\\");
        assert_eq!(shown(b"\xff\xfe."), "\\xff\\xfe.");
        assert_eq!(shown("\u{202e}txt\u{9b}".as_bytes()), "\\u{202e}txt\\u{9b}");
        assert_eq!(line("a\\n\u{2028}\tb\n"), "a\\n\\u{2028}\\tb\\n");
        assert_eq!(shown_utf16([0x41, 0xd800, 0x5c, 0xd83e, 0xdd80, 0x202e]), "A\\u{d800}\\\\🦀\\u{202e}");
        assert_eq!(lines("a\r\nb\u{200b}\n"), "a\\r\nb\\u{200b}\n");
    }

    /// The format characters of `UnicodeData.txt`, version 17, and what has no shape at all.
    #[test]
    fn unseen_characters_are_escaped() {
        for range in [
            0x00..=0x1f,
            0x7f..=0x9f,
            0xad..=0xad,
            0x34f..=0x34f,
            0x600..=0x605,
            0x61c..=0x61c,
            0x6dd..=0x6dd,
            0x70f..=0x70f,
            0x890..=0x891,
            0x8e2..=0x8e2,
            0x115f..=0x1160,
            0x180b..=0x180f,
            0x200b..=0x200f,
            0x2028..=0x202e,
            0x2060..=0x206f,
            0x3164..=0x3164,
            0xfe00..=0xfe0f,
            0xfeff..=0xfeff,
            0xfff0..=0xfffb,
            0x110bd..=0x110bd,
            0x110cd..=0x110cd,
            0x13430..=0x1343f,
            0x1bca0..=0x1bca3,
            0x1d173..=0x1d17a,
            0xe0000..=0xe0fff_u32,
        ] {
            for c in range.filter_map(char::from_u32) {
                assert!(is_unseen(c), "{c:?}");
                for text in [line(&c.to_string()), shown(c.to_string().as_bytes())] {
                    assert!(text.starts_with('\\') && text.bytes().all(|b| b.is_ascii_graphic()), "{text}");
                }
            }
        }
    }

    #[test]
    fn letters_of_every_script_stay() {
        for text in [
            "Größe, ﬁ",
            "Загрузчик",
            "日本語 カタカナ",
            "한국어",
            "العربية ١٢٣",
            "עִבְרִית",
            "हिन्दी",
            "ไทย ภาษา",
            "ქართული",
            "አማርኛ",
            "ᠮᠣᠩᠭᠣᠯ",
            "ខ្មែរ",
            "e\u{301}",
            "🦀👍🏽",
            "\u{e000}",
            "a\u{3000}b\u{a0}c",
        ] {
            assert_eq!(line(text), text);
            assert_eq!(shown(text.as_bytes()), text);
        }
    }

    #[test]
    fn an_excerpt_is_short() {
        assert_eq!(excerpt("a\0ü"), "a\\x00ü");
        let long = "ü".repeat(1000);
        assert_eq!(excerpt(&long), format!("{}…", &long[..200]));
        assert_eq!(excerpt(&long[..200]), long[..200]);
        assert_eq!(excerpt(&"\0".repeat(1000)), format!("{}…", "\\x00".repeat(25)));
    }
}
