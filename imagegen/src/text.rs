//! Names out of images, made fit for a terminal.

use std::fmt::Write;

/// The bytes as text: printable characters as they are; control characters, what turns the direction of writing, a
/// backslash and whatever is not UTF-8 as escapes (`\n`, `\x1b`, `\u{202e}`, `\\`), so that nothing is lost and
/// nothing reaches the terminal that would command it.
pub fn shown(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                c if c.is_ascii_control() => escape(&mut out, u32::from(c)),
                c if c.is_control() || is_format(c) => out.extend(c.escape_unicode()),
                c => out.push(c),
            }
        }
        for &byte in chunk.invalid() {
            escape(&mut out, byte.into());
        }
    }
    out
}

fn escape(out: &mut String, byte: u32) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\x{byte:02x}");
}

/// Line and paragraph separators, marks that turn the direction of writing, and characters without any shape
/// (Unicode 16, "Default Ignorable" and "Bidi Control" as far as terminals obey them).
fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
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
    }
}
