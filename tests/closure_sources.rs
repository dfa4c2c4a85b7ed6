//! The three ways of naming a closure, judged by nix-store: they must tell the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use rusqlite::Connection;

use testkit::guest::Guest;
use testkit::{error_of, imagegen, names_in, text, tool};

/// The database of a copy of the guest's store; the store itself is not copied.
fn database_copy(guest: &Guest) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("nix/var/nix/db");
    fs::create_dir_all(&directory).unwrap();
    for name in ["db.sqlite", "schema"] {
        fs::copy(guest.root.join("nix/var/nix/db").join(name), directory.join(name)).unwrap();
    }
    (root, directory)
}

fn registration(root: &Path, path: &str) -> Command {
    let mut command = imagegen!();
    command.args(["registration", "--store-root", text(root), "--closure", path]);
    command
}

#[test]
fn the_database_tells_what_nix_store_tells() {
    let guest = Guest::get();
    let printed = registration(&guest.root, &guest.toplevel).assert().success();
    // The guest's registration is `nix-store --dump-db` of the sorted `nix-store --query --requisites`.
    let expected = fs::read_to_string(&guest.registration).unwrap();
    assert_eq!(String::from_utf8_lossy(&printed.get_output().stdout), expected);

    // A path without references is a closure by itself, and two roots may overlap.
    let leaf = expected.lines().next().unwrap();
    let printed = registration(&guest.root, leaf).assert().success();
    assert_eq!(String::from_utf8_lossy(&printed.get_output().stdout).lines().count(), 5);
    let both = registration(&guest.root, leaf).arg(&guest.toplevel).assert().success();
    assert_eq!(String::from_utf8_lossy(&both.get_output().stdout), expected);
}

#[test]
fn registration_graph_and_database_give_the_same_image() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // What Nix would write for exportReferencesGraph: the registration without its second and third lines.
    let mut graph = String::new();
    let registration = fs::read_to_string(&guest.registration).unwrap();
    let mut lines = registration.lines();
    while let Some(path) = lines.next() {
        let (deriver, count) = (lines.nth(2).unwrap(), lines.next().unwrap());
        graph.extend([path, deriver, count].map(|line| format!("{line}\n")));
        let references = lines.by_ref().take(count.parse().unwrap());
        graph.extend(references.map(|line| format!("{line}\n")));
    }
    fs::write(at("graph"), graph).unwrap();

    let image = |name: &str, arguments: &[&str]| {
        let output = at(name);
        let mut command = imagegen!();
        command.args(["store-image", "--store-root", text(&guest.root), "-o", text(&output)]).args(arguments);
        let assert = command.assert().success();
        (tool(&["sha256sum", text(&output)])[..64].to_owned(), assert.get_output().stderr.clone())
    };
    let (reference, _) = image("registration", &["--registration", text(&guest.registration)]);
    let (by_database, _) = image("database", &["--closure", &guest.toplevel]);
    let (by_graph, said) = image("graph-image", &["--references-graph", text(&at("graph"))]);
    assert_eq!(by_database, reference);
    assert_eq!(by_graph, reference);
    // A graph has no hashes, so that nothing could be checked.
    assert!(String::from_utf8_lossy(&said).contains("paths were not checked"));
}

#[test]
fn reading_the_database_leaves_no_trace_and_sees_the_log() {
    let guest = Guest::get();
    let (root, directory) = database_copy(&guest);
    let before = names_in(&directory);
    registration(root.path(), &guest.toplevel).assert().success();
    assert_eq!(names_in(&directory), before);

    // A Nix that runs has its last changes in the log beside the database.
    let writer = Connection::open(directory.join("db.sqlite")).unwrap();
    let new = "/nix/store/00000000000000000000000000000000-new";
    writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    writer
        .execute(
            "insert into ValidPaths (path, hash, registrationTime, narSize) values (?, ?, 1, 120)",
            [new, &format!("sha256:{}", "0".repeat(64))],
        )
        .unwrap();
    assert!(directory.join("db.sqlite-wal").metadata().unwrap().len() > 0);
    registration(root.path(), new).assert().success();
}

#[test]
fn a_log_that_cannot_be_read_is_told_with_what_to_do() {
    let guest = Guest::get();
    let (root, directory) = database_copy(&guest);
    // What lies on a disk whose machine was switched off while Nix ran, or in a copy that was made meanwhile.
    let database = directory.join("db.sqlite");
    let writer = Connection::open(&database).unwrap();
    writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    writer.execute_batch("update ValidPaths set registrationTime = 2").unwrap();
    let copy = root.path().join("copy/nix/var/nix/db");
    fs::create_dir_all(&copy).unwrap();
    for name in ["db.sqlite", "db.sqlite-wal", "schema"] {
        fs::copy(directory.join(name), copy.join(name)).unwrap();
    }
    let copy = root.path().join("copy");
    // Where it may be made, SQLite makes the index.
    registration(&copy, &guest.toplevel).assert().success();
    fs::remove_file(copy.join("nix/var/nix/db/db.sqlite-shm")).unwrap();

    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let arguments = ["--map-root-user", "--mount", "sh", "-c", script, "sh", text(&copy)];
    let program = registration(&copy, &guest.toplevel);
    let mut read_only = Command::new("unshare");
    read_only.args(arguments).arg(program.get_program()).args(program.get_args());
    let error = error_of(&mut read_only);
    assert!(error.contains("db.sqlite-wal`, which cannot be read without the index"), "{error}");
    assert!(error.contains("let Nix open the store once") && error.contains("--registration"), "{error}");
}

