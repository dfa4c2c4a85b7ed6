//! What the colours of a bar mean.

use std::fmt::Write;

use imagegen::units::ByteCount;

use super::colours::{FAINT, INK};
use super::{BAR, MARGIN, Picture, float};

/// The longest name, in characters.
const NAME_MAX: usize = 62;

/// Colours, what has them, and how much that is.
#[derive(Default)]
pub struct Legend(Vec<Entry>);

struct Entry {
    colour: &'static str,
    name: String,
    bytes: u64,
}

impl Legend {
    pub fn add(&mut self, colour: &'static str, name: impl Into<String>, bytes: u64) {
        self.0.push(Entry { colour, name: name.into(), bytes });
    }
}

impl Picture {
    /// Draws it in two columns.
    pub fn legend(&mut self, Legend(entries): &Legend) {
        let half = entries.len().div_ceil(2).max(1);
        let top = self.y;
        for (column, entries) in entries.chunks(half).enumerate() {
            let x = if column == 0 { MARGIN } else { MARGIN + BAR / 2.0 + 12.0 };
            self.y = top;
            for Entry { colour, name, bytes } in entries {
                self.y += 20.0;
                self.rect(x, self.y - 11.0, 13.0, 13.0, colour, "");
                self.text(x + 21.0, 13.0, INK, "400", &shortened(name));
                let _ = writeln!(
                    self.body,
                    r#"<text x="{:.1}" y="{:.1}" font-size="13" fill="{FAINT}" text-anchor="end">{}</text>"#,
                    x + BAR / 2.0 - 12.0,
                    self.y,
                    ByteCount(*bytes)
                );
            }
        }
        self.y = top + 20.0 * float(u64::try_from(half).unwrap_or_default()) + 34.0;
    }
}

/// The beginning and the end of a long name.
fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_MAX {
        return name.to_owned();
    }
    let tail: Vec<char> = name.chars().rev().take(NAME_MAX / 2).collect();
    let head: String = name.chars().take(NAME_MAX / 2).collect();
    format!("{head}…{}", tail.into_iter().rev().collect::<String>())
}
