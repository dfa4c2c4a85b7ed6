//! `root-disk`, judged by e2fsck and by Debian's Nix on an unpacked copy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use rusqlite::Connection;

use testkit::guest::Guest;
use testkit::{error_of, imagegen, run, text, tool};

fn root_disk(guest: &Guest, output: &Path, more: &[&str]) -> Command {
    let mut command = imagegen!();
    command.args(["root-disk", "--store-root", text(&guest.root), "-o", text(output)]).args(more);
    command
}

/// Writes a raw disk of the guest and has e2fsck look at it.
fn build(guest: &Guest, output: &Path, more: &[&str]) {
    let arguments = ["--closure", &guest.toplevel, "--toplevel", &guest.toplevel, "--format", "raw"];
    root_disk(guest, output, &arguments).args(more).assert().success();
    tool(&["e2fsck", "-fn", text(output)]);
}

/// A root file system, unpacked.
struct Unpacked {
    root: PathBuf,
    _directory: tempfile::TempDir,
}

impl Unpacked {
    fn new(image: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        tool(&["debugfs", "-R", &format!("rdump / {}", text(&root)), text(image)]);
        Self { root, _directory: directory }
    }

    /// What the Nix of the guest would print.
    fn nix_store(&self, arguments: &[&str]) -> String {
        let store = format!("local?root={}", text(&self.root));
        let mut command = Command::new("nix-store");
        command.env("NIX_CONFIG", "build-users-group =\nsubstitute = false").env("NIX_REMOTE", "");
        let output = command.args(["--store", &store]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        format!("{}{said}", String::from_utf8_lossy(&output.stdout))
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        run(&["chmod", "-R", "u+w", text(&self.root)]);
    }
}

#[test]
fn a_guest_with_its_store_finds_everything_valid() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    build(&guest, &image, &["--with-store"]);
    let unpacked = Unpacked::new(&image);

    let registration = fs::read_to_string(&guest.registration).unwrap();
    let paths: Vec<&str> = unpacked_paths(&registration);
    let said = unpacked.nix_store(&["--verify", "--check-contents"]);
    assert!(!said.contains("error") && !said.contains("modified"), "{said}");
    let requisites = unpacked.nix_store(&["--query", "--requisites", &guest.toplevel]);
    let mut requisites: Vec<&str> = requisites.lines().collect();
    requisites.sort_unstable();
    assert_eq!(requisites, paths);
    assert_eq!(unpacked.nix_store(&[&["--dump-db"], &paths[..]].concat()), registration);
    let hash = |nix: &str| nix.trim().to_owned();
    let expected =
        tool(&["nix-hash", "--type", "sha256", "--base32", text(&guest.root.join(&guest.toplevel[1..]))]);
    let found = unpacked.nix_store(&["--query", "--hash", &guest.toplevel]);
    assert_eq!(hash(&found), format!("sha256:{}", hash(&expected)));
    // The profile keeps the system from being collected as garbage, and nothing else is there to be.
    assert_eq!(
        unpacked.nix_store(&["--gc", "--print-dead"]).lines().filter(|line| line.starts_with('/')).count(),
        0
    );
}

/// The tables, indexes and triggers of a database, without comments and in one spelling.
fn schema(database: &Path) -> BTreeMap<String, String> {
    let connection = Connection::open(database).unwrap();
    let mut statement =
        connection.prepare("select name, sql from sqlite_master where sql is not null").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    let plain = |sql: String| {
        let code = sql.lines().map(|line| line.split("--").next().unwrap());
        code.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ").to_lowercase()
    };
    rows.map(|row| row.unwrap())
        .map(|(name, sql)| (name, plain(sql).replace("( ", "(").replace(" )", ")")))
        .collect()
}

/// The closure of a path as Nix tells it of a store on a read-only file system, sorted.
fn path_info_read_only(root: &Path, path: &str) -> Vec<String> {
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let store = format!("local?root={}&read-only=true", text(root));
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", mount, "sh", text(root)]);
    command.args(["nix", "path-info", "--store", &store, "--recursive", path]);
    let features = "experimental-features = nix-command read-only-local-store";
    let config = format!("build-users-group =\nsubstitute = false\n{features}");
    let output = command.env("NIX_CONFIG", config).env("NIX_REMOTE", "").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut paths: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    paths.sort();
    paths
}

