//! docs/troubleshooting.md: the messages that it quotes, with `…` for what differs each time.

use std::fs;
use std::path::Path;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use testkit::project;

/// What stands for a path, a name or a number.
const ANYTHING: char = '…';

/// A row of the page.
pub struct Row {
    /// Whose message it is; nothing for this program's own.
    pub of_others: bool,
    /// The message.
    pub message: String,
}

impl Row {
    /// Whether the text has the message in it.
    pub fn is_in(&self, text: &str) -> bool {
        let mut rest = text;
        self.message.split(ANYTHING).all(|piece| {
            let found = rest.split_once(piece.trim_matches(' '));
            rest = found.map_or("", |(_, behind)| behind);
            found.is_some()
        })
    }

    /// The words that stand in the sources as they are: what is between things that differ, and clauses that are written
    /// by different pieces of code.
    pub fn pieces(&self) -> Vec<&str> {
        let ends = |c: char| " `'.,;:".contains(c);
        let clauses = self.message.split(ANYTHING).flat_map(|piece| piece.split("; "));
        let clauses = clauses.flat_map(|clause| clause.split(" (is --store-root right?)"));
        clauses.map(|clause| clause.trim_matches(ends)).filter(|clause| !clause.is_empty()).collect()
    }
}

/// Every row of every table.
pub fn rows() -> Vec<Row> {
    let page = fs::read_to_string(project().join("docs/troubleshooting.md")).unwrap();
    let (mut rows, mut heading, mut in_heading, mut cell) = (Vec::new(), String::new(), false, 0);
    for event in Parser::new_ext(&page, Options::ENABLE_TABLES) {
        let of_others = heading.starts_with("What other programs say");
        match event {
            Event::Start(Tag::Heading { .. }) => (heading, in_heading) = (String::new(), true),
            Event::End(TagEnd::Heading(_)) => in_heading = false,
            Event::Text(text) if in_heading => heading.push_str(&text),
            Event::Start(Tag::TableRow) => cell = 0,
            Event::End(TagEnd::TableCell) => cell += 1,
            Event::Code(code)
                if cell == usize::from(of_others) && !in_heading && !heading.starts_with("Tr") =>
            {
                rows.push(Row { of_others, message: code.trim().to_owned() });
            }
            _ => {}
        }
    }
    assert!(rows.len() > 40, "{} rows", rows.len());
    rows
}

/// All source text of program and library, with the texts in it as they are printed: lines put together, and constants
/// and quotation marks as they come out.
pub fn sources() -> String {
    let mut all = String::new();
    let mut directories = vec![project().join("src"), project().join("imagegen/src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                all += &as_printed(&entry.path());
            }
        }
    }
    all
}

fn as_printed(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let mut pieces = text.split("\\\n");
    let mut joined = pieces.next().unwrap().to_owned();
    pieces.for_each(|piece| joined += piece.trim_start());
    joined.replace("{STORE_DIR}", "/nix/store").replace("\\\"", "\"")
}
