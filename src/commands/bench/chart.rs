//! Results as a drawing (SVG 1.1): a row for each contender, the quickest first; those that failed come last.
//!
//! Times that lie within a factor of a hundred are bars on a linear scale, since the length of a bar is what the eye
//! compares. Beyond that the small ones would vanish: then they are dots on a logarithmic scale, which has no zero
//! for a bar to begin at.

use imagegen::units::ByteCount;

use super::contenders::{Contender, REFERENCE, Role};
use super::results::{Failed, Outcome, Results};
use super::table::{seconds, times};
use crate::svg::drawing::{Drawing, FAINT, INK, Style};
use crate::svg::measure;

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 28.0;
/// Names and descriptions have so much room at least and at most; what is longer is cut off.
const LABEL_LEAST: f64 = 120.0;
const LABEL_MOST: f64 = 320.0;
const NAME: f64 = 13.0;
const ABOUT: f64 = 10.5;
const TICK: f64 = 11.0;
/// Between a label and the plot; more than the radius of a dot.
const GAP: f64 = 16.0;
const DOT: f64 = 6.0;
const PLOT_RIGHT: f64 = 690.0;
/// Where the columns of figures end.
const MEDIAN_RIGHT: f64 = 770.0;
const RATIO_RIGHT: f64 = 846.0;
const MEMORY_RIGHT: f64 = WIDTH - MARGIN;
const ROWS_TOP: f64 = 118.0;
const ROW: f64 = 42.0;
const BAR: f64 = 18.0;
/// Below the rows: the scale.
const SCALE_HEIGHT: f64 = 32.0;
/// The line about the machine, with what is around it.
const FOOT: f64 = 44.0;
/// A bar is at least this long, so that it is seen.
const BAR_LEAST: f64 = 2.0;
/// The largest ratio of two times on a linear scale.
const LINEAR_MOST: f64 = 100.0;

const OURS: &str = "#0f766e";
const LIMIT: &str = "#94a3b8";
const PEER: &str = "#c9d3df";
const GRID: &str = "#e8edf3";
const FAILED: &str = "#b42318";

/// Draws the results.
pub fn draw(results: &Results) -> String {
    let mut rows: Vec<&Outcome> = results.results.iter().collect();
    rows.sort_by(|a, b| a.median_seconds.total_cmp(&b.median_seconds));
    let labels = rows.iter().map(|row| &row.contender);
    let labels: Vec<_> = labels.chain(results.failed.iter().map(|failed| &failed.contender)).collect();
    let scale = Scale::of(&rows, plot_left(&labels));
    let mut svg = Drawing::default();
    heading(&mut svg, results, &scale);
    let mut y = ROWS_TOP;
    if !rows.is_empty() {
        let rows_end = rows.iter().fold(ROWS_TOP, |y, _| y + ROW);
        grid(&mut svg, &scale, rows_end);
        for outcome in rows {
            row(&mut svg, outcome, &scale, y);
            y += ROW;
        }
        y += SCALE_HEIGHT;
    }
    for failed in &results.failed {
        failed_row(&mut svg, failed, &scale, y);
        y += ROW;
    }
    let height = y + FOOT;
    let room = WIDTH - 2.0 * MARGIN;
    svg.fitted((MARGIN, height - 20.0), Style::new(11.0, FAINT), &results.machine.summary(), room);
    svg.finish(WIDTH, height)
}

/// Where the plot begins: behind the longest label that is no longer than a label may be.
fn plot_left(contenders: &[&Contender]) -> f64 {
    let width = |contender: &&Contender| {
        let name = measure::width(&label(contender), NAME, contender.role == Role::Ours);
        name.max(measure::width(&contender.about, ABOUT, false))
    };
    let widest = contenders.iter().map(width).fold(LABEL_LEAST, f64::max);
    (MARGIN + widest.min(LABEL_MOST) + GAP).ceil()
}

fn label(contender: &Contender) -> String {
    format!("{}{}", contender.role.prefix(), contender.name)
}

