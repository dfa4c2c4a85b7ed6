//! Results as text.

use std::fmt::Write;

use imagegen::units::ByteCount;

use super::contenders::{Contender, Program};
use super::results::{Failed, Outcome, Results};
use super::setup::NEW_OUTPUT;
use crate::table::aligned;

/// Results for a person: the figures, who failed and why, the commands, and who could not take part.
pub fn results(results: &Results) -> String {
    let mut rows =
        vec![["", "median", "min..max", "× limit", "× qcow2", "memory", "on disk"].map(str::to_owned)];
    rows.extend(results.results.iter().map(row));
    let width = results.failed.iter().map(|failed| failed.contender.name.chars().count());
    let width = width.chain(rows.iter().map(|row| row[0].chars().count())).max().unwrap_or(0);
    // As wide as the names of those that failed.
    rows[0][0] = " ".repeat(width);
    let mut text = format!("{}\n{}\n", results.title, results.machine.summary());
    let plural = if results.rounds == 1 { "" } else { "s" };
    let _ = writeln!(text, "{} round{plural}, everybody in turn, input in memory\n", results.rounds);
    text.push_str(&aligned(&rows, "", 1..7));
    for Failed { contender, failure, .. } in &results.failed {
        let in_round =
            if results.rounds == 1 { String::new() } else { format!(" in round {}", failure.round) };
        let _ = writeln!(text, "{:width$}  failed{in_round} ({})", contender.name, failure.reason);
    }
    text.push_str("\nTo run one again, in a shell that has carried out\n");
    for line in &results.setup {
        let _ = writeln!(text, "  {line}");
    }
    let failed = results.failed.iter().map(|failed| &failed.contender);
    for contender in results.results.iter().map(|outcome| &outcome.contender).chain(failed) {
        let Contender { name, about, command, .. } = contender;
        let _ = writeln!(text, "{name}: {about}\n  {NEW_OUTPUT}\n  {}", command.replace('\n', "\n  "));
    }
    if !results.missing.is_empty() {
        text.push_str("\nNot here:\n");
        for missing in &results.missing {
            let _ = writeln!(text, "  {}: install {}", missing.name, packages(&missing.programs));
        }
    }
    text
}

fn row(outcome: &Outcome) -> [String; 7] {
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), times);
    let spread = format!("{}..{}", seconds(outcome.min_seconds), seconds(outcome.max_seconds));
    [
        outcome.contender.name.clone(),
        seconds(outcome.median_seconds),
        spread,
        ratio(outcome.times_limit),
        ratio(outcome.times_reference),
        ByteCount(outcome.peak_memory_bytes).to_string(),
        ByteCount(outcome.output_bytes).to_string(),
    ]
}

/// All contenders, for `--list`.
pub fn list(contenders: &[Contender], missing: impl Fn(&Contender) -> Vec<Program>) -> String {
    let mut rows = Vec::new();
    for contender in contenders {
        let missing = missing(contender);
        let state =
            if missing.is_empty() { "ready".to_owned() } else { format!("install {}", packages(&missing)) };
        let about = format!("{}{}", contender.role.prefix(), contender.about);
        rows.push([contender.name.clone(), about, state]);
    }
    aligned(&rows, "", 0..0)
}

/// The Debian packages that have these programs.
fn packages(programs: &[Program]) -> String {
    let of = |program: &Program| format!("{} (Debian: {})", program.program, program.package);
    programs.iter().map(of).collect::<Vec<_>>().join(", ")
}

/// A time with three digits or so: `12.3 ms`, `2.41 s`, `143 s`.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        _ if seconds < 0.1 => format!("{:.1} ms", seconds * 1000.0),
        _ if seconds < 10.0 => format!("{seconds:.2} s"),
        _ if seconds < 100.0 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// A ratio: `0.82`, `14.3`, `312`; `0.071` and `2e-5` where it is small.
pub fn times(ratio: f64) -> String {
    match ratio {
        _ if ratio < 0.001 => format!("{ratio:.0e}"),
        _ if ratio < 0.1 => format!("{ratio:.3}"),
        _ if ratio < 10.0 => format!("{ratio:.2}"),
        _ if ratio < 100.0 => format!("{ratio:.1}"),
        _ if ratio < 100_000.0 => format!("{ratio:.0}"),
        _ => format!("{ratio:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn ratios_of_all_sizes() {
        for (ratio, shown) in [
            (0.000_02, "2e-5"),
            (0.0712, "0.071"),
            (0.95, "0.95"),
            (1.0, "1.00"),
            (14.31, "14.3"),
            (312.4, "312"),
            (99_999.0, "99999"),
            (120_000_000.0, "1e8"),
        ] {
            assert_eq!(super::times(ratio), shown);
        }
    }
}