fn unpacked_paths_sorted(guest: &Guest) -> Vec<String> {
    let registration = fs::read_to_string(&guest.registration).unwrap();
    let mut paths: Vec<_> = unpacked_paths(&registration).into_iter().map(str::to_owned).collect();
    paths.sort();
    paths
}

#[test]
fn the_database_has_the_tables_that_nix_makes() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    build(&guest, &image, &["--with-store"]);
    let unpacked = Unpacked::new(&image);
    let mut found = schema(&unpacked.root.join("nix/var/nix/db/db.sqlite"));

    // An empty store that this machine's Nix makes.
    let empty = Unpacked { root: directory.path().join("empty"), _directory: tempfile::tempdir().unwrap() };
    empty.nix_store(&["--gc"]);
    let made = schema(&empty.root.join("nix/var/nix/db/db.sqlite"));
    if made.contains_key("SchemaMigrations") {
        // A Nix of today opens the disk where it can write nothing.
        assert_eq!(path_info_read_only(&unpacked.root, &guest.toplevel), unpacked_paths_sorted(&guest));
    } else {
        // Nix from 2.31 on makes this table too, with these words.
        let table = found.remove("SchemaMigrations").unwrap();
        assert_eq!(table, "create table schemamigrations (migration text primary key not null)");
    }
    assert_eq!(found, made);
    // Nix makes this directory as well, even in a store that it may only read.
    let links = unpacked.root.join("nix/store/.links").metadata().unwrap();
    assert!(links.is_dir() && links.permissions().mode() & 0o7777 == 0o755);
}

/// The first line of every record.
fn unpacked_paths(registration: &str) -> Vec<&str> {
    let mut lines = registration.lines();
    let mut paths = Vec::new();
    while let Some(path) = lines.next() {
        paths.push(path);
        let references: usize = lines.nth(3).unwrap().parse().unwrap();
        lines.by_ref().take(references).for_each(drop);
    }
    paths
}

#[test]
fn a_guest_without_its_store_knows_the_paths_of_the_store_image() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    build(&guest, &image, &[]);
    let unpacked = Unpacked::new(&image);
    assert!(unpacked.root.join("nix/store").read_dir().unwrap().next().is_none());
    assert!(unpacked.root.join("nix/.ro-store").is_dir() && unpacked.root.join("nix/.rw-store").is_dir());
    // What the initrd does with the store image, done by hand.
    tool(&["rmdir", text(&unpacked.root.join("nix/store"))]);
    tool(&["cp", "-a", text(&guest.root.join("nix/store")), text(&unpacked.root.join("nix/store"))]);
    let registration = fs::read_to_string(&guest.registration).unwrap();
    let paths = unpacked_paths(&registration);
    assert_eq!(unpacked.nix_store(&[&["--dump-db"], &paths[..]].concat()), registration);
    unpacked.nix_store(&[&["--verify-path"], &paths[..]].concat());
}

#[test]
fn the_root_file_system_is_as_the_installer_leaves_it() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    build(&guest, &image, &["--additional-space", "64M"]);
    let debugfs = |request: &str| tool(&["debugfs", "-R", request, text(&image)]);
    for (path, mode) in [
        ("/", "0755"),
        ("/etc/NIXOS", "0644"),
        ("/nix/store", "01775"),
        ("/nix/var/nix/db/db.sqlite", "0644"),
        ("/root", "0700"),
        ("/tmp", "01777"),
        ("/var/tmp", "01777"),
    ] {
        let shown = debugfs(&format!("stat {path}"));
        let found = shown.split("Mode:").nth(1).unwrap().split_whitespace().next().unwrap();
        assert_eq!(found, mode, "{path}");
    }
    let link = |path: &str| debugfs(&format!("stat {path}"));
    assert!(link("/nix/var/nix/profiles/system").contains("\"system-1-link\""));
    assert_eq!(debugfs("cat /nix/var/nix/db/schema"), "10");
    let unpacked = Unpacked::new(&image);
    let target = fs::read_link(unpacked.root.join("nix/var/nix/profiles/system-1-link")).unwrap();
    assert_eq!(target, Path::new(&guest.toplevel));
    let shown = tool(&["blkid", "-p", text(&image)]);
    assert!(
        shown.contains("LABEL=\"nixos\"") && shown.contains("f222513b-ded1-49fa-b591-20ce86a2fe7f"),
        "{shown}"
    );
    // SQLite's own tool finds nothing wrong, and rows where they belong.
    let database = unpacked.root.join("nix/var/nix/db/db.sqlite");
    assert_eq!(
        tool(&["sqlite3", text(&database), "pragma integrity_check; pragma foreign_key_check"]),
        "ok\n"
    );
}

