//! A bar as text. What has no room in the window is left out, the dearest last: sizes, then speed, then the bar itself.

use std::fmt::Write;
use std::time::Duration;

use imagegen::units::ByteCount;

/// Without as many cells a bar says nothing.
const BAR_LEAST: usize = 4;
/// What else there is may not make it shorter than this.
const BAR_GOOD: usize = 7;
/// Its brackets.
const AROUND_BAR: usize = 2;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Nobody waits so long; it is the speed that is not known yet.
const REMAINING_MAX: Duration = Duration::from_secs(100 * DAY);

/// How far a phase is.
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub phase: &'static str,
    pub bytes: u64,
    /// Zero where nobody knows.
    pub total: u64,
    pub elapsed: Duration,
    pub per_second: u64,
    pub remaining: Option<Duration>,
}

impl View {
    /// The line, of at most `columns` characters, all of them ASCII.
    pub fn line(&self, columns: usize) -> String {
        let (bytes, total) = (ByteCount(self.bytes).to_string(), ByteCount(self.total));
        let speed = format!("  {:>10}/s", ByteCount(self.per_second).to_string());
        let elapsed = format!("  {:>5}", clock(self.elapsed));
        let mut line = format!("{:<7}", self.phase);
        if self.total == 0 {
            let _ = write!(line, "  {bytes:>10}");
            let room = columns.saturating_sub(line.len() + elapsed.len());
            if speed.len() <= room {
                line += &speed;
            }
            line += &elapsed;
        } else {
            let remaining = self.remaining.filter(|&remaining| remaining < REMAINING_MAX);
            let remaining = remaining.map_or("-:--".to_owned(), clock);
            let tail = format!("{elapsed}  {remaining:>5} left");
            let _ = write!(line, " {:>3}% ", self.percent());
            let mut room = columns.saturating_sub(line.len() + tail.len());
            let mut figures = String::new();
            let sizes = format!("  {bytes:>10}/{total}");
            for figure in [&speed, &sizes] {
                if figure.len() + AROUND_BAR + BAR_GOOD <= room {
                    room -= figure.len();
                    figures.insert_str(0, figure);
                }
            }
            if let Some(cells) = room.checked_sub(AROUND_BAR).filter(|&cells| cells >= BAR_LEAST) {
                let _ = write!(line, "[{:cells$}]", self.arrow(cells));
            }
            line += &figures;
            line += &tail;
        }
        line.truncate(columns);
        line
    }

    /// Rounded down: only what is whole is 100%.
    fn percent(&self) -> u128 {
        (u128::from(self.bytes) * 100 / u128::from(self.total.max(1))).min(100)
    }

    /// The part that is done of so many cells.
    fn arrow(&self, cells: usize) -> String {
        let (bytes, total) = (u128::from(self.bytes), u128::from(self.total.max(1)));
        let done = u128::try_from(cells).unwrap_or_default() * bytes / total;
        let done = usize::try_from(done).unwrap_or(cells).min(cells);
        let head = if done < cells { ">" } else { "" };
        "=".repeat(done) + head
    }
}

/// `0:07`, `12:34`, `1:02:03`; from 100 hours on `4d05h`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes) = (seconds / HOUR, seconds % HOUR / MINUTE);
    match hours {
        0 => format!("{minutes}:{:02}", seconds % MINUTE),
        1..100 => format!("{hours}:{minutes:02}:{:02}", seconds % MINUTE),
        _ => format!("{}d{:02}h", seconds / DAY, seconds % DAY / HOUR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn view(bytes: u64, total: u64) -> View {
        let seconds = Duration::from_secs;
        View {
            phase: "write",
            bytes,
            total,
            elapsed: seconds(12),
            per_second: 97 << 20,
            remaining: Some(seconds(71)),
        }
    }

    #[test]
    fn bars_of_many_widths() {
        let half = view(GIB, 2 * GIB);
        for (columns, expected) in [
            (39, "write    50% [==>  ]   0:12   1:11 left"),
            (59, "write    50% [=====>     ]    97.0 MiB/s   0:12   1:11 left"),
            (79, "write    50% [=====>     ]     1.0 GiB/2.0 GiB    97.0 MiB/s   0:12   1:11 left"),
        ] {
            assert_eq!(half.line(columns), expected, "{columns}");
        }
        let scan = View { phase: "scan", remaining: None, ..view(GIB, 0) };
        assert_eq!(scan.line(39), "scan        1.0 GiB   0:12");
        assert_eq!(scan.line(59), "scan        1.0 GiB    97.0 MiB/s   0:12");
    }

    #[test]
    fn every_line_fits_and_says_what_matters() {
        let times = [0, 59, 3600, 99 * HOUR + 3599, 100 * HOUR, 99 * DAY].map(Duration::from_secs);
        for columns in 0..250 {
            for (bytes, total) in [(0, 1), (5, 10), (GIB, GIB), (1023 << 20, 1023 << 30), (u64::MAX, 7)] {
                for time in times {
                    let view = View { elapsed: time, remaining: Some(time), ..view(bytes, total) };
                    let line = view.line(columns);
                    assert!(line.len() <= columns && line.is_ascii(), "{columns}: {line}");
                    if columns >= 39 {
                        assert!(line.ends_with(&format!("{} left", clock(time))), "{columns}: {line}");
                        assert!(line.contains(&format!(" {}% ", view.percent())), "{columns}: {line}");
                        // All of the width, so that what stood there before is not seen.
                        assert!(line.len() == columns || !line.contains('['), "{columns}: {line}");
                    }
                    let unknown = View { total: 0, ..view }.line(columns);
                    assert!(unknown.len() <= columns, "{columns}: {unknown}");
                }
            }
        }
    }

    #[test]
    fn only_what_is_done_is_full() {
        assert!(view(GIB - 1, GIB).line(60).contains(" 99% [===="));
        assert!(view(GIB - 1, GIB).line(60).contains(">]"));
        assert!(view(GIB, GIB).line(60).contains("100% [============]"));
        assert!(view(0, GIB).line(60).contains("  0% [>  "));
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let never = Duration::from_secs(u64::MAX);
        for remaining in [None, Some(never)] {
            let line = View { remaining, ..view(1, GIB) }.line(60);
            assert!(line.ends_with("  0:12   -:-- left"), "{line}");
        }
    }
}
