//! File names on FAT: which are allowed, and the two forms in which each is stored.

use std::collections::{BTreeMap, BTreeSet};

use super::FatError;
use super::disk::ShortName;

/// The characters that VFAT allows in no name (Microsoft's FAT specification 1.03, "FAT Long Directory Entries").
const FORBIDDEN: &str = "\"*/:<>?\\|";
/// The characters beside letters and digits that a short name may have.
const SHORT_PUNCTUATION: &[u8] = b"$%'-_@~`!(){}^#&";
/// The longest name, in UCS-2 units.
const UNITS_MAX: usize = 255;
/// The longest numeric tail is `~999999`.
const TAIL_MAX: u32 = 999_999;

/// Checks a name of the file or directory at `path`.
pub fn check(name: &str, path: &str) -> Result<(), FatError> {
    let error = |why: &str| Err(FatError::Name { path: path.to_owned(), why: why.to_owned() });
    if name.is_empty() {
        return error("it has an empty name; write one `/` between names and none at the ends");
    }
    if matches!(name, "." | "..") {
        return error("`.` and `..` are not names of files");
    }
    if let Some(c) = name.chars().find(|&c| FORBIDDEN.contains(c) || c.is_control()) {
        return error(&format!("FAT allows no {c:?} in a name"));
    }
    if let Some(c) = name.chars().find(|&c| u32::from(c) > 0xFFFF) {
        return error(&format!("firmware reads names as UCS-2, which has no {c:?}"));
    }
    if name.ends_with(['.', ' ']) {
        return error("FAT drops a dot or space at the end of a name");
    }
    // UCS-2: as many units as characters.
    let units = name.chars().count();
    if units > UNITS_MAX {
        return error(&format!("`{name}` has {units} characters and FAT holds {UNITS_MAX}"));
    }
    Ok(())
}

/// What two names have in common that FAT takes for the same.
pub fn folded(name: &str) -> String {
    name.to_uppercase()
}

/// The name itself in short form, if it needs no long one: capitals, digits and a few signs, eight and three.
pub fn exact_short(name: &str) -> Option<ShortName> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = |part: &str| part.bytes().all(|b| is_short_character(b) && !b.is_ascii_lowercase());
    let dangling = name.contains('.') && extension.is_empty();
    (!base.is_empty()
        && base.len() <= 8
        && extension.len() <= 3
        && !dangling
        && fits(base)
        && fits(extension))
    .then(|| packed(base.as_bytes(), extension.as_bytes()))
}

/// Makes up the short names of a directory.
#[derive(Debug)]
pub struct Aliases {
    /// Every name of the directory that is in use, long or short, folded.
    taken: BTreeSet<String>,
    /// For what precedes and follows the tail, the first number that may still be free: without it, a thousand names
    /// that begin alike would be tried a million times.
    next: BTreeMap<(Vec<u8>, Vec<u8>), u32>,
}

impl Aliases {
    /// Begins with the folded names of all entries.
    pub fn new(taken: BTreeSet<String>) -> Self {
        Self { taken, next: BTreeMap::new() }
    }

    /// A short name for a long one: its first characters, `~` and the first number that makes it different from all
    /// others. Nothing if there are a million such.
    pub fn make(&mut self, name: &str) -> Option<ShortName> {
        // Dots at the beginning are no extension.
        let trimmed = name.trim_start_matches('.');
        let (base, extension) = trimmed.rsplit_once('.').unwrap_or((trimmed, ""));
        // The shortest tail, `~1`, leaves room for six characters.
        let (base, extension) = (short_characters(base, 6), short_characters(extension, 3));
        let next = self.next.entry((base.clone(), extension.clone())).or_insert(1);
        while *next <= TAIL_MAX {
            let tail = format!("~{next}");
            *next += 1;
            let kept = base.len().min(8 - tail.len());
            let candidate = packed(&[&base[..kept], tail.as_bytes()].concat(), &extension);
            if self.taken.insert(shown(&candidate)) {
                return Some(candidate);
            }
        }
        None
    }
}

/// A short name as it is typed: `BOOTX64.EFI`.
pub fn shown(short: &ShortName) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (base, extension) = (part(&short[..8]), part(&short[8..]));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

fn is_short_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || SHORT_PUNCTUATION.contains(&byte)
}

/// What of a name can stand in a short one; spaces and dots vanish, anything else becomes an underscore.
fn short_characters(part: &str, limit: usize) -> Vec<u8> {
    part.chars()
        .filter(|c| !matches!(c, ' ' | '.'))
        .map(|c| match u8::try_from(c) {
            Ok(byte) if is_short_character(byte) => byte.to_ascii_uppercase(),
            _ => b'_',
        })
        .take(limit)
        .collect()
}

fn packed(base: &[u8], extension: &[u8]) -> ShortName {
    let mut short = [b' '; 11];
    let bytes = |place: &mut [u8], part: &[u8]| {
        place.iter_mut().zip(part).for_each(|(place, &byte)| *place = byte);
    };
    bytes(&mut short[..8], base);
    bytes(&mut short[8..], extension);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_capitals_of_eight_and_three_are_stored_as_they_are() {
        for (name, short) in
            [("EFI", b"EFI        "), ("BOOTX64.EFI", b"BOOTX64 EFI"), ("A_~1.B", b"A_~1    B  ")]
        {
            assert_eq!(exact_short(name).as_ref(), Some(short), "{name}");
            assert_eq!(shown(short), name);
        }
        for name in ["efi", "BOOTX64.efi", "NINECHARS", "A.LONG", "A.B.C", ".A", "A B", "É", "A+B", "A.", ""]
        {
            assert_eq!(exact_short(name), None, "{name}");
        }
    }

    #[test]
    fn aliases_are_numbered_around_what_is_taken() {
        let mut aliases = Aliases::new(BTreeSet::from(["LOADER~2.CON".to_owned()]));
        let mut next = |name: &str| shown(&aliases.make(name).unwrap());
        assert_eq!(next("loader.conf"), "LOADER~1.CON");
        assert_eq!(next("loader.config"), "LOADER~3.CON");
        assert_eq!(next("nixos-generation-1.conf"), "NIXOS-~1.CON");
        assert_eq!(next(".hidden.tar.gz"), "HIDDEN~1.GZ");
        assert_eq!(next("日本"), "__~1");
        assert_eq!(next("+ = ;"), "___~1");
        assert_eq!(next("a b.c d"), "AB~1.CD");
        for _ in 4..10 {
            next("loader.conf");
        }
        assert_eq!(next("loader.conf"), "LOADE~10.CON");
    }

    #[test]
    fn names_that_fat_cannot_hold_are_refused() {
        for name in ["efi", "é", "a b", "~", "-+,;=[]", "..a", &"x".repeat(255), &"日".repeat(255)] {
            assert!(check(name, "p").is_ok(), "{name}");
        }
        for (name, why) in [
            ("", "empty"),
            (".", "not names"),
            ("..", "not names"),
            ("a:b", "':'"),
            ("a\\b", "'\\\\'"),
            ("a\nb", "'\\n'"),
            ("a\u{7f}", "'\\u{7f}'"),
            ("a.", "at the end"),
            ("a ", "at the end"),
            ("😀", "UCS-2"),
            (&"x".repeat(256), "256 characters"),
            (&"日".repeat(256), "256 characters"),
        ] {
            let error = check(name, "EFI/nixos/that").unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("EFI/nixos/that"), "{name}: {error}");
        }
    }
}
