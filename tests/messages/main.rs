//! What a user sees where something is wrong: the file is named, and what to do about it. Each message is one of those
//! that docs/troubleshooting.md explains.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod table;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;

use table::{Row, rows};
use testkit::guest::Guest;
use testkit::interposer::interposer;
use testkit::store::Store;
use testkit::{imagegen, names_in, text};

/// A directory to work in, as a user has it, and a store elsewhere.
struct Place {
    directory: tempfile::TempDir,
    store_root: PathBuf,
    rows: Vec<Row>,
}

impl Place {
    fn new(store_root: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, store_root: store_root.to_owned(), rows: rows() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn link(&self, name: &str, target: &str) {
        symlink(target, self.at(name)).unwrap();
    }

    /// The words of a line without those of a shell; the store is the other one if the line does not name one itself.
    fn command(&self, line: &str) -> Command {
        let mut command = imagegen!();
        command.current_dir(self.directory.path()).args(line.split_whitespace());
        let without_store = ["disk", "efi-vars", "extract", "verify"];
        if !line.contains("--store-root") && !without_store.iter().any(|word| line.starts_with(word)) {
            command.args(["--store-root", text(&self.store_root)]);
        }
        command
    }

    /// The error of a command, which must be explained and have all these words. Nothing is left of an output.
    fn told(&self, line: &str, words: &[&str]) -> String {
        let output = self.command(line).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let error = said.lines().next().unwrap_or_default().to_owned();
        assert!(
            matches!(output.status.code(), Some(1 | 2)) && error.starts_with("error: "),
            "{line}: {said}"
        );
        for word in words {
            assert!(error.contains(word), "{line}: no {word} in {error}");
        }
        assert!(self.rows.iter().any(|row| !row.of_others && row.is_in(&error)), "not explained: {error}");
        assert!(!self.at("out").exists(), "{line}");
        error
    }
}

/// Two store paths of a few files, and their registration.
fn small_store() -> (Store, PathBuf) {
    let mut store = Store::new();
    let directory = store.add('a', "directory");
    fs::create_dir_all(directory.join("below")).unwrap();
    fs::write(directory.join("file"), vec![b'x'; 700_000]).unwrap();
    fs::write(store.add('b', "file"), "contents").unwrap();
    let registration = store.register();
    (store, registration)
}

#[test]
fn every_message_stands_in_the_sources() {
    let sources = table::sources();
    let mut wrong = Vec::new();
    for row in rows().iter().filter(|row| !row.of_others) {
        let missing = row.pieces().into_iter().filter(|piece| !sources.contains(piece));
        wrong.extend(missing.map(|piece| format!("`{piece}` of `{}`", row.message)));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The commands that take a store path, with the path to be put at the end.
const TAKERS: [&str; 4] = [
    "registration --closure ",
    "store-image -o out --closure ",
    "root-disk -o out --closure ",
    "boot-disk -o out --loader grub --toplevel ",
];

#[test]
fn links_and_what_is_no_store_path() {
    let guest = Guest::get();
    let place = Place::new(&guest.root);
    let gone = "/nix/store/00000000000000000000000000000000-gone";
    place.link("result", gone);
    place.link("dangling", "nothing");
    place.link("good", &guest.toplevel);
    place.link("physical", text(&guest.physical(&guest.toplevel)));
    let root = guest.root.canonicalize().unwrap();
    let root = text(&root);
    for taker in TAKERS {
        let told = |path: &str, words: &[&str]| {
            place.told(&format!("{taker}{path}"), words);
        };
        let physical = format!("{}{gone}", text(&guest.root));
        told(
            "./result",
            &["`./result` leads to", gone, &physical, "is --store-root right?", "build it again"],
        );
        told("./dangling", &["cannot find `./dangling`", "/nothing`", "make the link anew, as `nix build`"]);
        told("hello", &["cannot find `hello`", "the ./result that `nix build` makes"]);
        // Made with `nix build --store DIR`: what it leads to is only below DIR.
        told("./good --store-root /", &["`./good` leads to", &guest.toplevel, "is --store-root right?"]);
        told("./physical --store-root /", &["in another store; give", &format!("--store-root {root}")]);
    }
    // A store path that is no system.
    let busybox = format!("boot-disk -o out --loader grub --toplevel {}", guest.path("-busybox"));
    place.told(&busybox, &["nixos-version", "is it a system, `config.system.build.toplevel`?"]);
    let absent = format!("boot-disk -o out --loader grub --toplevel {gone}");
    place.told(&absent, &["cannot find the toplevel of", gone, "is --store-root right?"]);
}

#[test]
fn references_to_flakes() {
    let guest = Guest::get();
    let place = Place::new(&guest.root);
    place.link("result", &guest.toplevel);
    let references = [
        ".#nixosConfigurations.x.config.system.build.toplevel",
        "nixpkgs#hello",
        "github:NixOS/nixpkgs#hello",
    ];
    let other_options = [
        "boot-disk -o out --loader grub --toplevel ./result --grub ",
        "boot-disk -o out --loader systemd-boot --toplevel ./result --systemd ",
        "boot-disk -o out --loader systemd-boot --toplevel ./result --generation 1=",
        "root-disk -o out --closure ./result --toplevel ",
    ];
    for taker in TAKERS.iter().chain(&other_options) {
        for reference in references {
            let first = format!("build it first, with `nix build {}`", shell_words::quote(reference));
            place.told(&format!("{taker}{reference}"), &[&format!("`{reference}`"), &first, "give ./result"]);
        }
    }
    // A file may have such a name.
    place.link("a#b", &guest.toplevel);
    place.command("registration --closure ./a#b").assert().success();

    for more in ["", "useBootLoader = true\n"] {
        fs::write(place.at("vm.toml"), format!("toplevel = {:?}\n{more}", references[0])).unwrap();
        place.told("run --print --config vm.toml", &["toplevel: `.#", "`nix build "]);
        fs::write(place.at("vm.toml"), format!("toplevel = \"./result\"\n{more}")).unwrap();
        place
            .told("run --print --config vm.toml", &["toplevel: `./result` is a link", "`readlink ./result`"]);
    }
}

#[test]
fn files_of_another_kind_are_told_and_not_shown() {
    let (store, registration) = small_store();
    let place = Place::new(store.root.path());
    let lists = [
        (r#"{"secret-key":"secret"}"#, "--references-graph"),
        ("  [\"secret\"]", "--references-graph"),
        ("\u{feff}{\"a\":\"secret\"}", "--references-graph"),
        ("\"secret\"", "--references-graph"),
        ("secret = 1\n", "is it the right file?"),
        ("-----BEGIN secret KEY-----\n", "is it the right file?"),
    ];
    let takers = ["store-image -o out", "root-disk -o out", "registration", "verify image"];
    for (contents, remedy) in lists {
        fs::write(place.at("list"), contents).unwrap();
        for taker in takers {
            let error = place.told(&format!("{taker} --registration list"), &["list, line 1: ", remedy]);
            assert!(!error.contains("secret"), "{error}");
        }
    }
    // What Nix prints and writes.
    let path = store.logical(0);
    let info = format!(r#"[{{"path":"{path}","narHash":null,"narSize":0,"references":[]}}]"#);
    let attributes =
        format!(r#"{{"builder":"b","exportReferencesGraph":{{"closure":["{path}"]}},"closure":{info}}}"#);
    for (name, contents) in [("info.json", info.as_str()), (".attrs.json", &attributes)] {
        fs::write(place.at(name), contents).unwrap();
        let error = place
            .told(&format!("registration --registration {name}"), &[name, "give it as --references-graph"]);
        assert!(!error.contains(&path), "{error}");
        // And so it is taken.
        place.command(&format!("registration --references-graph {name}")).assert().success();
    }
    // The other way round.
    for taker in &takers[..3] {
        let line = format!("{taker} --references-graph {}", text(&registration));
        place.told(&line, &[text(&registration), "give it as --registration"]);
    }
    let graph = format!("{path}\n\n0\n");
    fs::write(place.at("graph"), graph).unwrap();
    place.told("store-image -o out --registration graph", &["graph, line", "give it as --references-graph"]);
    fs::write(place.at("paths"), format!("{path}\n")).unwrap();
    place.told("store-image -o out --registration paths", &["paths, line", "--dump-db", "--closure"]);
    fs::write(place.at("empty"), "").unwrap();
    place.told("store-image -o out --references-graph empty", &["empty has no path in it"]);
}

#[test]
fn loaders_without_a_place() {
    let guest = Guest::get();
    let place = Place::new(&guest.root);
    place.link("result", &guest.toplevel);
    for (table, loaders, others) in [
        ("none", "grub", "legacy or hybrid"),
        ("none", "systemd-boot", "efi or hybrid"),
        ("legacy", "systemd-boot", "efi or hybrid"),
        ("efi", "grub", "legacy or hybrid"),
        ("efi", "systemd-boot,grub", "hybrid"),
    ] {
        let line = format!(
            "root-disk -o out --closure ./result --toplevel ./result --loader {loaders} --partition-table {table}"
        );
        place.told(&line, &[&format!("--partition-table {table}; --partition-table {others} has one")]);
    }
}

/// The number of bytes that a message tells.
fn size_in(error: &str) -> u64 {
    let (_, behind) = error.split_once("give at least --size ").unwrap();
    behind.trim().parse().unwrap()
}

#[test]
fn the_size_that_is_told_is_the_smallest() {
    let (store, registration) = small_store();
    let place = Place::new(store.root.path());
    let mut products = vec!["store-image".to_owned()];
    for table in ["none", "legacy", "efi", "hybrid"] {
        products
            .extend(["", "--with-store"].map(|more| format!("root-disk --partition-table {table} {more}")));
    }
    for product in products {
        let line = format!("{product} --registration {} -o out --size", text(&registration));
        let size = size_in(&place.told(&format!("{line} 64K"), &[" more than 65536"]));
        let error = place.told(&format!("{line} {}", size - 1), &[]);
        assert_eq!(size_in(&error), size, "{line}");
        place.command(&format!("{line} {size}")).assert().success();
        fs::remove_file(place.at("out")).unwrap();
    }
}

#[test]
fn overlays_do_not_cut_off_disks() {
    let place = Place::new(Path::new("/"));
    place.command("disk create -o base.qcow2 --size 10M").assert().success();
    fs::write(place.at("base.raw"), [1; 1000]).unwrap();
    for (backing, format, size) in [("base.qcow2", "qcow2", 10 << 20), ("base.raw", "raw", 1000)] {
        let line = format!("disk create -o out --backing {backing} --backing-format {format}");
        let error = place
            .told(&format!("{line} --size {}", size - 1), &[&format!("`{backing}`"), "leave --size out"]);
        assert_eq!(size_in(&error), size);
        for size in [String::new(), format!("--size {size}"), "--size 1G".to_owned()] {
            place.command(&format!("{line} {size}")).assert().success();
            fs::remove_file(place.at("out")).unwrap();
        }
    }
}

/// Each call that concerns the file in turn finds the disk full.
#[test]
fn a_full_disk() {
    let (store, registration) = small_store();
    let guest = Guest::get();
    let place = Place::new(store.root.path());
    let registration = text(&registration);
    place.command("disk create -o base.qcow2 --size 10M").assert().success();
    place.command(&format!("store-image --registration {registration} -o store.img")).assert().success();
    let file = store.logical(1).replace("/nix/store", "");
    let extracted = format!("full{file}");
    let variables = "/usr/share/OVMF/OVMF_VARS_4M.fd";
    fs::create_dir(place.at("full")).unwrap();
    let guest_store = format!("--store-root {} --toplevel {}", text(&guest.root), guest.toplevel);
    let mut told = 0;
    for (line, named) in [
        (format!("store-image --registration {registration} -o full/out"), "full/out"),
        (format!("store-image --registration {registration} -o full/out --compress zstd"), "full/out"),
        (format!("store-image --registration {registration} -o full/out.img"), "full/out.img"),
        (format!("store-image --registration {registration} -o image --report full/report"), "full/report"),
        (format!("root-disk --registration {registration} -o full/out --partition-table efi"), "full/out"),
        (format!("boot-disk {guest_store} --loader systemd-boot -o full/out"), "full/out"),
        (format!("registration --registration {registration} -o full/out"), "full/out"),
        (format!("efi-vars create --template {variables} -o full/out"), "full/out"),
        (format!("extract store.img {file} -o full"), &extracted),
        ("disk create -o full/out --size 1G".to_owned(), "full/out"),
        ("disk create -o full/out --backing ../base.qcow2 --backing-format qcow2".to_owned(), "full/out"),
    ] {
        let mut failures = 0;
        for at in 1..=16 {
            let mut command = place.command(&line);
            command.env("LD_PRELOAD", interposer(env!("CARGO_TARGET_TMPDIR"))).env("FAULT_KIND", "ENOSPC");
            command.env("FAULT_AT", at.to_string()).env("FAULT_UNDER", place.at("full"));
            let output = command.output().unwrap();
            if output.status.success() {
                // The call does not matter, or it is the last one.
                for name in names_in(&place.at("full")) {
                    fs::remove_file(place.at("full").join(name)).unwrap();
                }
                continue;
            }
            failures += 1;
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(error.lines().count() == 1 && error.contains(named), "{line}, call {at}: {error}");
            assert!(error.contains("make room there, or write to another file system"), "{line}: {error}");
            assert!(place.rows.iter().any(|row| !row.of_others && row.is_in(&error)), "{error}");
            told += u32::from(error.contains(", which takes up to "));
            assert_eq!(names_in(&place.at("full")), [""; 0], "{line}, call {at}");
        }
        assert!(failures > 0, "{line}");
    }
    assert!(told > 5, "{told}");
}