#[test]
fn databases_that_cannot_be_used_are_named_and_nothing_is_written() {
    let guest = Guest::get();
    let (root, directory) = database_copy(&guest);
    let output = root.path().join("image");
    let refuse = |path: &str, what: &str| {
        for subcommand in ["store-image", "root-disk"] {
            let mut command = imagegen!();
            command.args([subcommand, "--store-root", text(root.path()), "--closure", path]);
            let error = error_of(command.args(["-o", text(&output)]));
            assert!(error.contains(what), "{what}: {error}");
            assert!(!output.exists());
        }
    };
    refuse("/nix/store/00000000000000000000000000000000-x", "is not valid in this store");
    refuse(&guest.toplevel, "is registered but missing");

    let database = directory.join("db.sqlite");
    let writer = Connection::open(&database).unwrap();
    writer.pragma_update(None, "journal_mode", "delete").unwrap();
    writer.execute_batch("begin exclusive").unwrap();
    refuse(&guest.toplevel, "is locked");
    writer.execute_batch("rollback").unwrap();
    writer.execute_batch("update ValidPaths set hash = 'md5:0'").unwrap();
    refuse(&guest.toplevel, "is damaged");
    writer
        .execute_batch(&format!("update ValidPaths set hash = 'sha256:{}', deriver = 'x'", "0".repeat(64)))
        .unwrap();
    refuse(&guest.toplevel, "is not a store path: `x`");
    writer.execute_batch("drop table Refs").unwrap();
    refuse(&guest.toplevel, "no such table");

    fs::write(directory.join("schema"), "11").unwrap();
    refuse(&guest.toplevel, "look for a newer nix-imagegen");
    fs::write(directory.join("schema"), "9").unwrap();
    refuse(&guest.toplevel, "let a newer Nix open the store once");
    fs::write(directory.join("schema"), "ten").unwrap();
    refuse(&guest.toplevel, "does not hold the number");
    fs::write(directory.join("schema"), "10").unwrap();
    fs::write(&database, "no database at all, but longer than the header of one has to be").unwrap();
    refuse(&guest.toplevel, "not a database");
    // Neither is a pipe waited for under the name of a file.
    for name in ["db.sqlite", "schema"] {
        let file = directory.join(name);
        fs::rename(&file, directory.join("kept")).unwrap();
        tool(&["mkfifo", text(&file)]);
        refuse(&guest.toplevel, "it is not a regular file");
        fs::rename(directory.join("kept"), &file).unwrap();
    }
    fs::remove_file(&database).unwrap();
    refuse(&guest.toplevel, "is --store-root right?");
}

#[test]
fn graphs_that_cannot_be_used_are_named_and_nothing_is_written() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let files = ["first", "second"].map(|name| directory.path().join(name));
    let output = directory.path().join("image");
    let refuse = |graphs: [&str; 2], what: &str| {
        for (file, graph) in files.iter().zip(graphs) {
            fs::write(file, graph).unwrap();
        }
        for subcommand in [&["store-image"][..], &["root-disk", "--with-store"]] {
            let mut command = imagegen!();
            command.args(subcommand).args(["--store-root", text(&guest.root), "-o", text(&output)]);
            let error = error_of(command.arg("--references-graph").args(&files));
            assert!(error.contains(what), "{what}: {error}");
            assert!(!output.exists());
        }
    };
    let [busybox, toplevel] = [&guest.path("-busybox"), &guest.toplevel];
    let whole = &format!("{busybox}\n\n0\n");
    let hashed = |size: u64| {
        let hash = "sha256:17h2dcyw7ssm3gxwpv1b4wmx84qwz6qdkxnjr18ypwi2harmkrqf";
        format!(r#"[{{"path":"{busybox}","narHash":"{hash}","narSize":{size},"references":[]}}]"#)
    };
    refuse([whole, "nothing of the kind"], "second");
    refuse([whole, "[{\"references\":[]}]"], "second, entry 1: ");
    refuse([whole, &format!("{toplevel}\n\n2\n{busybox}\n")], "second");
    refuse([whole, &format!("{busybox}\n\n1\n{busybox}\n")], "has other references");
    refuse([&hashed(1), &hashed(2)], "has other hash and size");
    refuse([whole, &format!("{toplevel}\n\n1\n{}\n", guest.path("-systemd"))], "which is not registered");
    let absent = busybox.replace("-busybox", "-lazybox");
    refuse([whole, &format!("{absent}\n\n0\n")], "is registered but missing");
    // Consistent, but not what is there.
    refuse([&hashed(1), whole], "its NAR has");
}

#[test]
fn exactly_one_source_is_asked_for() {
    imagegen!().args(["store-image", "-o", "x"]).assert().failure().code(2);
    let both = ["registration", "--registration", "x", "--closure", "/nix/store/y"];
    imagegen!().args(both).assert().failure().code(2);
}
