//! How wide text is, so that none runs into something else. The font is the reader's; of those that drawings name, `DejaVu
//! Sans` is the widest, and these are its advances.

/// In hundredths of the font's size, rounded up, from the space to the tilde.
const REGULAR: [u8; 95] = [
    32, 41, 46, 84, 64, 96, 78, 28, 40, 40, 50, 84, 32, 37, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    34, 34, 84, 84, 84, 54, 100, 69, 69, 70, 78, 64, 58, 78, 76, 30, 30, 66, 56, 87, 75, 79, 61, 79, 70, 64,
    62, 74, 69, 99, 69, 62, 69, 40, 34, 40, 84, 50, 50, 62, 64, 55, 64, 62, 36, 64, 64, 28, 28, 58, 28, 98,
    64, 62, 64, 64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34, 64, 84,
];
/// The same of bold letters.
const BOLD: [u8; 95] = [
    35, 46, 53, 84, 70, 101, 88, 31, 46, 46, 53, 84, 38, 42, 38, 37, 70, 70, 70, 70, 70, 70, 70, 70, 70, 70,
    40, 40, 84, 84, 84, 59, 100, 78, 77, 74, 84, 69, 69, 83, 84, 38, 38, 78, 64, 100, 84, 86, 74, 86, 78, 73,
    69, 82, 78, 111, 78, 73, 73, 46, 37, 46, 84, 50, 50, 68, 72, 60, 72, 68, 44, 72, 72, 35, 35, 67, 35, 105,
    72, 69, 72, 72, 50, 60, 48, 72, 66, 93, 65, 66, 59, 72, 37, 72, 84,
];
/// Of any other character, which may be an ideograph.
const OTHER: u8 = 110;

/// The width of a text whose letters have this size.
pub fn width(text: &str, size: f64, bold: bool) -> f64 {
    let advances = if bold { &BOLD } else { &REGULAR };
    let advance = |c: char| {
        let place = u32::from(c).checked_sub(u32::from(' ')).and_then(|place| usize::try_from(place).ok());
        let advance = place.and_then(|place| advances.get(place)).copied();
        f64::from(advance.unwrap_or(OTHER)) / 100.0
    };
    text.chars().map(advance).sum::<f64>() * size
}

/// As much of the text as has room, with an ellipsis in place of the rest.
pub fn fitted(text: &str, size: f64, bold: bool, room: f64) -> String {
    if width(text, size, bold) <= room {
        return text.to_owned();
    }
    let mut fitting = String::new();
    for c in text.chars() {
        fitting.push(c);
        if width(&fitting, size, bold) + width("…", size, bold) > room {
            fitting.pop();
            break;
        }
    }
    fitting.trim_end().to_owned() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fonts of Debian's fonts-dejavu-core, as another crate reads them.
    #[test]
    fn no_font_of_a_drawing_is_wider() {
        for (name, bold) in [("DejaVuSans", false), ("DejaVuSans-Bold", true)] {
            let bytes = std::fs::read(format!("/usr/share/fonts/truetype/dejavu/{name}.ttf")).unwrap();
            let face = ttf_parser::Face::parse(&bytes, 0).unwrap();
            let em = f64::from(face.units_per_em());
            for c in (' '..='~').chain("…×µ→äß".chars()) {
                let glyph = face.glyph_index(c).unwrap();
                let advance = f64::from(face.glyph_hor_advance(glyph).unwrap()) / em;
                let ours = width(&c.to_string(), 1.0, bold);
                assert!(ours >= advance, "{c} {ours} {advance}");
                assert!(!c.is_ascii() || ours < advance + 0.011, "{c} {ours} {advance}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let text = "mkfs.ext4 with an unusually long name";
        assert_eq!(fitted(text, 10.0, true, 1000.0), text);
        for room in 10..200_u8 {
            let cut = fitted(text, 10.0, false, f64::from(room));
            assert!(width(&cut, 10.0, false) <= f64::from(room) || cut == "…", "{room}: {cut}");
            assert!(cut.ends_with('…') && text.starts_with(cut.trim_end_matches('…')), "{cut}");
        }
    }
}
