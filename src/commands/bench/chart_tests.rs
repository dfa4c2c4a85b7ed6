//! What charts look like: that of the README, and none with a label where something else is.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use ttf_parser::Face;

use super::chart::draw;
use super::contenders::{REFERENCE, Role};
use super::machine::Machine;
use super::measure::Failure;
use super::results::{Failed, Outcome, Results};
use super::subject::Description;

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
        setup: Vec::new(),
        failed: Vec::new(),
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

/// A rectangle around something that is drawn: left, right, top, bottom.
#[derive(Debug, Clone)]
struct Extent {
    what: String,
    x: (f64, f64),
    y: (f64, f64),
}

impl Extent {
    fn meets(&self, other: &Self) -> bool {
        let over = |a: (f64, f64), b: (f64, f64)| a.0 < b.1 && b.0 < a.1;
        over(self.x, other.x) && over(self.y, other.y)
    }
}

/// An element of a drawing: its name, its attributes and its text.
type Element = (String, BTreeMap<String, String>, Option<String>);

/// The elements of drawings, as Python's XML parser gives them.
fn elements(drawings: &[String]) -> Vec<Vec<Element>> {
    let program = "import json, sys, xml.etree.ElementTree as tree\n\
        drawings = [tree.fromstring(drawing) for drawing in json.load(open(sys.argv[1]))]\n\
        print(json.dumps([[[e.tag.split('}')[1], e.attrib, e.text] for e in d.iter()] for d in drawings]))";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(drawings).unwrap()).unwrap();
    let elements = testkit::tool(&["python3", "-c", program, file.path().to_str().unwrap()]);
    serde_json::from_str(&elements).unwrap()
}

