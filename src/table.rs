//! Tables as text.

/// Rows of columns, each as wide as its widest cell. From this column to that one cells stand at the right.
pub fn aligned<const N: usize>(rows: &[[String; N]], indent: &str, right: std::ops::Range<usize>) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        text.push_str(indent);
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// What tables and lists are made to fit: a terminal's usual width.
pub const COLUMNS: usize = 80;

/// As [`aligned`], in [`COLUMNS`]: a last cell for which a row has no room stands below it, wrapped where it can be.
pub fn fitted<const N: usize>(rows: &[[String; N]], indent: &str) -> String {
    let table = aligned(rows, indent, 0..0);
    let below = format!("{indent}    ");
    let mut text = String::new();
    for (line, row) in table.lines().zip(rows) {
        match row.last() {
            Some(last) if N > 1 && line.chars().count() > COLUMNS => {
                text.push_str(line.strip_suffix(last.as_str()).unwrap_or(line).trim_end());
                text.push('\n');
                text.push_str(&wrapped(&below, &below, last, &[' ', ',', '/']));
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// Lines of at most [`COLUMNS`], broken behind these characters only: what has none of them stays whole, however long.
pub fn wrapped(first: &str, other: &str, text: &str, breaks: &[char]) -> String {
    let mut lines = String::new();
    let mut line = first.to_owned();
    let mut begun = false;
    for piece in text.split_inclusive(breaks) {
        if begun && line.chars().count() + piece.trim_end().chars().count() > COLUMNS {
            lines.push_str(line.trim_end());
            lines.push('\n');
            other.clone_into(&mut line);
        }
        line.push_str(piece);
        begun = true;
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_wide_stands_below() {
        let (guid, long) = ("f222513b-ded1-49fa-b591-20ce86a2fe7f", "x".repeat(90));
        let value = format!("VenMsg({guid}),").repeat(3);
        let row = |value: &str| ["name".to_owned(), guid.to_owned(), value.to_owned()];
        let text = fitted(&[row("short"), row(&value), row(&long)], "  ");
        let lines: Vec<_> = text.lines().collect();
        let piece = format!("VenMsg({guid}),");
        assert_eq!(lines[0], format!("  name  {guid}  short"));
        assert_eq!(lines[1], format!("  name  {guid}"));
        assert_eq!(lines[2..5], vec![format!("      {piece}"); 3]);
        assert_eq!(lines[5..], [format!("  name  {guid}"), format!("      {long}")]);
        assert!(lines[..6].iter().all(|line| line.len() <= COLUMNS));
    }

    #[test]
    fn words_are_kept_whole() {
        let text = wrapped("a  ", "   ", &"word ".repeat(30), &[' ']);
        assert!(text.lines().all(|line| line.len() <= COLUMNS && !line.ends_with(' ')));
        assert_eq!(text.split_whitespace().filter(|&word| word == "word").count(), 30);
        assert_eq!(wrapped("a", "", "", &[' ']), "a\n");
    }
}
