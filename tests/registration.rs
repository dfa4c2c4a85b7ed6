//! `registration`, from whatever tells a closure, judged by what Nix loads and prints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::assert::OutputAssertExt;
use serde_json::{Value, json};

use testkit::guest::Guest;
use testkit::store::Store;
use testkit::{error_of, imagegen, run, text};

const CONFIG: &str = "build-users-group =\nsubstitute = false\nexperimental-features = nix-command";

/// A registration with only the lines that a references graph has.
fn graph_of(registration: &str) -> String {
    let mut graph = String::new();
    let mut lines = registration.lines();
    while let Some(path) = lines.next() {
        let (deriver, count) = (lines.nth(2).unwrap(), lines.next().unwrap());
        writeln!(graph, "{path}\n{deriver}\n{count}").unwrap();
        for reference in lines.by_ref().take(count.parse().unwrap()) {
            writeln!(graph, "{reference}").unwrap();
        }
    }
    graph
}

/// What the program prints, which must succeed.
fn printed(arguments: &[&str]) -> String {
    let assert = imagegen!().arg("registration").args(arguments).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// A Nix with a store of its own below `root`.
fn nix(root: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("NIX_CONFIG", CONFIG).env("NIX_REMOTE", "").env("HOME", root);
    command
}

#[test]
fn hashes_are_computed_and_nix_loads_what_is_printed() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let registration = fs::read_to_string(&guest.registration).unwrap();
    let graph = directory.path().join("graph");
    fs::write(&graph, graph_of(&registration)).unwrap();
    let from_graph = ["--references-graph", text(&graph), "--store-root", text(&guest.root)];
    let found = printed(&from_graph);
    assert_eq!(found, registration);

    // An empty store takes it, and tells the same again.
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("nix/var/nix")).unwrap();
    fs::create_dir_all(root.join("nix/store")).unwrap();
    let store = ["--store", text(&root)];
    let mut load =
        nix(&root, "nix-store").args(store).arg("--load-db").stdin(Stdio::piped()).spawn().unwrap();
    load.stdin.take().unwrap().write_all(found.as_bytes()).unwrap();
    assert!(load.wait().unwrap().success());
    let dumped = nix(&root, "nix-store").args(store).arg("--dump-db").output().unwrap();
    let dumped = String::from_utf8(dumped.stdout).unwrap();
    let records = |text: &str| {
        let mut lines = text.lines();
        let mut records = Vec::new();
        while let Some(path) = lines.next() {
            let mut record = vec![path.to_owned()];
            record.extend(lines.by_ref().take(3).map(str::to_owned));
            let count = lines.next().unwrap();
            record.extend(lines.by_ref().take(count.parse().unwrap()).map(str::to_owned));
            records.push(record);
        }
        records.sort();
        records
    };
    assert_eq!(records(&dumped), records(&found));

    // Some paths with hashes: the others are read, and no more than these.
    let mut lines: Vec<_> = registration.lines().collect();
    (lines[1], lines[2]) = ("", "0");
    let partly = directory.path().join("partly");
    fs::write(&partly, lines.join("\n")).unwrap();
    assert_eq!(printed(&["--registration", text(&partly), "--store-root", text(&guest.root)]), registration);

    // Without the files there are no hashes either.
    let mut command = imagegen!();
    command.args(["registration", "--references-graph", text(&graph), "--store-root"]);
    let error = error_of(command.arg(directory.path()));
    assert!(error.contains("paths have no hash") && error.contains("is --store-root right?"), "{error}");
    run(&["chmod", "-R", "u+w", text(&root)]);
}