fn heading(svg: &mut Drawing, results: &Results, scale: &Scale) {
    let room = WIDTH - 2.0 * MARGIN;
    svg.fitted((MARGIN, 42.0), Style::new(20.0, INK).bold(true), &results.title, room);
    let runs = match results.rounds {
        1 => "One run each".to_owned(),
        rounds => format!("Median of {rounds} runs in turn, with lines from the shortest to the longest"),
    };
    let better = match scale.kind {
        Kind::Linear { .. } => "shorter is better",
        Kind::Logarithmic { .. } => "logarithmic scale, further left is better",
    };
    svg.text((MARGIN, 64.0), Style::new(13.0, FAINT), &format!("{runs}; {better}"));
    if results.results.is_empty() {
        return;
    }
    for (x, name) in [(MEDIAN_RIGHT, "time"), (RATIO_RIGHT, "vs qcow2"), (MEMORY_RIGHT, "memory")] {
        svg.text((x, ROWS_TOP - 14.0), Style::new(11.0, FAINT).anchored("end"), name);
    }
}

fn grid(svg: &mut Drawing, scale: &Scale, rows_end: f64) {
    let ticks = scale.ticks();
    let labels: Vec<_> = ticks.iter().map(|&tick| (scale.x(tick), tick_label(tick))).collect();
    for &(x, _) in &labels {
        svg.line((x, ROWS_TOP - 4.0), (x, rows_end + 4.0), GRID, 1.0);
    }
    for (x, label) in labels.iter().step_by(stride(&labels)) {
        svg.text((*x, rows_end + 20.0), Style::new(TICK, FAINT).anchored("middle"), label);
    }
}

/// Which lines have labels, every one or every so many, so that there is room between them.
fn stride(labels: &[(f64, String)]) -> usize {
    let half = |label: &str| measure::width(label, TICK, false) / 2.0;
    let fits = |stride: usize| {
        let shown: Vec<_> = labels.iter().step_by(stride).collect();
        shown.windows(2).all(|pair| pair[0].0 + half(&pair[0].1) + TICK < pair[1].0 - half(&pair[1].1))
    };
    (1..labels.len()).find(|&stride| fits(stride)).unwrap_or(labels.len().max(1))
}

