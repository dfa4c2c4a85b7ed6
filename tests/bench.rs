//! `bench` from end to end, on closures too small to say anything about speed: no time is judged here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::assert::OutputAssertExt;
use serde_json::Value;

use testkit::store::Store;
use testkit::{imagegen, names_in, text, tool};

/// `bench` of one round, with its temporary data in a directory of the test.
fn bench(directory: &Path) -> Command {
    bench_of_rounds(directory, "1")
}

fn bench_of_rounds(directory: &Path, rounds: &str) -> Command {
    let mut command = imagegen!();
    command.args(["bench", "--rounds", rounds, "--dir", text(directory)]);
    command
}

/// A closure that takes no time.
const TINY: [&str; 4] = ["--files", "60", "--total", "300K"];

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn names(results: &Value) -> Vec<&str> {
    results["results"].as_array().unwrap().iter().map(|result| result["name"].as_str().unwrap()).collect()
}

fn error_of(command: &mut Command, code: i32) -> String {
    let assert = command.assert().failure().code(code).stdout("");
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn a_made_closure_is_measured_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let scratch = directory.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let (figures, chart) = (directory.path().join("bench.json"), directory.path().join("bench.svg"));
    let assert = bench_of_rounds(&scratch, "2")
        .args(TINY)
        .args(["--only", "cat,raw,qcow2,qcow2-no-verify,qcow2-zstd,qcow2-zlib,cp,mkfs.ext4,mkfs.ext4+qcow2"])
        .args(["--json", text(&figures), "--svg", text(&chart)])
        .assert()
        .success();
    let table = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(table.contains("mkfs.ext4 -q -F"), "{table}");
    assert!(table.contains("export REGISTRATION="), "{table}");
    assert!(names_in(&scratch).is_empty(), "temporary data was left behind");

    let figures = json(&figures);
    assert_eq!(
        names(&figures),
        [
            "cat",
            "raw",
            "qcow2",
            "qcow2-no-verify",
            "qcow2-zstd",
            "qcow2-zlib",
            "cp",
            "mkfs.ext4",
            "mkfs.ext4+qcow2"
        ]
    );
    assert_eq!(figures["subject"]["kind"], "store-image");
    assert_eq!(figures["subject"]["shape"], "mix");
    assert_eq!(figures["subject"]["files"], 60);
    assert_eq!(figures["subject"]["store_paths"], 12);
    assert_eq!(figures["rounds"], 2);
    assert_eq!(figures["reference"], "qcow2");
    assert!(figures["machine"]["processors"].as_u64().unwrap() > 0);
    for result in figures["results"].as_array().unwrap() {
        assert_eq!(result["runs"].as_array().unwrap().len(), 2, "{result}");
        assert!(result["peak_memory_bytes"].as_u64().unwrap() > 100_000, "{result}");
        assert!(result["output_bytes"].as_u64().unwrap() > 200_000, "{result}");
        let figure = |key: &str| result[key].as_f64().unwrap();
        assert!(figure("min_seconds") <= figure("median_seconds"), "{result}");
        assert!(figure("median_seconds") <= figure("max_seconds"), "{result}");
        assert!(figure("times_limit") > 0.0 && figure("times_reference") > 0.0, "{result}");
    }
    let roles: Vec<_> = figures["results"].as_array().unwrap().iter().map(|result| &result["role"]).collect();
    assert_eq!(roles, ["limit", "ours", "ours", "ours", "ours", "ours", "peer", "peer", "peer"]);

    let labels = labels_of(&chart);
    assert!(labels.contains("in 60 files"), "{labels}");
    for name in names(&figures) {
        assert!(
            labels.lines().any(|label| label == name || label == format!("nix-imagegen: {name}")),
            "{labels}"
        );
    }
}

/// The texts of a drawing, a line each, as Python's XML parser finds them.
fn labels_of(svg: &Path) -> String {
    let program = "import sys, xml.etree.ElementTree as tree\n\
        root = tree.parse(sys.argv[1]).getroot()\n\
        assert root.tag == '{http://www.w3.org/2000/svg}svg', root.tag\n\
        for text in root.iter('{http://www.w3.org/2000/svg}text'): print(text.text)";
    tool(&["python3", "-c", program, text(svg)])
}