/// The texts and the shapes of a drawing, by the widest of the fonts that it names.
fn extents(elements: &[Element], fonts: &[Face<'_>; 2]) -> (Vec<Extent>, Vec<Extent>) {
    let (mut texts, mut shapes) = (Vec::new(), Vec::new());
    for (tag, attributes, content) in elements {
        let number = |name: &str| attributes[name].parse::<f64>().unwrap();
        let what = format!("{tag} {}", content.clone().unwrap_or_default());
        match tag.as_str() {
            "text" => {
                let bold = attributes["font-weight"] == "600";
                let (size, content) = (number("font-size"), content.clone().unwrap_or_default());
                let (width, above, below) = of_font(&content, size, &fonts[usize::from(bold)]);
                let left = match attributes["text-anchor"].as_str() {
                    "end" => number("x") - width,
                    "middle" => number("x") - width / 2.0,
                    _ => number("x"),
                };
                let y = number("y");
                texts.push(Extent { what, x: (left, left + width), y: (y - above, y + below) });
            }
            "rect" if attributes["width"] != "100%" => {
                let (x, y) = (number("x"), number("y"));
                shapes.push(Extent { what, x: (x, x + number("width")), y: (y, y + number("height")) });
            }
            "circle" => {
                let (x, y, r) = (number("cx"), number("cy"), number("r"));
                shapes.push(Extent { what, x: (x - r, x + r), y: (y - r, y + r) });
            }
            "line" => {
                let half = number("stroke-width") / 2.0;
                let (x, y) = ((number("x1"), number("x2")), (number("y1"), number("y2")));
                shapes.push(Extent { what, x: (x.0 - half, x.1 + half), y: (y.0 - half, y.1 + half) });
            }
            _ => {}
        }
    }
    (texts, shapes)
}

/// The width of a text in a font, and how far it goes above and below its line. A character that the font lacks is taken for
/// as wide as it is high.
fn of_font(text: &str, size: f64, face: &Face<'_>) -> (f64, f64, f64) {
    let em = f64::from(face.units_per_em());
    let advance =
        |c| face.glyph_index(c).and_then(|glyph| face.glyph_hor_advance(glyph)).map_or(em, f64::from);
    let part = size / em;
    let (above, below) = (f64::from(face.ascender()), f64::from(-face.descender()));
    (text.chars().map(advance).sum::<f64>() * part, above * part, below * part)
}

/// Results with these medians, as long as there are any, and these names.
fn made(seconds: &[f64], names: &[&str], reasons: &[&str]) -> Results {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures/bench.json");
    let mut results = recorded(&serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap());
    let mut names = names.iter().cycle();
    results.results.truncate(seconds.len());
    for (outcome, &seconds) in results.results.iter_mut().zip(seconds) {
        outcome.contender.name = (*names.next().unwrap()).to_owned();
        outcome.median_seconds = seconds;
        (outcome.min_seconds, outcome.max_seconds) = (seconds * 0.9, seconds * 1.3);
        outcome.times_reference = Some(seconds / 0.5);
    }
    results.failed = reasons
        .iter()
        .map(|reason| Failed {
            contender: Role::Peer.contender(names.next().unwrap(), "given by --peer", ""),
            failure: Failure {
                round: 1,
                exit_status: Some(1),
                signal: None,
                stderr: Vec::new(),
                reason: (*reason).to_owned(),
            },
            runs: Vec::new(),
        })
        .collect();
    results
}

#[test]
fn no_label_is_over_something_else() {
    let long = "a-contender-with-a-name-".repeat(8);
    let wide = "試験".repeat(60);
    let names: [&[&str]; 4] = [
        &["a"],
        &["cat", "raw", "qcow2", "mkfs.ext4+qcow2", "qcow2-no-verify"],
        &["cat", &long, &wide, "WWWWWWWWWWWWWWWWWWWWWWWWWWWW", "<&\">"],
        &["medium, with some words in it"],
    ];
    let seconds: [&[f64]; 9] = [
        &[],
        &[1.0],
        &[0.000_02, 0.000_021],
        &[5.0, 5.0, 5.0, 5.0, 5.0],
        &[0.01, 0.99, 0.5, 0.77, 0.98],
        &[0.01, 1.01, 0.02, 5.0],
        &[0.000_1, 1.0, 60_000.0],
        &[99_999.0, 1234.0, 99_000.0],
        &[0.88, 1.18, 1.24, 1.4, 32.3],
    ];
    let long_reason = format!("exit status: 127: sh: 1: {long}: not found");
    let reasons: [&[&str]; 3] = [&[], &["exit status: 3: no luck"], &[&long_reason, "signal: 9 (SIGKILL)"]];
    let fonts = ["DejaVuSans", "DejaVuSans-Bold"]
        .map(|name| std::fs::read(format!("/usr/share/fonts/truetype/dejavu/{name}.ttf")).unwrap());
    let fonts = [&fonts[0], &fonts[1]].map(|font| Face::parse(font, 0).unwrap());
    let mut cases = Vec::new();
    let mut drawings = Vec::new();
    for names in names {
        for seconds in seconds {
            for reasons in reasons {
                cases.push((
                    format!("{names:?} {seconds:?} {reasons:?}"),
                    5 * seconds.len() + 3 * reasons.len(),
                ));
                drawings.push(draw(&made(seconds, names, reasons)));
            }
        }
    }
    for ((of, least), elements) in cases.iter().zip(elements(&drawings)) {
        let (texts, shapes) = extents(&elements, &fonts);
        assert!(texts.len() > least + 1 && shapes.len() >= least / 8, "{of}: {texts:#?}");
        let height: f64 = elements[0].1["height"].parse().unwrap();
        for (i, text) in texts.iter().enumerate() {
            let is_inside = text.x.0 >= 0.0 && text.x.1 <= 960.0 && text.y.0 >= 0.0 && text.y.1 <= height;
            assert!(is_inside, "{of}: {} leaves the drawing: {text:?}", text.what);
            for other in shapes.iter().chain(&texts[i + 1..]) {
                assert!(!text.meets(other), "{of}: {} is over {}: {text:?} {other:?}", text.what, other.what);
            }
        }
    }
}
