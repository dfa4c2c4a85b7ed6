//! A bar to scale, the marks below it, and what its colours mean.

use imagegen::units::ByteCount;

use super::drawing::{FAINT, INK, Style};
use super::{BAR, MARGIN, Picture, float};

pub const EMPTY: &str = "#eef1f4";
pub const METADATA: &str = "#52606d";
pub const OTHER: &str = "#cbd2d9";

/// Ten hues of like weight that differ in lightness too, so that they can be told apart without colour vision.
pub const HUES: [&str; 10] = [
    "#2f6fab", "#e08e2b", "#3f9b6e", "#c4504b", "#7d62a8", "#b9a32f", "#4bb0c9", "#d77fa1", "#8a6a4f",
    "#6fae3f",
];

/// The longest name in a legend, in characters.
const NAME_MAX: usize = 62;

/// Where something lies: its first byte and its length.
pub type Place = (u64, u64);

/// A bar of so many bytes.
pub struct Bar {
    size: u64,
    /// Coloured stretches with their titles.
    pieces: Vec<(Place, &'static str, String)>,
    /// Colours, what has them, and how much that is.
    legend: Vec<(&'static str, String, u64)>,
}

/// A file or store path.
pub struct Part<'p> {
    pub name: &'p str,
    pub title: &'p str,
    pub bytes: u64,
    pub places: Vec<Place>,
}

impl Bar {
    pub fn new(size: u64) -> Self {
        Self { size, pieces: Vec::new(), legend: Vec::new() }
    }

    pub fn piece(&mut self, colour: &'static str, title: &str, places: impl IntoIterator<Item = Place>) {
        self.pieces.extend(places.into_iter().map(|place| (place, colour, title.to_owned())));
    }

    pub fn legend(&mut self, colour: &'static str, name: impl Into<String>, bytes: u64) {
        self.legend.push((colour, name.into(), bytes));
    }

    /// Adds the parts, the largest first. Each of the first ones has a colour of its own, and all others have one together.
    pub fn parts<'p>(&mut self, parts: impl IntoIterator<Item = Part<'p>>, what: &str) {
        let (mut others, mut bytes_of_others) = (0, 0_u64);
        let mut hues = HUES.into_iter();
        for part in parts {
            let hue = hues.next();
            if hue.is_none() {
                others += 1;
                bytes_of_others = bytes_of_others.saturating_add(part.bytes);
            }
            if let Some(hue) = hue.filter(|_| part.bytes > 0) {
                self.legend(hue, part.name, part.bytes);
            }
            self.piece(hue.unwrap_or(OTHER), part.title, part.places);
        }
        if others > 0 {
            self.legend(OTHER, format!("{others} smaller {what}"), bytes_of_others);
        }
    }
}

impl Picture {
    /// Draws a bar with all that is below it. A very thin piece is widened until it can be seen.
    pub fn bar(&mut self, bar: &Bar, height: f64) {
        let y = self.y;
        self.drawing.element(format_args!(
            r#"<clipPath id="bar{y:.0}"><rect x="{MARGIN}" y="{y:.1}" width="{BAR}" height="{height}" rx="5"/></clipPath>
<g clip-path="url(#bar{y:.0})">"#
        ));
        self.drawing.rect((MARGIN, y), (BAR, height), EMPTY, "");
        for (place, colour, title) in &bar.pieces {
            let (x, width) = stretch(*place, bar.size);
            self.drawing.rect((x, y), (width.max(0.6), height), colour, title);
        }
        self.drawing.element(format_args!("</g>"));
        self.y += height + 5.0;
        self.marks(bar.size);
        self.entries(bar);
    }

    fn marks(&mut self, size: u64) {
        for (mark, anchor) in (0..).zip(["start", "middle", "middle", "middle", "end"]) {
            let x = MARGIN + BAR * float(mark) / 4.0;
            let value = if mark == 0 { "0".to_owned() } else { ByteCount(size / 4 * mark).to_string() };
            self.drawing.line((x, self.y - 3.0), (x, self.y + 2.0), OTHER, 1.0);
            self.drawing.text((x, self.y + 13.0), Style::new(11.0, FAINT).anchored(anchor), &value);
        }
        self.y += 28.0;
    }

    /// The legend, in two columns.
    fn entries(&mut self, Bar { legend, .. }: &Bar) {
        let rows = legend.len().div_ceil(2).max(1);
        for (i, (colour, name, bytes)) in legend.iter().enumerate() {
            let x = if i < rows { MARGIN } else { MARGIN + BAR / 2.0 + 12.0 };
            let row = u64::try_from(i % rows).unwrap_or_default();
            let y = self.y + 20.0 + 20.0 * float(row);
            self.drawing.rect((x, y - 11.0), (13.0, 13.0), colour, "");
            self.drawing.text((x + 21.0, y), Style::new(13.0, INK), &shortened(name));
            let end = (x + BAR / 2.0 - 12.0, y);
            self.drawing.text(end, Style::new(13.0, FAINT).anchored("end"), &ByteCount(*bytes).to_string());
        }
        self.y += 20.0 * float(u64::try_from(rows).unwrap_or_default()) + 34.0;
    }
}

/// The left edge and width of a stretch of bytes.
pub fn stretch((start, bytes): Place, size: u64) -> (f64, f64) {
    let scale = BAR / float(size.max(1));
    let x = float(start) * scale;
    (MARGIN + x.min(BAR), (float(bytes) * scale).min(BAR - x.min(BAR)))
}

/// The beginning and the end of a long name.
fn shortened(name: &str) -> String {
    let length = name.chars().count();
    if length <= NAME_MAX {
        return name.to_owned();
    }
    let head = name.chars().take(NAME_MAX / 2);
    head.chain(['…']).chain(name.chars().skip(length - NAME_MAX / 2)).collect()
}
