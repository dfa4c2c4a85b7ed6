//! A picture of a disk: each row is a bar to scale, the rows below it show what the bar above consists of.

use std::fmt::Write;

use imagegen::inspect::{Contents, Ext4, Fat, Inspection, Partition, Table};
use imagegen::units::ByteCount;

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 40.0;
const BAR: f64 = WIDTH - 2.0 * MARGIN;
/// Store paths that get a colour and a line of their own.
const PATHS: usize = 10;
/// Files of a system partition that do.
const FILES: usize = 10;

const INK: &str = "#1f2933";
const FAINT: &str = "#7b8794";
const EMPTY: &str = "#eef1f4";
const METADATA: &str = "#52606d";
const TABLES: &str = "#9aa5b1";
const OTHER: &str = "#cbd2d9";
/// Ten hues of like weight that differ in lightness too, so that they can be told apart without colour vision.
const HUES: [&str; 10] = [
    "#2f6fab", "#e08e2b", "#3f9b6e", "#c4504b", "#7d62a8", "#b9a32f", "#4bb0c9", "#d77fa1", "#8a6a4f",
    "#6fae3f",
];

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

/// A coloured stretch of a bar, in bytes from its start.
struct Piece<'a> {
    start: u64,
    bytes: u64,
    colour: &'a str,
    title: String,
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
            Contents::EfiVariables(store) => {
                let pieces = [Piece {
                    start: 0,
                    bytes: store.used_bytes,
                    colour: HUES[0],
                    title: format!("{} variables", store.variables.len()),
                }];
                self.heading("EFI variables", &format!("{} variables", store.variables.len()));
                self.bar(&pieces, store.capacity_bytes, 44.0);
                self.axis(store.capacity_bytes);
            }
            Contents::Other { name } => self.note(name),
            Contents::Zeros => self.note("zeros"),
            Contents::Unknown => self.note("unknown contents"),
            Contents::Damaged { problem } => self.note(problem),
        }
    }

    fn partitions(&mut self, table: &Table, size: u64) {
        let hybrid = if table.hybrid { " with hybrid MBR" } else { "" };
        self.heading(
            &format!("Disk · {}{hybrid}", table.scheme.to_uppercase()),
            &format!("{} partitions", table.partitions.len()),
        );
        let mut pieces: Vec<Piece<'_>> = Vec::new();
        if table.scheme == "gpt" {
            let block = table.block_bytes;
            // MBR, header and entries; the backup without the MBR.
            let backup = size.saturating_sub(33 * block);
            for (start, bytes) in [(0, 34 * block), (backup, 33 * block)] {
                pieces.push(Piece { start, bytes, colour: METADATA, title: "partition table".to_owned() });
            }
        }
        for (i, partition) in table.partitions.iter().enumerate() {
            pieces.push(Piece {
                start: partition.start_bytes,
                bytes: partition.bytes,
                colour: HUES[i % HUES.len()],
                title: title_of(partition),
            });
        }
        self.bar(&pieces, size, 52.0);
        self.axis(size);
        let legend: Vec<(&str, String, String)> = table
            .partitions
            .iter()
            .enumerate()
            .map(|(i, partition)| {
                (HUES[i % HUES.len()], title_of(partition), ByteCount(partition.bytes).to_string())
            })
            .collect();
        self.legend(&legend);
        for partition in &table.partitions {
            match &partition.contents {
                Contents::Ext4(file_system) => self.ext4(file_system),
                Contents::Fat(file_system) => self.fat(file_system, partition.bytes, partition.start_bytes),
                _ => {}
            }
        }
    }

    fn fat(&mut self, file_system: &Fat, size: u64, start: u64) {
        let label = file_system.label.as_deref().unwrap_or("no label");
        self.heading(
            &format!("{} · {label}", file_system.width),
            &format!(
                "{} free of {}",
                ByteCount(u64::from(file_system.free_clusters) * file_system.cluster_bytes),
                ByteCount(size)
            ),
        );
        let mut pieces = vec![Piece {
            start: 0,
            bytes: file_system.data_start,
            colour: METADATA,
            title: "boot sector, allocation tables and root directory".to_owned(),
        }];
        let mut files: Vec<_> =
            file_system.files.iter().filter(|file| !file.directory && file.bytes > 0).collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
        let mut legend = vec![(
            METADATA,
            "boot sector, allocation tables, root directory".to_owned(),
            ByteCount(file_system.data_start).to_string(),
        )];
        for (i, file) in files.iter().enumerate() {
            let colour = HUES.get(i).filter(|_| i < FILES).copied().unwrap_or(OTHER);
            if i < FILES {
                legend.push((colour, file.path.clone(), ByteCount(file.bytes).to_string()));
            }
            if let Some(offset) = file.guest_offset {
                pieces.push(Piece {
                    start: offset.saturating_sub(start),
                    bytes: file.bytes,
                    colour,
                    title: file.path.clone(),
                });
            }
        }
        self.bar(&pieces, size, 52.0);
        self.axis(size);
        self.legend(&legend);
    }

    fn ext4(&mut self, file_system: &Ext4) {
        let block = file_system.block_bytes;
        let size = file_system.blocks.saturating_mul(block);
        self.heading(
            &format!("ext4 · {}", if file_system.label.is_empty() { "no label" } else { &file_system.label }),
            &format!(
                "{} files · {} free of {}",
                file_system.usage.files,
                ByteCount(file_system.free_blocks.saturating_mul(block)),
                ByteCount(size)
            ),
        );
        self.groups(file_system, size);
        let mut pieces = tables_of(file_system);
        let tables = pieces.iter().fold(0_u64, |sum, piece| sum.saturating_add(piece.bytes));
        let mut legend = vec![(TABLES, "bitmaps and inode tables".to_owned(), ByteCount(tables).to_string())];
        for (i, path) in file_system.store_paths.iter().enumerate() {
            let colour = HUES.get(i).filter(|_| i < PATHS).copied().unwrap_or(OTHER);
            if i < PATHS && path.usage.allocated_bytes > 0 {
                let size = ByteCount(path.usage.allocated_bytes).to_string();
                legend.push((colour, without_hash(&path.name).to_owned(), size));
            }
            pieces.extend(path.places.iter().map(|&(start, bytes)| Piece {
                start,
                bytes,
                colour,
                title: path.name.clone(),
            }));
        }
        if file_system.store_paths.len() > PATHS {
            let rest = file_system.store_paths.iter().skip(PATHS);
            let bytes = rest.map(|path| path.usage.allocated_bytes).sum();
            let count = file_system.store_paths.len() - PATHS;
            legend.push((OTHER, format!("{count} smaller paths"), ByteCount(bytes).to_string()));
        }
        legend.push((
            EMPTY,
            "free".to_owned(),
            ByteCount(file_system.free_blocks.saturating_mul(block)).to_string(),
        ));
        self.bar(&pieces, size, 72.0);
        self.axis(size);
        self.legend(&legend);
    }

    /// A thin bar of block groups, filled from below by how full each is.
    fn groups(&mut self, file_system: &Ext4, size: u64) {
        let height = 26.0;
        self.small("block groups, each filled as far as it is in use");
        for group in &file_system.groups {
            let (x, width) = place(
                group.first_block.saturating_mul(file_system.block_bytes),
                group.blocks.saturating_mul(file_system.block_bytes),
                size,
            );
            let used = 1.0 - float(group.free_blocks.into()) / float(group.blocks.max(1));
            let gap = if width > 6.0 { 1.5 } else { 0.0 };
            let full = height * used.clamp(0.0, 1.0);
            self.rect(x, self.y, width - gap, height, EMPTY, "");
            self.rect(x, self.y + height - full, width - gap, full, METADATA, "");
        }
        self.y += height + 12.0;
        self.small("contents");
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

    /// A bar of `size` bytes. What is thinner than a hair is drawn as one, so that it is seen at all.
    fn bar(&mut self, pieces: &[Piece<'_>], size: u64, height: f64) {
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
    fn axis(&mut self, size: u64) {
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

    /// Colours and what they mean, in two columns.
    fn legend(&mut self, entries: &[(&str, String, String)]) {
        let half = entries.len().div_ceil(2).max(1);
        let top = self.y;
        for (column, entries) in entries.chunks(half).enumerate() {
            let x = if column == 0 { MARGIN } else { MARGIN + BAR / 2.0 + 12.0 };
            self.y = top;
            for (colour, name, size) in entries {
                self.y += 20.0;
                self.rect(x, self.y - 11.0, 13.0, 13.0, colour, "");
                self.text(x + 21.0, 13.0, INK, "400", &shortened(name, 62));
                let _ = writeln!(
                    self.body,
                    r#"<text x="{:.1}" y="{:.1}" font-size="13" fill="{FAINT}" text-anchor="end">{size}</text>"#,
                    x + BAR / 2.0 - 12.0,
                    self.y
                );
            }
        }
        self.y = top + 20.0 * float(u64::try_from(half).unwrap_or_default()) + 34.0;
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

/// Where the bitmaps and inode tables of all groups lie; those of many groups are one piece.
fn tables_of(file_system: &Ext4) -> Vec<Piece<'static>> {
    let block = file_system.block_bytes;
    let mut blocks: Vec<(u64, u64)> = Vec::new();
    for group in &file_system.groups {
        let [block_bitmap, inode_bitmap, inode_table] = group.tables;
        blocks.extend([(block_bitmap, 1), (inode_bitmap, 1), (inode_table, group.inode_table_blocks)]);
    }
    blocks.sort_unstable();
    let mut pieces: Vec<Piece<'static>> = Vec::new();
    for (start, count) in blocks {
        let (start, bytes) = (start.saturating_mul(block), count.saturating_mul(block));
        match pieces.last_mut() {
            Some(last) if last.start.saturating_add(last.bytes) == start => {
                last.bytes = last.bytes.saturating_add(bytes);
            }
            _ => pieces.push(Piece {
                start,
                bytes,
                colour: TABLES,
                title: "bitmaps and inode tables".to_owned(),
            }),
        }
    }
    pieces
}

fn title_of(partition: &Partition) -> String {
    let name = if partition.name.is_empty() { partition.type_name } else { &partition.name };
    let what = match &partition.contents {
        Contents::Ext4(_) => "ext4",
        Contents::Fat(file_system) => file_system.width,
        Contents::Other { name } => name,
        Contents::Zeros => "zeros",
        _ => "",
    };
    format!("{} · {name} · {what}", partition.number)
}

/// The left edge and width of a stretch of bytes.
fn place(start: u64, bytes: u64, size: u64) -> (f64, f64) {
    let scale = BAR / float(size.max(1));
    let x = float(start) * scale;
    (MARGIN + x.min(BAR), (float(bytes) * scale).min(BAR - x.min(BAR)))
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

/// A store path's name; its hash tells people nothing.
fn without_hash(name: &str) -> &str {
    match name.split_once('-') {
        Some((hash, rest)) if hash.len() == 32 => rest,
        _ => name,
    }
}

fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let tail: Vec<char> = text.chars().rev().take(limit / 2).collect();
    let head: String = text.chars().take(limit / 2).collect();
    format!("{head}…{}", tail.into_iter().rev().collect::<String>())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