#[test]
fn what_nix_path_info_prints_is_the_registration() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let expected = fs::read_to_string(&guest.registration).unwrap();
    let output = nix(directory.path(), "nix")
        .args(["path-info", "--json", "--recursive", "--store", text(&guest.root), &guest.toplevel])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = directory.path().join("path-info.json");
    let registration = |document: &[u8]| {
        fs::write(&file, document).unwrap();
        printed(&["--references-graph", text(&file)])
    };
    assert_eq!(registration(&output.stdout), expected);

    // The same as Nix from 2.33 on prints it with `--json-format 2`.
    let infos: Value = serde_json::from_slice(&output.stdout).unwrap();
    let entries: Vec<(String, Value)> = match infos {
        Value::Array(list) => {
            list.into_iter().map(|info| (info["path"].as_str().unwrap().to_owned(), info)).collect()
        }
        Value::Object(map) => map.into_iter().collect(),
        other => panic!("{other}"),
    };
    let base_name = |value: &Value| value.as_str().map(|path| path["/nix/store/".len()..].to_owned());
    let mut info = serde_json::Map::new();
    for (path, mut entry) in entries {
        let references: Vec<_> = entry["references"].as_array().unwrap().iter().map(base_name).collect();
        entry["references"] = json!(references);
        entry["deriver"] = json!(base_name(&entry["deriver"]));
        entry["version"] = json!(2);
        info.insert(base_name(&json!(path)).unwrap(), entry);
    }
    let document = json!({ "info": info, "storeDir": "/nix/store", "version": 2 });
    assert_eq!(registration(document.to_string().as_bytes()), expected);
}

#[test]
fn documents_without_a_path_are_told() {
    let store = Store::awkward();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("empty");
    let root = ["--store-root", text(store.root.path())];
    let output = directory.path().join("image");
    for document in ["", "\n", "{}", "[]", r#"{"info":{},"storeDir":"/nix/store","version":2}"#] {
        fs::write(&file, document).unwrap();
        for subcommand in ["store-image", "root-disk", "registration"] {
            let mut command = imagegen!();
            command.arg(subcommand).args(root).args(["--references-graph", text(&file), "-o", text(&output)]);
            let error = error_of(&mut command);
            assert!(error.contains("empty has no path in it"), "{error}");
        }
    }
    fs::write(&file, "").unwrap();
    for subcommand in [&["store-image"][..], &["root-disk", "--with-store"]] {
        let mut command = imagegen!();
        command.args(subcommand).args(root).args(["--registration", text(&file), "-o", text(&output)]);
        let error = error_of(&mut command);
        assert!(error.contains("is empty: it registers no store path") && !output.exists(), "{error}");
    }
    // A database may begin empty, where the store is not on the disk.
    for subcommand in ["root-disk", "registration"] {
        let mut command = imagegen!();
        command.arg(subcommand).args(root).args(["--registration", text(&file), "-o", text(&output)]);
        let said = command.assert().success().get_output().stderr.clone();
        assert!(String::from_utf8_lossy(&said).starts_with("warning: "), "{subcommand}");
    }
}

#[test]
fn what_nix_would_not_load_is_not_printed() {
    let store = Store::awkward();
    let registration = fs::read_to_string(store.register()).unwrap();
    let file = store.root.path().join("wrong");
    let refuse = |text_of_file: &str, what: &str| {
        fs::write(&file, text_of_file).unwrap();
        for subcommand in [&["registration"][..], &["root-disk", "--with-store"]] {
            let mut command = imagegen!();
            command.args(subcommand).args(["--store-root", text(store.root.path())]);
            let output = store.root.path().join("output");
            let error = error_of(command.args(["--registration", text(&file), "-o", text(&output)]));
            assert!(error.contains(what) && error.len() < 1000, "{what}: {error}");
            assert!(!output.exists());
        }
    };
    let lines: Vec<&str> = registration.lines().collect();
    let with_deriver = |deriver: &str| {
        let mut lines = lines.clone();
        lines[3] = deriver;
        lines.join("\n") + "\n"
    };
    refuse(&with_deriver("nonsense"), "line 4: the deriver is not a store path: `nonsense`");
    refuse(
        &with_deriver("/gnu/store/00000000000000000000000000000000-a.drv"),
        "store directory `/gnu/store`",
    );
    // The first path refers to the second, which refers to the first.
    let [first, second] = [store.logical(0), store.logical(1)];
    let circle = registration.replacen(&format!("1\n{first}\n"), &format!("2\n{first}\n{second}\n"), 1);
    refuse(&circle, "leads back to it");
    refuse(&graph_of(&registration), "give it as --references-graph");
    refuse("{}", "this is JSON");
    refuse(&"\0".repeat(1 << 20), "line 1: not a store path");
    refuse(&"a".repeat(1 << 20), "line 1: not a store path");
}