#[test]
fn the_same_closure_gives_the_same_bytes_from_any_source() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let common = ["--toplevel", &guest.toplevel, "--with-store"];
    let image = |name: &str, arguments: &[&str]| {
        root_disk(&guest, &at(name), &common).args(arguments).assert().success();
        fs::read(at(name)).unwrap()
    };
    let reference = image("database", &["--closure", &guest.toplevel]);
    assert!(image("again", &["--closure", &guest.toplevel, "--jobs", "1"]) == reference);
    assert!(image("registration", &["--registration", text(&guest.registration)]) == reference);
    // Without hashes they are computed, since a database has them.
    let registration = fs::read_to_string(&guest.registration).unwrap();
    let without: Vec<&str> = registration
        .lines()
        .map(|line| if line.len() == 64 && !line.starts_with('/') { "" } else { line })
        .collect();
    fs::write(at("without-hashes"), without.join("\n") + "\n").unwrap();
    assert!(image("hashed", &["--registration", text(&at("without-hashes"))]) == reference);
    tool(&["qemu-img", "check", text(&at("database"))]);
}

#[test]
fn what_does_not_agree_is_named_and_nothing_is_written() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("image");
    let leaf = guest.path("-busybox");
    let error =
        error_of(&mut root_disk(&guest, &output, &["--closure", &leaf, "--toplevel", &guest.toplevel]));
    assert!(error.contains("is not in the closure"), "{error}");
    let registration = fs::read_to_string(&guest.registration).unwrap();
    let file = directory.path().join("registration");
    fs::write(&file, registration.replace("-busybox", "-lazybox")).unwrap();
    let error = error_of(&mut root_disk(&guest, &output, &["--registration", text(&file)]));
    assert!(error.contains("is registered but missing"), "{error}");
    let hash = registration.lines().nth(1).unwrap();
    fs::write(&file, registration.replacen(hash, &"0".repeat(64), 1)).unwrap();
    let error = error_of(&mut root_disk(&guest, &output, &["--registration", text(&file), "--with-store"]));
    assert!(error.contains("its NAR hash is"), "{error}");
    let error = error_of(&mut root_disk(&guest, &output, &["--closure", &leaf, "--size", "1M"]));
    assert!(error.contains("need a file system of"), "{error}");
    assert!(!output.exists());
}

/// What du(1) says of a file, as the summary shows it.
fn occupied(image: &Path) -> String {
    let bytes: u64 =
        tool(&["du", "--block-size=1", text(image)]).split_whitespace().next().unwrap().parse().unwrap();
    format!("({} on disk)", imagegen::units::ByteCount(bytes))
}

#[test]
fn what_is_said_to_be_on_disk_is_what_is_occupied() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let [image, report] = ["image", "report"].map(|name| directory.path().join(name));
    for format in ["raw", "qcow2"] {
        let closure =
            ["--closure", &guest.toplevel, "--with-store", "--format", format, "--report", text(&report)];
        let disk = root_disk(&guest, &image, &closure).output().unwrap();
        let mut command = imagegen!();
        command.args(["boot-disk", "--store-root", text(&guest.root), "--toplevel", &guest.toplevel]);
        command.args(["--loader", "systemd-boot", "--format", format]);
        let boot = directory.path().join("boot");
        let boot_disk = command.args(["-o", text(&boot)]).output().unwrap();
        for (file, output) in [(&image, disk), (&boot, boot_disk)] {
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains(&occupied(file)), "{}: {said}", occupied(file));
        }
        // Holes are in the digest, though nobody has read them.
        let written: serde_json::Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
        assert_eq!(written["sha256"].as_str().unwrap(), &tool(&["sha256sum", text(&image)])[..64]);
        assert_eq!(written["image_bytes"].as_u64().unwrap(), fs::metadata(&image).unwrap().len());
    }
}
