//! Results as a drawing (SVG 1.1): a row for each contender, the quickest first.
//!
//! Times that lie within a factor of a hundred are bars on a linear scale, since the length of a bar is what the eye
//! compares. Beyond that the small ones would vanish: then they are dots on a logarithmic scale, which has no zero
//! for a bar to begin at.

use imagegen::units::ByteCount;

use super::contenders::{Contender, REFERENCE, Role};
use super::results::{Outcome, Results};
use super::table::{seconds, times};
use crate::svg::drawing::{Drawing, FAINT, INK, Style};

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 28.0;
const PLOT_LEFT: f64 = 288.0;
const PLOT_RIGHT: f64 = 690.0;
/// Where the columns of figures end.
const MEDIAN_RIGHT: f64 = 770.0;
const RATIO_RIGHT: f64 = 846.0;
const MEMORY_RIGHT: f64 = WIDTH - MARGIN;
const ROWS_TOP: f64 = 118.0;
const ROW: f64 = 42.0;
const BAR: f64 = 18.0;
/// From the last row to the end: the scale and a line about the machine.
const FOOT: f64 = 76.0;
/// A bar is at least this long, so that it is seen.
const BAR_LEAST: f64 = 2.0;
/// The largest ratio of two times on a linear scale.
const LINEAR_MOST: f64 = 100.0;

const OURS: &str = "#0f766e";
const LIMIT: &str = "#94a3b8";
const PEER: &str = "#c9d3df";
const GRID: &str = "#e8edf3";

/// Draws the results, of which there is at least one.
pub fn draw(results: &Results) -> String {
    let mut rows: Vec<&Outcome> = results.results.iter().collect();
    rows.sort_by(|a, b| a.median_seconds.total_cmp(&b.median_seconds));
    let scale = Scale::of(&rows);
    let rows_end = rows.iter().fold(ROWS_TOP, |y, _| y + ROW);
    let height = rows_end + FOOT;
    let mut svg = Drawing::default();
    heading(&mut svg, results, &scale);
    grid(&mut svg, &scale, rows_end);
    let mut y = ROWS_TOP;
    for outcome in rows {
        row(&mut svg, outcome, &scale, y);
        y += ROW;
    }
    svg.text((MARGIN, height - 20.0), Style::new(11.0, FAINT), &results.machine.summary());
    svg.finish(WIDTH, height)
}

fn heading(svg: &mut Drawing, results: &Results, scale: &Scale) {
    svg.text((MARGIN, 42.0), Style::new(20.0, INK).bold(true), &results.title);
    let runs = match results.rounds {
        1 => "One run each".to_owned(),
        rounds => format!("Median of {rounds} runs in turn, with lines from the shortest to the longest"),
    };
    let better = match scale {
        Scale::Linear { .. } => "shorter is better",
        Scale::Logarithmic { .. } => "logarithmic scale, further left is better",
    };
    svg.text((MARGIN, 64.0), Style::new(13.0, FAINT), &format!("{runs}; {better}"));
    for (x, name) in [(MEDIAN_RIGHT, "time"), (RATIO_RIGHT, "vs qcow2"), (MEMORY_RIGHT, "memory")] {
        svg.text((x, ROWS_TOP - 14.0), Style::new(11.0, FAINT).anchored("end"), name);
    }
}

fn grid(svg: &mut Drawing, scale: &Scale, rows_end: f64) {
    for tick in scale.ticks() {
        let x = scale.x(tick);
        svg.line((x, ROWS_TOP - 4.0), (x, rows_end + 4.0), GRID, 1.0);
        svg.text((x, rows_end + 20.0), Style::new(11.0, FAINT).anchored("middle"), &tick_label(tick));
    }
}

