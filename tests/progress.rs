//! What standard error gets while the program works: bars in a real terminal, in files and pipes, JSON lines, and details.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::every_command::{EveryCommand, status};
use testkit::stand_in::StandIn;
use testkit::store::Store;
use testkit::{imagegen, project, text, tool};

fn store_image(store: &Store, registration: &Path, output: &Path) -> Command {
    let mut command = imagegen!();
    command.args(["store-image", "--store-root", text(store.root.path())]);
    command.args(["--registration", text(registration), "-o", text(output)]);
    command
}

/// A store path that takes longer to hash than any test lasts, and no room.
fn endless() -> (Store, PathBuf) {
    const LENGTH: u64 = 1 << 40;
    // What a NAR of one file has around its contents.
    const AROUND: u64 = 112;
    let mut store = Store::new();
    let path = store.add('a', "large");
    fs::File::create(&path).unwrap().set_len(LENGTH).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let registration = store.root.path().join("registration");
    let (logical, hash) = (store.logical(0), "0".repeat(64));
    fs::write(&registration, format!("{logical}\n{hash}\n{}\n\n0\n", LENGTH + AROUND)).unwrap();
    (store, registration)
}

/// A window of tmux, which is a terminal that breaks lines anew when it becomes narrower, as most do.
struct Terminal {
    directory: tempfile::TempDir,
}

impl Terminal {
    fn new(columns: u16, script: &str) -> Self {
        let terminal = Self { directory: tempfile::tempdir().unwrap() };
        let size = columns.to_string();
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &size, "-y", "12", script]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.directory.path().join("socket");
        tool(&[&["tmux", "-S", text(&socket)], arguments].concat())
    }

    fn resize(&self, columns: usize) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", "12"]);
    }

    /// All lines that are or were on it: a narrower window moves some out of sight.
    fn screen(&self) -> Vec<String> {
        let screen = self.tmux(&["capture-pane", "-p", "-S", "-"]);
        screen.lines().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
    }

    /// Waits for what the screen is to show.
    fn wait_for(&self, what: &str, shows: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let screen = self.screen();
            if shows(&screen) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {screen:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let socket = self.directory.path().join("socket");
        let _ = Command::new("tmux").args(["-S", text(&socket), "kill-server"]).status();
    }
}

/// What is in the window already. Of the topmost row tmux keeps no more than a row, however many it becomes.
const BEFORE: [&str; 6] = ["1", "2", "3", "4", "5", "6"];

/// Whether a line is a bar that fills a window.
fn fills(bar: &str, columns: usize) -> bool {
    let has = |part| bar.contains(part);
    bar.starts_with("write  ") && has("% [") && has("]") && bar.ends_with(" left") && bar.len() == columns - 1
}

