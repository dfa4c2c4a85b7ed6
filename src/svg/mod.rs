//! A picture of a disk: each row is a bar to scale, the rows below it show what the bar above consists of.

mod bar;
pub mod drawing;
mod ext4;
mod fat;
pub mod measure;
mod partitions;

use imagegen::reading::inspect::{Contents, EfiVariables, Inspection};
use imagegen::units::ByteCount;

use bar::{Bar, HUES};
use drawing::{Drawing, FAINT, INK, Style};

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 40.0;
const BAR: f64 = WIDTH - 2.0 * MARGIN;

/// Draws what was found.
pub fn draw(inspection: &Inspection) -> String {
    let mut picture = Picture { drawing: Drawing::default(), y: 40.0 };
    let disk = inspection.container.virtual_bytes;
    let file = inspection.container.files.first();
    let name = file.map_or("", |file| file.path.rsplit('/').next().unwrap_or_default());
    picture.text(Style::new(22.0, INK).bold(true), name);
    picture.y += 22.0;
    if let Some(file) = file {
        let line = format!(
            "{} · disk of {} · file of {}",
            file.format,
            ByteCount(file.virtual_bytes),
            ByteCount(file.file_bytes)
        );
        picture.text(Style::new(14.0, FAINT), &line);
    }
    picture.y += 34.0;
    picture.contents(&inspection.contents, disk);
    picture.drawing.finish(WIDTH, picture.y + 10.0)
}

struct Picture {
    drawing: Drawing,
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
        let mut bar = Bar::new(store.capacity_bytes);
        bar.piece(HUES[0], &count, [(0, store.used_bytes)]);
        self.bar(&bar, 44.0);
    }

    fn heading(&mut self, left: &str, right: &str) {
        self.y += 14.0;
        self.text(Style::new(17.0, INK).bold(true), left);
        let right_end = (WIDTH - MARGIN, self.y);
        self.drawing.text(right_end, Style::new(13.0, FAINT).anchored("end"), right);
        self.y += 16.0;
    }

    fn small(&mut self, text: &str) {
        self.y += 4.0;
        self.text(Style::new(11.0, FAINT), text);
        self.y += 6.0;
    }

    fn note(&mut self, text: &str) {
        self.text(Style::new(15.0, INK), text);
        self.y += 24.0;
    }

    fn text(&mut self, style: Style, text: &str) {
        self.drawing.text((MARGIN, self.y), style, text);
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