fn row(svg: &mut Drawing, outcome: &Outcome, scale: &Scale, y: f64) {
    let middle = y + ROW / 2.0;
    let Contender { role, name, about, .. } = &outcome.contender;
    let is_ours = *role == Role::Ours;
    let (colour, ink) = match role {
        Role::Ours => (OURS, OURS),
        Role::Limit => (LIMIT, INK),
        Role::Peer => (PEER, INK),
    };
    let name = format!("{}{name}", role.prefix());
    svg.text((MARGIN, middle - 2.0), Style::new(13.0, ink).bold(is_ours), &name);
    svg.text((MARGIN, middle + 13.0), Style::new(10.5, FAINT), about);
    let x = scale.x(outcome.median_seconds);
    match scale {
        Scale::Linear { .. } => {
            let width = (x - PLOT_LEFT).max(BAR_LEAST);
            svg.rect((PLOT_LEFT, middle - BAR / 2.0), (width, BAR), colour, "");
        }
        Scale::Logarithmic { .. } => {
            svg.line((PLOT_LEFT, middle), (PLOT_RIGHT, middle), GRID, 1.0);
            svg.element(format_args!(r#"<circle cx="{x:.1}" cy="{middle:.1}" r="6" fill="{colour}"/>"#));
        }
    }
    spread(svg, outcome, scale, middle);
    figures(svg, outcome, middle + 4.0, is_ours);
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
enum Scale {
    /// From zero.
    Linear { end: f64, step: f64 },
    /// Between two powers of ten, given by their exponents.
    Logarithmic { from: i32, to: i32 },
}

impl Scale {
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

    fn x(&self, seconds: f64) -> f64 {
        let part = match *self {
            Self::Linear { end, .. } => seconds / end,
            Self::Logarithmic { from, to } => {
                (seconds.log10() - f64::from(from)) / f64::from((to - from).max(1))
            }
        };
        PLOT_LEFT + part * (PLOT_RIGHT - PLOT_LEFT)
    }

    fn ticks(&self) -> Vec<f64> {
        match *self {
            Self::Linear { end, step } => {
                (0..=20).map(|i| f64::from(i) * step).filter(|tick| *tick <= end + step / 2.0).collect()
            }
            Self::Logarithmic { from, to } => (from..=to).map(power).collect(),
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde_json::Value;

    use super::super::machine::Machine;
    use super::super::subject::Description;
    use super::*;

    /// Results out of what docs/pictures/bench.json keeps of them.
    fn recorded(json: &Value) -> Results {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let whole = |value: &Value| value.as_u64().unwrap();
        let outcome = |value: &Value| Outcome {
            contender: match value["role"].as_str().unwrap() {
                "limit" => Role::Limit,
                "ours" => Role::Ours,
                "peer" => Role::Peer,
                other => panic!("{other}"),
            }
            .contender(&text(&value["name"]), &text(&value["about"]), ""),
            median_seconds: value["median_seconds"].as_f64().unwrap(),
            min_seconds: value["min_seconds"].as_f64().unwrap(),
            max_seconds: value["max_seconds"].as_f64().unwrap(),
            times_limit: None,
            times_reference: value["times_reference"].as_f64(),
            peak_memory_bytes: whole(&value["peak_memory_bytes"]),
            output_bytes: 0,
            runs: Vec::new(),
        };
        let machine = &json["machine"];
        Results {
            title: text(&json["title"]),
            subject: Description::BootDisk { toplevel: String::new(), source_bytes: 0 },
            machine: Machine {
                processor: text(&machine["processor"]),
                processors: machine["processors"].as_u64().unwrap().try_into().unwrap(),
                memory_bytes: whole(&machine["memory_bytes"]),
                kernel: text(&machine["kernel"]),
                file_system: text(&machine["file_system"]),
                load_before: machine["load_before"].as_f64().unwrap(),
            },
            rounds: whole(&json["rounds"]).try_into().unwrap(),
            reference: Some(REFERENCE),
            variables: BTreeMap::new(),
            results: json["results"].as_array().unwrap().iter().map(outcome).collect(),
            missing: Vec::new(),
        }
    }

    /// `make pictures` sets `DRAW_PICTURES`, which writes the chart in place of comparing it.
    #[test]
    fn the_chart_of_the_readme_is_drawn_from_recorded_results() {
        let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures");
        let json = std::fs::read(pictures.join("bench.json")).unwrap();
        let drawn = draw(&recorded(&serde_json::from_slice(&json).unwrap()));
        let chart = pictures.join("bench.svg");
        if std::env::var_os("DRAW_PICTURES").is_some() {
            std::fs::write(&chart, &drawn).unwrap();
        }
        let committed = std::fs::read_to_string(&chart).unwrap();
        assert!(committed == drawn, "docs/pictures/bench.svg is another one; `make pictures` draws it anew");
    }
}
