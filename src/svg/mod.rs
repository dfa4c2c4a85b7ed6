//! A picture of a disk: each row is a bar to scale, the rows below it show what the bar above consists of.

mod bar;
mod colours;
mod ext4;
mod fat;
mod legend;
mod partitions;

use std::fmt::Write;

use imagegen::reading::inspect::{Contents, EfiVariables, Inspection};
use imagegen::units::ByteCount;

use bar::Piece;
use colours::{FAINT, HUES, INK};

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 40.0;
const BAR: f64 = WIDTH - 2.0 * MARGIN;

/// Draws what was found.
pub fn draw(inspection: &Inspection) -> String {
    let mut picture = Picture { body: String::new(), y: 40.0 };
    let disk = inspection.container.virtual_bytes;
    let file = inspection.container.files.first();
    let name = file.map_or("", |file| file.path.rsplit('/').next().unwrap_or_default());
    picture.text(MARGIN, 22.0, INK, "600", name);
    picture.y += 22.0;
    if let Some(file) = file {
        let line = format!(
            "{} · disk of {} · file of {}",
            file.format,
            ByteCount(file.virtual_bytes),
            ByteCount(file.file_bytes)
        );
        picture.text(MARGIN, 14.0, FAINT, "400", &line);
    }
    picture.y += 34.0;
    picture.contents(&inspection.contents, disk);
    picture.finish()
}

struct Picture {
    body: String,
    /// How far down the picture has come.
    y: f64,
}

impl Picture {
    fn contents(&mut self, contents: &Contents, size: u64) {
        match contents {
            Contents::PartitionTable(table) => self.partitions(table, size),
            Contents::Ext4(file_system) => self.ext4(file_system),
            Contents::Fat(file_system) => self.fat(file_system, size, 0),
            Contents::EfiVariables(store) => self.efi_variables(store),
            Contents::Other { name } => self.note(name),
            Contents::Zeros => self.note("zeros"),
            Contents::Unknown => self.note("unknown contents"),
            Contents::Unread { problem } | Contents::Damaged { problem } => self.note(problem),
        }
    }

    fn efi_variables(&mut self, store: &EfiVariables) {
        let count = format!("{} variables", store.variables.len());
        self.heading("EFI variables", &count);
        let pieces = [Piece { start: 0, bytes: store.used_bytes, colour: HUES[0], title: count }];
        self.bar(&pieces, store.capacity_bytes, 44.0);
        self.axis(store.capacity_bytes);
    }

    fn heading(&mut self, left: &str, right: &str) {
        self.y += 14.0;
        self.text(MARGIN, 17.0, INK, "600", left);
        let _ = writeln!(
            self.body,
            r#"<text x="{:.1}" y="{:.1}" font-size="13" fill="{FAINT}" text-anchor="end">{}</text>"#,
            WIDTH - MARGIN,
            self.y,
            escaped(right)
        );
        self.y += 16.0;
    }

    fn small(&mut self, text: &str) {
        self.y += 4.0;
        self.text(MARGIN, 11.0, FAINT, "400", text);
        self.y += 6.0;
    }

    fn note(&mut self, text: &str) {
        self.text(MARGIN, 15.0, INK, "400", text);
        self.y += 24.0;
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str, title: &str) {
        let title =
            if title.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(title)) };
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.2}" y="{y:.1}" width="{width:.2}" height="{height:.1}" fill="{colour}">{title}</rect>"#
        );
    }

    fn text(&mut self, x: f64, size: f64, colour: &str, weight: &str, text: &str) {
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{:.1}" font-size="{size}" fill="{colour}" font-weight="{weight}">{}</text>"#,
            self.y,
            escaped(text)
        );
    }

    fn finish(self) -> String {
        let height = self.y + 10.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} \
             {height:.0}\" font-family=\"Inter, 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }
}

fn float(n: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::as_conversions,
        reason = "a picture has no use for more than 52 bits"
    )]
    {
        n as f64
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
