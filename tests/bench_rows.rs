//! `bench` with contenders that fail: each is a row that says why, and nothing of the others is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use testkit::{imagegen, names_in, text, tool};

/// A closure that takes no time.
const TINY: [&str; 4] = ["--files", "60", "--total", "300K"];

/// What a measurement with these contenders gave, besides its output.
struct Measured {
    output: Output,
    table: String,
    figures: Value,
    labels: String,
}

fn measure(rounds: &str, only: &str, peers: &[&str]) -> Measured {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("scratch")).unwrap();
    let mut command: Command = imagegen!();
    command.args(["bench", "--rounds", rounds, "--dir", text(&at("scratch"))]).args(TINY);
    command.args(["--only", only, "--json", text(&at("figures")), "--svg", text(&at("chart"))]);
    command.args(peers.iter().flat_map(|peer| ["--peer", peer]));
    let output = command.env("HERE", directory.path()).output().unwrap();
    assert!(names_in(&at("scratch")).is_empty(), "temporary data was left behind");
    let figures = fs::read(at("figures")).map(|json| serde_json::from_slice(&json).unwrap());
    Measured {
        table: String::from_utf8(output.stdout.clone()).unwrap(),
        figures: figures.unwrap_or_default(),
        labels: labels_of(&at("chart")),
        output,
    }
}

fn labels_of(svg: &Path) -> String {
    let program = "import sys, xml.etree.ElementTree as tree\n\
        for text in tree.parse(sys.argv[1]).getroot().iter('{http://www.w3.org/2000/svg}text'): print(text.text)";
    tool(&["python3", "-c", program, text(svg)])
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

impl Measured {
    /// The row of a contender in the table.
    fn row(&self, name: &str) -> &str {
        let start = format!("{name} ");
        self.table
            .lines()
            .find(|line| line.starts_with(&start))
            .unwrap_or_else(|| panic!("{name}: {}", self.table))
    }

    fn failed(&self, name: &str) -> &Value {
        self.figures["failed"].as_array().unwrap().iter().find(|failed| failed["name"] == name).unwrap()
    }

    fn error(&self) -> String {
        assert_eq!(self.output.status.code(), Some(1));
        String::from_utf8_lossy(&self.output.stderr).lines().last().unwrap_or_default().to_owned()
    }
}

#[test]
fn a_contender_that_fails_is_a_row_and_the_others_stay() {
    let measured = measure(
        "2",
        "cat,qcow2",
        &[
            "mine=echo it began >&2; echo no luck >&2; : > $OUT; exit 3",
            "gone=no-such-tool $OUT",
            "idle=true $OUT",
            "killed=: > $OUT; kill -9 $$",
            "late=: > $OUT; mkdir \"$HERE/late\"",
            "fine=tar -cf $OUT -C $STORE .",
        ],
    );
    assert_eq!(names(&measured.figures["results"]), ["cat", "qcow2", "fine"]);
    assert_eq!(names(&measured.figures["failed"]), ["mine", "gone", "idle", "killed", "late"]);
    for result in measured.figures["results"].as_array().unwrap() {
        assert_eq!(result["runs"].as_array().unwrap().len(), 2, "{result}");
        assert!(result["times_limit"].as_f64().unwrap() > 0.0, "{result}");
        assert!(measured.row(result["name"].as_str().unwrap()).contains(" MiB"), "{}", measured.table);
    }
    for (name, round, exit_status, words) in [
        ("mine", 1, Value::from(3), "(exit status: 3: no luck)"),
        ("gone", 1, Value::from(127), "not found)"),
        ("idle", 1, Value::from(0), "(exit status: 0: it wrote no $OUT)"),
        ("killed", 1, Value::Null, "(signal: 9 (SIGKILL): it said nothing)"),
        ("late", 2, Value::from(1), "File exists)"),
    ] {
        let failed = measured.failed(name);
        assert_eq!((&failed["round"], &failed["exit_status"]), (&round.into(), &exit_status), "{failed}");
        let row = measured.row(name);
        assert!(row.contains(&format!("failed in round {round} (")) && row.ends_with(words), "{row}");
        let label = measured.labels.lines().find(|label| label.ends_with(words));
        assert!(label.is_some_and(|label| label.starts_with("failed (")), "{words}: {}", measured.labels);
        let told = String::from_utf8_lossy(&measured.output.stderr).into_owned();
        assert!(told.contains(&format!("  {name}: failed (")), "{told}");
    }
    assert_eq!(measured.failed("killed")["signal"], 9);
    assert_eq!(measured.failed("mine")["stderr"], serde_json::json!(["it began", "no luck"]));
    assert_eq!(measured.failed("late")["runs"].as_array().unwrap().len(), 1);
    let error = measured.error();
    assert!(
        error.starts_with("error: 5 of 8 contenders failed: mine (exit status: 3: no luck); gone ("),
        "{error}"
    );
    // They can be looked into.
    assert!(measured.table.contains("mine: given by --peer\n"), "{}", measured.table);
}

#[test]
fn where_all_fail_there_is_a_table_and_a_chart_too() {
    let measured =
        measure("1", "cat", &["cat2=exit 1; $OUT", "escape=printf 'a\\033[31mb\\n' >&2; exit 1; $OUT"]);
    assert_eq!(names(&measured.figures["results"]), ["cat"]);
    let measured =
        measure("1", "mine", &["mine=exit 1; $OUT", "escape=printf 'a\\033[31mb\\n' >&2; exit 1; $OUT"]);
    assert_eq!(measured.figures["results"], serde_json::json!([]));
    assert!(measured.error().starts_with("error: 2 of 2 contenders failed: mine "), "{}", measured.error());
    assert!(measured.row("mine").ends_with("failed (exit status: 1: it said nothing)"), "{}", measured.table);
    // What a program says commands no terminal.
    assert!(
        !measured.table.contains('\x1b') && measured.row("escape").contains("a\\x1b[31mb"),
        "{}",
        measured.table
    );
    assert!(measured.labels.contains("failed (exit status: 1: it said nothing)"), "{}", measured.labels);
}

#[test]
fn a_peer_always_runs() {
    // Also where --only names others, and where a tool is missing that the machine is known to lack.
    let measured = measure("1", "cat", &["mine=mksquashfs-of-nobody $OUT", "tar=tar -cf $OUT -C $STORE ."]);
    assert_eq!(names(&measured.figures["results"]), ["cat", "tar"]);
    assert_eq!(names(&measured.figures["failed"]), ["mine"]);
    let directory = tempfile::tempdir().unwrap();
    for tool in ["sh", "find", "xargs", "cat", "cp"] {
        let real = tool_path(tool);
        std::os::unix::fs::symlink(real, directory.path().join(tool)).unwrap();
    }
    let output = imagegen!()
        .args(["bench", "--rounds=1", "--only=cat", "--peer", "mine=genext2fs -d $STORE $OUT"])
        .args(TINY)
        .env("PATH", directory.path())
        .output()
        .unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    // Where this machine has it, it complains about its options.
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(table.lines().any(|line| line.starts_with("mine  failed (exit status: ")), "{table}");
    assert!(!table.contains("Not here"), "{table}");
    // Who is left out is left out.
    let output = imagegen!()
        .args(["bench", "--only=cat", "--skip=mine,cat", "--peer", "mine=exit 1; $OUT"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no contender is left"));
}

fn tool_path(name: &str) -> String {
    tool(&["sh", "-c", &format!("command -v {name}")]).trim().to_owned()
}