#[test]
fn every_shape_is_a_closure_that_nix_finds_right() {
    let directory = tempfile::tempdir().unwrap();
    for (shape, files) in [("many-small", "100"), ("flat", "300"), ("few-huge", "4"), ("mix", "100")] {
        let made = directory.path().join(shape);
        imagegen!()
            .args(["bench", "--shape", shape, "--files", files, "--total", "1M", "--make", text(&made)])
            .assert()
            .success()
            .stdout("");
        let registration = fs::read_to_string(made.join("registration")).unwrap();
        let mut found = 0;
        for record in registration.lines().collect::<Vec<_>>().chunks(5) {
            let path = made.join("root").join(record[0].trim_start_matches('/'));
            let hash = tool(&["nix-hash", "--type", "sha256", text(&path)]);
            assert_eq!(record[1], hash.trim(), "{}", record[0]);
            found += tool(&["find", text(&path), "-type", "f"]).lines().count();
        }
        assert_eq!(found.to_string(), files, "{shape}");
    }
    let flat = tool(&["find", text(&directory.path().join("flat")), "-name", "all"]);
    assert_eq!(names_in(Path::new(flat.trim())).len(), 300);
}

#[test]
fn a_shape_has_the_same_bytes_every_time() {
    let directory = tempfile::tempdir().unwrap();
    let made = [directory.path().join("a"), directory.path().join("b")];
    for made in &made {
        imagegen!().args(["bench", "--make", text(made)]).args(TINY).assert().success();
    }
    tool(&["diff", "-r", "--no-dereference", text(&made[0]), text(&made[1])]);
    let error = error_of(imagegen!().args(["bench", "--make", text(&made[0])]), 1);
    assert!(error.contains("is there already"), "{error}");
}

#[test]
fn a_given_closure_is_measured_without_its_neighbours() {
    let mut store = Store::new();
    fs::write(store.add('a', "registered"), vec![7; 300_000]).unwrap();
    let registration = store.register();
    let directory = tempfile::tempdir().unwrap();
    let figures = directory.path().join("bench.json");
    let files = |expected: u64| {
        bench(directory.path())
            .args(["--registration", text(&registration), "--store-root", text(store.root.path())])
            .args(["--only", "cat,qcow2,cp", "--json", text(&figures)])
            .assert()
            .success();
        let figures = json(&figures);
        assert_eq!(figures["subject"]["files"], expected);
        assert_eq!(figures["subject"]["shape"], Value::Null);
        figures["variables"]["STORE"].as_str().unwrap().to_owned()
    };
    assert_eq!(Path::new(&files(1)), store.directory());
    fs::write(store.directory().join("neighbour"), "not registered").unwrap();
    assert!(files(1).starts_with(text(directory.path())), "a copy");
    assert_eq!(names_in(directory.path()), ["bench.json"]);
}

#[test]
fn own_contenders_take_part() {
    let directory = tempfile::tempdir().unwrap();
    let figures = directory.path().join("bench.json");
    bench(directory.path())
        .args(TINY)
        .args([
            "--only",
            "cat,tar",
            "--peer",
            "tar=tar -cf \"$OUT\" -C \"$STORE\" .",
            "--json",
            text(&figures),
        ])
        .assert()
        .success();
    let figures = json(&figures);
    assert_eq!(names(&figures), ["cat", "tar"]);
    assert_eq!(
        (&figures["reference"], &figures["results"][1]["times_reference"]),
        (&Value::Null, &Value::Null)
    );
    assert!(figures["results"][1]["times_limit"].as_f64().unwrap() > 0.0);
}

#[test]
fn who_cannot_take_part_is_named_with_the_package() {
    // A PATH with none of the tools on it but a shell; those of system directories are found wherever they are.
    let directory = tempfile::tempdir().unwrap();
    let list = |path: &str| {
        let mut command = imagegen!();
        command.args(["bench", "--list"]).env("PATH", path);
        String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
    };
    let empty = list(text(directory.path()));
    let line = empty.lines().find(|line| line.starts_with("mksquashfs ")).unwrap();
    assert!(line.ends_with("install mksquashfs (Debian: squashfs-tools)"), "{line}");
    fs::write(directory.path().join("mksquashfs"), "").unwrap();
    let found = list(text(directory.path()));
    assert!(
        found.lines().find(|line| line.starts_with("mksquashfs ")).unwrap().ends_with("ready"),
        "{found}"
    );
}

#[test]
fn boot_disks_are_measured_too() {
    let (guest, directory) = (Path::new("target/guest"), tempfile::tempdir().unwrap());
    let toplevel = fs::read_to_string(guest.join("toplevel")).expect("make test makes the guest");
    let figures = directory.path().join("bench.json");
    bench(directory.path())
        .args(["--toplevel", toplevel.trim(), "--store-root", text(&guest.join("root"))])
        .args(["--json", text(&figures)])
        .assert()
        .success();
    let figures = json(&figures);
    assert_eq!(names(&figures), ["cat", "raw", "qcow2", "sgdisk+mtools"]);
    assert_eq!(figures["subject"]["kind"], "boot-disk");
    assert_eq!(figures["subject"]["toplevel"], toplevel.trim());
    assert_eq!(names_in(directory.path()), ["bench.json"]);
}

