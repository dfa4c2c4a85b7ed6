//! The JSON Schemas in docs/schemas are those that the program prints, and what it writes as JSON is valid by them, as another
//! program judges.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use testkit::guest::Guest;
use testkit::{imagegen, names_in, project, text, tool};

/// The version that documents have.
const VERSION: u64 = 1;
/// A list of words, which has no version.
const WITHOUT_VERSION: &str = "run-command";

/// A schema by its name.
fn schema_file(name: &str) -> PathBuf {
    project().join("docs/schemas").join(format!("{name}.json"))
}

/// The names that the program knows.
fn names() -> BTreeSet<String> {
    let help = String::from_utf8(imagegen!().args(["schema", "--help"]).output().unwrap().stdout).unwrap();
    let (arguments, _) = help.split_once("\nGlobal options:").unwrap();
    let lines = arguments.lines().filter_map(|line| line.trim_start().strip_prefix("- "));
    lines.map(|line| line.split_once(':').unwrap().0.to_owned()).collect()
}

/// Run by the system's Python, which has the module. Refuses schemas that are none, and documents that are not as their schema says.
const JUDGE: &str = "
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for name in sys.argv[2:]:
    for error in validator.iter_errors(json.load(open(name))):
        sys.exit(f'{name}: {error.json_path}: {error.message}')
";

fn judge(schema: &Path, documents: &[&Path]) {
    let documents = documents.iter().map(|document| text(document));
    tool(&[&["/usr/bin/python3", "-c", JUDGE, text(schema)], &documents.collect::<Vec<_>>()[..]].concat());
}

#[test]
fn the_schemas_are_the_programs() {
    let pins = std::env::var_os("PIN_SCHEMAS").is_some();
    let names = names();
    assert!(names.len() >= 12, "{names:?}");
    for name in &names {
        let printed = imagegen!().args(["schema", name]).output().unwrap().stdout;
        let file = schema_file(name);
        if pins {
            fs::write(&file, &printed).unwrap();
        }
        let kept = fs::read(&file).unwrap_or_default();
        assert!(
            printed == kept,
            "docs/schemas/{name}.json is not what `schema {name}` prints; `make pin-schemas` writes it anew. If a key has \
             gone or changed its meaning, raise the version and name it in CHANGELOG.md"
        );
        judge(&file, &[]);
        let schema: Value = serde_json::from_slice(&printed).unwrap();
        let has_version =
            schema["required"].as_array().is_some_and(|required| required.contains(&"version".into()));
        assert_eq!(has_version, name != WITHOUT_VERSION, "{name}");
    }
    let kept: BTreeSet<_> =
        names_in(&project().join("docs/schemas")).iter().map(|name| name.replace(".json", "")).collect();
    assert_eq!(kept, names);
}

