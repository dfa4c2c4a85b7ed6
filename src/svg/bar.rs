//! A bar to scale, and the marks below it.

use std::fmt::Write;

use imagegen::units::ByteCount;

use super::colours::{EMPTY, FAINT, OTHER};
use super::{BAR, MARGIN, Picture, float};

/// A coloured stretch of a bar, in bytes from its start.
pub struct Piece {
    pub start: u64,
    pub bytes: u64,
    pub colour: &'static str,
    pub title: String,
}

impl Picture {
    /// A bar of `size` bytes. A very thin piece is widened until it can be seen.
    pub fn bar(&mut self, pieces: &[Piece], size: u64, height: f64) {
        let y = self.y;
        let _ = writeln!(
            self.body,
            r#"<clipPath id="bar{y:.0}"><rect x="{MARGIN}" y="{y:.1}" width="{BAR}" height="{height}" rx="5"/></clipPath>
<g clip-path="url(#bar{y:.0})">"#
        );
        self.rect(MARGIN, y, BAR, height, EMPTY, "");
        for piece in pieces {
            let (x, width) = place(piece.start, piece.bytes, size);
            self.rect(x, y, width.max(0.6), height, piece.colour, &piece.title);
        }
        self.body.push_str("</g>\n");
        self.y += height;
    }

    /// Five marks below a bar.
    pub fn axis(&mut self, size: u64) {
        self.y += 5.0;
        for (i, anchor) in ["start", "middle", "middle", "middle", "end"].into_iter().enumerate() {
            let part = u64::try_from(i).unwrap_or_default();
            let x = MARGIN + BAR * float(part) / 4.0;
            let value = if part == 0 { "0".to_owned() } else { ByteCount(size / 4 * part).to_string() };
            let _ = writeln!(
                self.body,
                r#"<line x1="{x:.1}" y1="{:.1}" x2="{x:.1}" y2="{:.1}" stroke="{OTHER}"/><text x="{x:.1}" y="{:.1}" font-size="11" fill="{FAINT}" text-anchor="{anchor}">{value}</text>"#,
                self.y - 3.0,
                self.y + 2.0,
                self.y + 13.0
            );
        }
        self.y += 28.0;
    }
}

/// The left edge and width of a stretch of bytes.
pub fn place(start: u64, bytes: u64, size: u64) -> (f64, f64) {
    let scale = BAR / float(size.max(1));
    let x = float(start) * scale;
    (MARGIN + x.min(BAR), (float(bytes) * scale).min(BAR - x.min(BAR)))
}