#[test]
fn the_boot_disk_of_other_tools_has_the_same_files() {
    // What is compared must do the same work: the command of the table, run by hand.
    let (guest, directory) = (Path::new("target/guest"), tempfile::tempdir().unwrap());
    let toplevel = fs::read_to_string(guest.join("toplevel")).expect("make test makes the guest");
    let figures = directory.path().join("bench.json");
    bench(directory.path())
        .args(["--toplevel", toplevel.trim(), "--store-root", text(&guest.join("root"))])
        .args(["--only", "sgdisk+mtools", "--json", text(&figures)])
        .assert()
        .success();
    let figures = json(&figures);
    let disk = directory.path().join("disk");
    let mut shell = Command::new("sh");
    shell.args(["-c", figures["results"][0]["command"].as_str().unwrap()]);
    for (name, value) in figures["variables"].as_object().unwrap() {
        shell.env(name, value.as_str().unwrap());
    }
    shell.env("OUT", &disk).assert().success();
    tool(&["sgdisk", "-v", text(&disk)]);
    for (file, variable) in [("EFI/nixos/kernel.efi", "KERNEL"), ("EFI/BOOT/BOOTX64.EFI", "LOADER")] {
        let copy = directory.path().join("copy");
        tool(&[
            "mcopy",
            "-n",
            "-o",
            "-i",
            &format!("{}@@1M", text(&disk)),
            &format!("::{file}"),
            text(&copy),
        ]);
        tool(&["cmp", text(&copy), figures["variables"][variable].as_str().unwrap()]);
    }
}

#[test]
fn mistakes_are_told_before_the_work() {
    let directory = tempfile::tempdir().unwrap();
    let error = |arguments: &[&str], code| {
        let error = error_of(imagegen!().arg("bench").args(arguments).env("TMPDIR", directory.path()), code);
        assert!(names_in(directory.path()).is_empty(), "{error}");
        error
    };
    let unknown = error(&["--only", "cat,mkfs.ext5"], 1);
    assert!(
        unknown.starts_with("error: there is no contender `mkfs.ext5`; there are cat, raw,"),
        "{unknown}"
    );
    assert!(error(&["--skip", "nothing"], 1).contains("there is no contender `nothing`"));
    assert!(error(&["--only", "cat", "--skip", "cat"], 1).contains("no contender is left"));
    assert!(error(&["--peer", "cat=cp x $OUT"], 1).contains("a contender `cat` already"));
    assert!(error(&["--peer", "mine=true"], 2).contains("must write to $OUT"));
    assert!(error(&["--registration", "x"], 2).contains("--store-root"));
    let both = ["--registration", "x", "--store-root", "/", "--files", "3"];
    assert!(error(&both, 2).contains("cannot be used with"));
    let missing = directory.path().join("missing");
    assert!(error(&["--dir", text(&missing)], 1).contains("missing"));
    assert!(error(&["--total", "8000T"], 1).contains("needs 8000.0 TiB"));
    assert!(error(&["--json", text(&missing.join("bench.json"))], 1).contains("cannot write the report"));
}

#[test]
fn ctrl_c_stops_the_contender_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (scratch, started) = (directory.path().join("scratch"), directory.path().join("started"));
    fs::create_dir(&scratch).unwrap();
    // A store-like tree, without permission to write in it, and a process that would go on for ever.
    let slow = format!(
        "slow=mkdir -p $OUT/closed && : > $OUT/closed/file && chmod 555 $OUT/closed && (echo $$ > {0}.new && \
         mv {0}.new {0}; sleep 1000)",
        text(&started)
    );
    let mut child = bench(&scratch)
        .args(TINY)
        .args(["--only", "slow", "--peer", &slow])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&started, &mut child);
    let shell = fs::read_to_string(&started).unwrap();
    tool(&["kill", "-INT", &child.id().to_string()]);
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2), "{status}");
    assert!(names_in(&scratch).is_empty(), "temporary data was left behind");
    assert!(!Path::new("/proc").join(shell.trim()).exists(), "the contender still runs");
}

fn wait_for(path: &Path, child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !path.exists() {
        assert!(Instant::now() < deadline, "the contender did not start");
        assert!(child.try_wait().unwrap().is_none(), "the program has ended");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn read_only_trees_are_removed_between_runs() {
    let mut store = Store::new();
    let path = store.add('a', "closed");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("file"), vec![1; 100_000]).unwrap();
    let registration = store.register();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let bench = bench_of_rounds(directory.path(), "2");
    let mut command = Command::new("setpriv");
    if tool(&["id", "-u"]).trim() == "0" {
        // Without the right to write everywhere, root is like anybody else.
        command.arg("--bounding-set=-dac_override,-dac_read_search");
    }
    command
        .arg(bench.get_program())
        .args(bench.get_args())
        .args(["--registration", text(&registration), "--store-root", text(store.root.path())])
        .args(["--only", "cp"])
        .assert()
        .success();
    assert!(names_in(directory.path()).is_empty());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}