fn row(svg: &mut Drawing, outcome: &Outcome, scale: &Scale, y: f64) {
    let middle = y + ROW / 2.0;
    let contender = &outcome.contender;
    let colour = match contender.role {
        Role::Ours => OURS,
        Role::Limit => LIMIT,
        Role::Peer => PEER,
    };
    labels(svg, contender, scale, middle);
    let x = scale.x(outcome.median_seconds);
    match scale.kind {
        Kind::Linear { .. } => {
            let width = (x - scale.left).max(BAR_LEAST);
            svg.rect((scale.left, middle - BAR / 2.0), (width, BAR), colour, "");
        }
        Kind::Logarithmic { .. } => {
            svg.line((scale.left, middle), (PLOT_RIGHT, middle), GRID, 1.0);
            svg.element(format_args!(r#"<circle cx="{x:.1}" cy="{middle:.1}" r="{DOT}" fill="{colour}"/>"#));
        }
    }
    spread(svg, outcome, scale, middle);
    figures(svg, outcome, middle + 4.0, contender.role == Role::Ours);
}

/// Who it is, to the left of the plot.
fn labels(svg: &mut Drawing, contender: &Contender, scale: &Scale, middle: f64) {
    let is_ours = contender.role == Role::Ours;
    let ink = if is_ours { OURS } else { INK };
    let room = scale.left - GAP - MARGIN;
    svg.fitted((MARGIN, middle - 2.0), Style::new(NAME, ink).bold(is_ours), &label(contender), room);
    svg.fitted((MARGIN, middle + 13.0), Style::new(ABOUT, FAINT), &contender.about, room);
}

/// In place of a bar the reason.
fn failed_row(svg: &mut Drawing, failed: &Failed, scale: &Scale, y: f64) {
    let middle = y + ROW / 2.0;
    labels(svg, &failed.contender, scale, middle);
    let reason = format!("failed ({})", failed.failure.reason);
    let room = WIDTH - MARGIN - scale.left;
    svg.fitted((scale.left, middle + 4.0), Style::new(12.0, FAILED), &reason, room);
}

/// A line from the shortest to the longest time, with an end at each side.
fn spread(svg: &mut Drawing, outcome: &Outcome, scale: &Scale, middle: f64) {
    let (from, to) = (scale.x(outcome.min_seconds), scale.x(outcome.max_seconds));
    if to - from < 1.0 {
        return;
    }
    svg.line((from, middle), (to, middle), INK, 1.2);
    for x in [from, to] {
        svg.line((x, middle - 4.0), (x, middle + 4.0), INK, 1.2);
    }
}

fn figures(svg: &mut Drawing, outcome: &Outcome, y: f64, is_ours: bool) {
    let ratio = match outcome.times_reference {
        Some(_) if outcome.contender.name == REFERENCE => "1".to_owned(),
        Some(ratio) => format!("× {}", times(ratio)),
        None => String::new(),
    };
    let columns = [
        (MEDIAN_RIGHT, seconds(outcome.median_seconds), INK),
        (RATIO_RIGHT, ratio, INK),
        (MEMORY_RIGHT, ByteCount(outcome.peak_memory_bytes).to_string(), FAINT),
    ];
    for (x, figure, ink) in columns {
        svg.text((x, y), Style::new(12.5, ink).bold(is_ours).anchored("end"), &figure);
    }
}

/// From times to places.
struct Scale {
    /// Where the plot begins.
    left: f64,
    kind: Kind,
}

enum Kind {
    /// From zero.
    Linear { end: f64, step: f64 },
    /// Between two powers of ten, given by their exponents.
    Logarithmic { from: i32, to: i32 },
}

impl Scale {
    fn of(rows: &[&Outcome], left: f64) -> Self {
        Self { left, kind: Kind::of(rows) }
    }

    fn x(&self, seconds: f64) -> f64 {
        let part = match self.kind {
            Kind::Linear { end, .. } => seconds / end,
            Kind::Logarithmic { from, to } => {
                (seconds.log10() - f64::from(from)) / f64::from((to - from).max(1))
            }
        };
        self.left + part * (PLOT_RIGHT - self.left)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.kind {
            Kind::Linear { end, step } => {
                (0..=20).map(|i| f64::from(i) * step).filter(|tick| *tick <= end + step / 2.0).collect()
            }
            Kind::Logarithmic { from, to } => (from..=to).map(power).collect(),
        }
    }
}

impl Kind {
    fn of(rows: &[&Outcome]) -> Self {
        let most = rows.iter().map(|row| row.max_seconds).fold(f64::MIN_POSITIVE, f64::max);
        let least = rows.iter().map(|row| row.min_seconds).fold(most, f64::min);
        if most / least > LINEAR_MOST {
            let mut scale = (0, 0);
            while power(scale.0) > least {
                scale.0 -= 1;
            }
            while power(scale.1) < most {
                scale.1 += 1;
            }
            return Self::Logarithmic { from: scale.0, to: scale.1 };
        }
        let step = step(most);
        Self::Linear { end: (most / step).ceil() * step, step }
    }
}

fn power(exponent: i32) -> f64 {
    10f64.powi(exponent)
}

/// 1, 2 or 5 times a power of ten, so that there are four to ten steps.
fn step(most: f64) -> f64 {
    let mut power = 1e-9;
    loop {
        for step in [power, 2.0 * power, 5.0 * power] {
            if most / step <= 6.0 {
                return step;
            }
        }
        power *= 10.0;
    }
}

fn tick_label(seconds: f64) -> String {
    if seconds == 0.0 {
        return "0".to_owned();
    }
    // Rounding away what the multiplication left.
    let shown = if seconds < 0.0999 { (seconds * 1e6).round() / 1e3 } else { (seconds * 1e3).round() / 1e3 };
    if seconds < 0.0999 { format!("{shown} ms") } else { format!("{shown} s") }
}