/// All keys of a document.
fn keys(document: &Value, found: &mut BTreeSet<String>) {
    match document {
        Value::Object(object) => {
            found.extend(object.keys().cloned());
            object.values().for_each(|value| keys(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

/// Has documents judged, and none of their keys is missing in the schema.
fn check(name: &str, documents: &[PathBuf]) {
    judge(&schema_file(name), &documents.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    let schema: Value = serde_json::from_slice(&fs::read(schema_file(name)).unwrap()).unwrap();
    let mut known = BTreeSet::new();
    keys(&schema, &mut known);
    for file in documents {
        let document: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let mut found = BTreeSet::new();
        keys(&document, &mut found);
        // Names of values and of variables, which are no keys of the document.
        let values =
            ["fixed", "variables", "kernelModuleOptions"].map(|key| document.pointer(&format!("/{key}")));
        for (name, _) in values.iter().flatten().filter_map(|value| value.as_object()).flatten() {
            found.remove(name);
        }
        for (name, _) in
            document.pointer("/initrd/kernelModuleOptions").and_then(Value::as_object).into_iter().flatten()
        {
            found.remove(name);
        }
        let unknown: Vec<_> = found.difference(&known).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?} in {document}");
        if name != WITHOUT_VERSION {
            assert_eq!(document["version"], VERSION, "{name}: {document}");
        }
    }
}

#[test]
fn what_is_written_is_valid() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let path = |name: &str| text(&at(name)).to_owned();
    let root = text(&guest.root).to_owned();
    let run = |words: &[&str], printed: Option<&str>| {
        let output = imagegen!().args(words).current_dir(directory.path()).output().unwrap();
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if let Some(name) = printed {
            fs::write(at(name), output.stdout).unwrap();
        }
    };
    let from = ["--registration", text(&guest.registration), "--store-root", &root];
    let toplevel = ["--toplevel", &guest.toplevel, "--store-root", &root, "--loader", "systemd-boot,grub"];

    let [store, other] = ["store.qcow2", "other.raw"].map(path);
    run(&[&["store-image", "-o", &store, "--report", "store.json"], &from[..]].concat(), None);
    run(&[&["store-image", "-o", &other, "--optimise", "--report", "other.json"], &from[..]].concat(), None);
    check("store-image-report", &[at("store.json"), at("other.json")]);

    // Each line is a document of its own.
    let failing = ["store-image", "-o", "no/such/directory", "--progress", "json", "--verbose"];
    let working = ["store-image", "-o", "lines.raw", "--progress", "json", "--verbose"];
    for words in [working, failing] {
        let output =
            imagegen!().args([&words[..], &from].concat()).current_dir(directory.path()).output().unwrap();
        let lines = String::from_utf8(output.stderr).unwrap();
        let files: Vec<_> = (0..lines.lines().count()).map(|i| at(&format!("line-{i}"))).collect();
        assert!(!files.is_empty());
        for (file, line) in files.iter().zip(lines.lines()) {
            fs::write(file, line).unwrap();
        }
        check("progress", &files);
    }

    let boot = ["boot-disk", "-o", "boot.qcow2", "--report", "boot.json"];
    let template = "/usr/share/OVMF/OVMF_VARS_4M.fd";
    let variables = ["--efi-vars-template", template, "--efi-vars", "vars.fd"];
    run(&[&boot[..], &variables, &toplevel].concat(), None);
    check("boot-disk-report", &[at("boot.json")]);

    let disk = ["root-disk", "-o", "root.qcow2", "--report", "root.json", "--with-store"];
    let table = ["--partition-table", "hybrid", "--registration", text(&guest.registration)];
    run(&[&disk[..], &table, &toplevel].concat(), None);
    check("root-disk-report", &[at("root.json")]);

    fs::write(at("nothing"), [7; 4096]).unwrap();
    fs::write(at("damaged"), [&[0; 1080][..], b"\x53\xef", &[0; 4096]].concat()).unwrap();
    let images = ["store.qcow2", "boot.qcow2", "root.qcow2", "vars.fd", "nothing", "damaged"];
    let inspected: Vec<_> = images.iter().map(|image| format!("{image}.inspect")).collect();
    for (image, name) in images.iter().zip(&inspected) {
        run(&["inspect", "--json", image], Some(name));
    }
    check("inspect", &inspected.iter().map(|name| at(name)).collect::<Vec<_>>());

    run(&["ls", "--json", "store.qcow2", "--recursive"], Some("files"));
    run(&["ls", "--json", "root.qcow2"], Some("partitions"));
    check("ls", &[at("files"), at("partitions")]);

    run(&["efi-vars", "list", "--json", "vars.fd"], Some("variables"));
    check("efi-vars-list", &[at("variables")]);

    run(&["diff", "--json", "store.qcow2", "other.raw"], Some("different"));
    run(&["diff", "--json", "store.qcow2", "store.qcow2"], Some("same"));
    check("diff", &[at("different"), at("same")]);

    // A registration of one path makes the others extra; another hash makes it wrong.
    let registration = fs::read_to_string(&guest.registration).unwrap();
    let mut lines: Vec<_> = registration.lines().map(str::to_owned).collect();
    // Path, hash, size, deriver, number of references, references.
    let first = 5 + lines[4].parse::<usize>().unwrap();
    fs::write(at("short"), lines[..first].join("\n") + "\n").unwrap();
    let other = if lines[1].starts_with('0') { "1" } else { "0" };
    lines[1].replace_range(..1, other);
    fs::write(at("wrong"), lines.join("\n") + "\n").unwrap();
    let registrations = [(text(&guest.registration), "right"), ("short", "extra"), ("wrong", "wrong")];
    for (registration, finding) in registrations {
        let (file, words) =
            (format!("{finding}.verified"), ["verify", "--json", "store.qcow2", "--registration"]);
        run(&[&words[..], &[registration]].concat(), Some(&file));
        assert!(fs::read_to_string(at(&file)).unwrap().contains(&format!("\"finding\": \"{finding}\"")));
        check("verify", &[at(&file)]);
    }

    let config = "graphics = false\nuseNixStoreImage = true\nstoreImage = \"store.qcow2\"\nvlans = [1, 2]\nuseBootLoader = true\n\
                  bootDisk = \"boot.qcow2\"\nuseEFIBoot = true\nefiVars = \"vars.fd\"\n";
    fs::write(at("vm.toml"), config).unwrap();
    run(&["run", "--config", "vm.toml", "--accel", "tcg", "--print", "--json"], Some("command"));
    check("run-command", &[at("command")]);
    run(&["run", "--config", "vm.toml", "--print-guest", "--json"], Some("guest"));
    check("run-guest", &[at("guest")]);

    let root = ["bench", "--store-root", &root, "--registration", text(&guest.registration), "--dir", "."];
    run(
        &[
            &root[..],
            &["--rounds", "1", "--only", "cat,qcow2", "--peer", "bad=false $OUT", "--json", "bench.json"],
        ]
        .concat(),
        None,
    );
    check("bench", &[at("bench.json")]);
}