#[test]
fn a_bar_follows_its_window_and_leaves_nothing_behind() {
    for options in ["", "--progress=bar", "-v"] {
        let (store, registration) = endless();
        let (image, pid) = (store.root.path().join("image"), store.root.path().join("pid"));
        let command = store_image(&store, &registration, &image);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
        let quiet = if options == "-v" { "2>/dev/null" } else { "" };
        let script = format!(
            "clear; seq 6; {} {options} {quiet} & echo $! > {}; wait $!; echo status $?; exec sleep 1000",
            words.join(" "),
            text(&pid)
        );
        let terminal = Terminal::new(100, &script);
        if options == "-v" {
            // Where nothing may be shown nothing is shown, whatever the window is.
            terminal.wait_for("the pid", |_| fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')));
        } else {
            for columns in [100, 60, 40, 200, 80, 41, 100] {
                terminal.resize(columns);
                terminal.wait_for(&format!("{options} {columns}"), |screen| {
                    screen.split_last().is_some_and(|(bar, lines)| lines == BEFORE && fills(bar, columns))
                });
            }
        }
        tool(&["kill", "-TERM", fs::read_to_string(&pid).unwrap().trim()]);
        let said: &[&str] = if options == "-v" { &[] } else { &["error: stopped by SIGTERM"] };
        let expected = [&BEFORE, said, &["status 143"]].concat();
        terminal.wait_for("the end", |screen| screen == expected);
    }
}

/// The states of each line that a file or pipe got, without what makes the line as long as the one before.
fn states(stderr: &str) -> Vec<Vec<&str>> {
    stderr.lines().map(|line| line.split('\r').map(str::trim_end).collect()).collect()
}

#[test]
fn a_bar_in_a_pipe_has_a_line_for_each_phase() {
    let store = Store::awkward();
    let registration = store.register();
    let directory = tempfile::tempdir().unwrap();
    let (image, report) = (directory.path().join("image"), directory.path().join("report"));
    for (told, columns) in
        [(None, 80), (Some("40"), 40), (Some("200"), 200), (Some("many"), 80), (Some("0"), 80)]
    {
        let mut command = store_image(&store, &registration, &image);
        command.args(["--progress=bar", "--report", text(&report)]).env_remove("COLUMNS");
        if let Some(told) = told {
            command.env("COLUMNS", told);
        }
        let output = command.output().unwrap();
        let stderr = stderr(&output);
        assert!(output.status.success() && !stderr.contains('\x1b'), "{stderr:?}");
        let lines = states(&stderr);
        let (last, bars) = lines.split_last().unwrap();
        assert!(last[0].contains("3 paths verified"), "{stderr:?}");
        let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
        let phases: Vec<_> = report["phases"].as_array().unwrap().iter().collect();
        assert_eq!(bars.len(), phases.len(), "{stderr:?}");
        for (bar, phase) in bars.iter().zip(phases) {
            let state = bar.last().unwrap();
            assert!(state.starts_with(phase["name"].as_str().unwrap()), "{state:?}");
            assert!(bar.iter().all(|state| state.len() < columns), "{bar:?}");
            if phase["name"] == "write" {
                assert!(state.contains(" 100% [=") && state.len() == columns - 1, "{state:?}");
            }
        }
    }
}

#[test]
fn an_error_has_its_own_line_behind_a_bar() {
    let mut store = Store::new();
    fs::write(store.add('a', "file"), "contents").unwrap();
    let registration = store.register();
    fs::write(store.physical(0), "CONTENTS").unwrap();
    let output = store_image(&store, &registration, &store.root.path().join("image"))
        .args(["--progress", "bar"])
        .output()
        .unwrap();
    let stderr = stderr(&output);
    let (bars, error) = stderr.trim_end().rsplit_once('\n').unwrap();
    assert!(error.starts_with("error: /nix/store/") && bars.contains("write"), "{stderr:?}");
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The lines of `--progress json`, each of which is an object.
fn events(stderr: &str) -> Vec<Value> {
    stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// The keys of each type of events, out of the table of docs/progress.md.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(project().join("docs/progress.md")).unwrap();
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = text.lines().skip_while(|line| !line.starts_with("| `type` | keys")).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|row| {
            let cells: Vec<_> = row.split('|').collect();
            (words(cells[1])[0].clone(), words(cells[2]).into_iter().collect())
        })
        .collect()
}

/// Keys that may be left out.
const OPTIONAL: [&str; 4] = ["remaining_seconds", "becomes", "signal", "half_written"];

/// `kind` is that of an error, should the last event be one.
fn check_events(events: &[Value], exit_status: i32, kind: &str, of: &str) {
    let documented = documented();
    assert_eq!(documented.len(), 5);
    for event in events {
        let object = event.as_object().unwrap();
        assert_eq!(event["version"], 1, "{of}: {event}");
        let keys: BTreeSet<_> =
            object.keys().filter(|key| *key != "version" && *key != "type").cloned().collect();
        let known = &documented[event["type"].as_str().unwrap()];
        let missing = known.difference(&keys).find(|key| !OPTIONAL.contains(&key.as_str()));
        assert!(keys.is_subset(known) && missing.is_none(), "{of}: {event}");
    }
    let (last, before) = events.split_last().unwrap();
    let is_last = |event: &Value| event["type"] == "summary" || event["type"] == "error";
    assert!(is_last(last) && !before.iter().any(is_last), "{of}: {events:?}");
    assert_eq!(last["exit_status"], exit_status, "{of}");
    if last["type"] == "error" {
        assert_eq!(last["kind"], kind, "{of}");
        assert!(!last["message"].as_str().unwrap().is_empty(), "{of}");
        return;
    }
    let ended = before.iter().filter(|event| event["type"] == "phase");
    let ended: Vec<_> = ended.map(|event| [&event["phase"], &event["bytes"], &event["seconds"]]).collect();
    let summed = last["phases"].as_array().unwrap().iter();
    let summed: Vec<_> = summed.map(|phase| [&phase["name"], &phase["bytes"], &phase["seconds"]]).collect();
    assert_eq!(ended, summed, "{of}");
}

#[test]
fn every_command_tells_json_to_the_end() {
    let every = EveryCommand::new(env!("CARGO_BIN_EXE_nix-imagegen"));
    let mut types = BTreeSet::new();
    for line in every.lines() {
        for option in [&["--progress=json"][..], &["--progress", "json", "--verbose"]] {
            let arguments: Vec<_> =
                line.arguments.iter().map(String::as_str).chain(option.iter().copied()).collect();
            let output = every.command(&arguments).output().unwrap();
            let (of, stderr) = (format!("{arguments:?}"), stderr(&output));
            assert_eq!(status(&output, &of), line.status, "{of}: {stderr}");
            let events = events(&stderr);
            if line.arguments.iter().any(|word| word == "--help" || word == "--version") {
                assert!(events.is_empty(), "{of}: {stderr}");
                continue;
            }
            let is_usage = line.status == 2 && line.arguments[0] != "diff";
            check_events(&events, line.status, if is_usage { "usage" } else { "failed" }, &of);
            types.extend(events.iter().map(|event| event["type"].to_string()));
            let failed = events.last().unwrap()["type"] == "error";
            assert_eq!(failed, line.status > 1 || line.status == 1 && line.arguments[0] != "diff", "{of}");
        }
        // Errors only, as JSON too.
        let arguments: Vec<_> =
            line.arguments.iter().map(String::as_str).chain(["-q", "--progress=json"]).collect();
        let output = every.command(&arguments).output().unwrap();
        let events = events(&stderr(&output));
        // And the digest of an image on standard output, which is asked for.
        let is_digest = |event: &Value| {
            arguments.contains(&"--digest")
                && event["text"].as_str().is_some_and(|text| text.ends_with("  -"))
        };
        let is_expected = |event: &Value| event["type"] == "error" || is_digest(event);
        assert!(events.iter().all(is_expected), "{arguments:?}: {events:?}");
    }
    assert_eq!(types.len(), 5, "{types:?}");
}

#[test]
fn an_error_in_json_has_its_causes_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let told = |json: bool| {
        let mut command = imagegen!();
        command.args(["disk", "create", "--size", "1M", "-o", "missing/disk"]).current_dir(directory.path());
        stderr(&command.args(json.then_some("--progress=json")).output().unwrap())
    };
    let error = &events(&told(true))[0];
    let causes = error["causes"].as_array().unwrap().iter().map(|cause| cause.as_str().unwrap());
    let words: Vec<_> = std::iter::once(error["message"].as_str().unwrap()).chain(causes).collect();
    assert!(words.len() > 1, "{words:?}");
    assert_eq!(told(false), format!("error: {}\n", words.join(": ")));
    // Contradictions that are found after the options were read.
    let mut command = imagegen!();
    command.args([
        "--progress",
        "json",
        "boot-disk",
        "--toplevel",
        "x",
        "--loader",
        "grub",
        "--systemd",
        "x",
        "-o",
        "y",
    ]);
    let output = command.output().unwrap();
    check_events(&events(&stderr(&output)), 2, "usage", "boot-disk");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_signal_is_the_last_line_of_json() {
    let (store, registration) = endless();
    let mut child = store_image(&store, &registration, &store.root.path().join("image"))
        .args(["--progress", "json"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let mut said = String::new();
    // Three lines: those after the first come while it works.
    let mut seen = 0;
    while seen < 3 {
        let line = lines.next().unwrap().unwrap();
        seen += usize::from(line.contains(r#""phase":"write""#));
        said += &(line + "\n");
    }
    tool(&["kill", "-INT", &child.id().to_string()]);
    for line in lines {
        said += &(line.unwrap() + "\n");
    }
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    let events = events(&said);
    let last = events.last().unwrap();
    check_events(&events, 130, "stopped", "SIGINT");
    assert_eq!(last["signal"], "SIGINT");
    // It hashes more and more, and says how long the rest will take.
    let writes: Vec<_> =
        events.iter().filter(|event| event["type"] == "progress" && event["phase"] == "write").collect();
    assert!(writes[0]["bytes"].as_u64() < writes[2]["bytes"].as_u64(), "{writes:?}");
    assert!(writes[2]["remaining_seconds"].as_u64() > Some(0), "{writes:?}");
    assert!(writes[2]["bytes_per_second"].as_u64() > Some(0), "{writes:?}");
}

#[test]
fn verbose_tells_what_is_decided() {
    let store = Store::awkward();
    let registration = store.register();
    let directory = tempfile::tempdir().unwrap();
    let (image, report) = (directory.path().join("image"), directory.path().join("report"));
    let told = |options: &[&str]| {
        let mut command = store_image(&store, &registration, &image);
        let output = command.args(["--report", text(&report), "--jobs=3"]).args(options).output().unwrap();
        assert!(output.status.success());
        stderr(&output)
    };
    let (plain, verbose, twice) = (told(&[]), told(&["-v"]), told(&["-vv"]));
    assert_eq!(plain.lines().count(), 1, "{plain}");
    assert!(!verbose.contains("write: ") && twice.lines().any(|line| line.starts_with("write: ")), "{twice}");
    let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    let size = report["virtual_bytes"].as_u64().unwrap();
    for expected in [
        format!("closure: 3 store paths, told by `{}`", text(&registration)),
        format!("store: /nix/store is read from `{}`", text(&store.directory())),
        "hashes: 3 of 3 store paths have one, compared with the files".to_owned(),
        "threads: at most 3 (--jobs)".to_owned(),
        format!(
            "file system: ext4 of {}, as large as its files need, without a journal",
            imagegen::units::ByteCount(size)
        ),
        "container: qcow2, not compressed".to_owned(),
    ] {
        assert!(verbose.lines().any(|line| line == expected), "{expected}: {verbose}");
    }
    let output = store_image(&store, &registration, &image).args(["-q", "-v"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn run_tells_of_its_cache_and_becomes_qemu() {
    let machine = StandIn::new(env!("CARGO_BIN_EXE_nix-imagegen"), "exit 0");
    let told = |options: &str| machine.success(&format!("set -- \"$@\" {options}"));
    let (first, second) = (told("-v"), told("-v"));
    for ending in ["-store.qcow2", "-boot.qcow2"] {
        let image = machine.cached(ending).pop().unwrap();
        assert!(first.contains(&format!("cache: `{}` is made now", text(&image))), "{first}");
        assert!(second.contains(&format!("cache: `{}` is there and whole", text(&image))), "{second}");
    }
    assert!(second.contains("accelerator: tcg, as --accel says\n"), "{second}");
    let events = events(&told("--progress json"));
    check_events(&events, 0, "", "run");
    let qemu = machine.path("qemu/bin/qemu-system-x86_64");
    assert_eq!(events.last().unwrap()["becomes"], text(&qemu));
}
