//! Links such as `nix build --store DIR -o result` makes them, wherever an option takes a store path: they lead into
//! `--store-root`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;

use testkit::guest::Guest;
use testkit::{error_of, imagegen, text};

/// A directory with links to parts of the guest, whose store lies elsewhere.
struct Links {
    guest: Guest,
    directory: tempfile::TempDir,
}

impl Links {
    fn new() -> Self {
        let links = Self { guest: Guest::get(), directory: tempfile::tempdir().unwrap() };
        let toplevel = links.guest.toplevel.clone();
        links.link("result", &toplevel);
        links.link("second", "result");
        links.link("slash", &format!("{toplevel}/"));
        fs::create_dir(links.at("sub")).unwrap();
        links.link("sub/up", "../second");
        links.link("around", "sub/../sub/up");
        // Where the store physically is.
        links.link("physical", text(&links.guest.root.join(&toplevel[1..])));
        links.link("dir", "sub");
        links
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn link(&self, name: &str, target: &str) {
        symlink(target, self.at(name)).unwrap();
    }

    /// In the directory of the links, for the store of the guest.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = imagegen!();
        command.current_dir(self.directory.path()).args(arguments);
        command.args(["--store-root", text(&self.guest.root)]);
        command
    }
}

#[test]
fn links_lead_into_the_store_root() {
    let links = Links::new();
    let registration = |path: &str| {
        let assert = links.command(&["registration", "--closure", path]).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    let expected = fs::read_to_string(&links.guest.registration).unwrap();
    let whole = links.at("result");
    for path in
        ["./result", "second", "slash", "sub/up", "around", "dir/up", "./result/", "physical", text(&whole)]
    {
        assert_eq!(registration(path), expected, "{path}");
    }
    // A link inside of a store path leads to other store paths.
    let systemd = registration("./result/systemd");
    assert!(systemd.starts_with(&links.guest.path("-systemd")), "{systemd}");
}

#[test]
fn every_option_that_takes_a_store_path_follows_links() {
    let links = Links::new();
    let [systemd, grub] = [links.guest.path("-systemd"), links.guest.path("-grub-2.")];
    links.link("systemd", &systemd);
    links.link("grub", &grub);
    let toplevel = links.guest.toplevel.clone();
    let build = |name: &str, [toplevel, systemd, grub]: [&str; 3]| {
        let generation = format!("7={toplevel}");
        let arguments =
            ["--toplevel", toplevel, "--systemd", systemd, "--grub", grub, "--generation", &generation];
        let mut command =
            links.command(&["boot-disk", "--loader", "systemd-boot,grub", "--format", "raw", "-o", name]);
        command.args(arguments).assert().success();
        fs::read(links.at(name)).unwrap()
    };
    let by_links = build("by-links", ["./result", "./systemd", "./grub"]);
    assert!(by_links == build("by-paths", [&toplevel, &systemd, &grub]));

    let root_disk = |name: &str, toplevel: &str| {
        let arguments = ["root-disk", "--closure", toplevel, "--toplevel", toplevel, "-o", name];
        links.command(&arguments).assert().success();
        fs::read(links.at(name)).unwrap()
    };
    assert!(root_disk("root-by-links", "result") == root_disk("root-by-paths", &toplevel));
}

#[test]
fn links_that_lead_to_no_store_path_are_told() {
    let links = Links::new();
    let toplevel = &links.guest.toplevel;
    let absent = "/nix/store/00000000000000000000000000000000-absent";
    links.link("absent", absent);
    links.link("dangling", "nothing");
    links.link("loop", "loop");
    links.link("out", "/nix/store/../../etc");
    links.link("store", text(&links.guest.root.join("nix/store")));
    links.link("inside", &format!("{toplevel}/nixos-version"));
    links.link("elsewhere", "sub");
    for (path, what) in [
        ("absent", format!("`absent` leads to {absent}, and there is no `")),
        ("dangling", "cannot find `dangling`, which leads to `".to_owned()),
        ("loop", "more than 40 symbolic links".to_owned()),
        ("out", "out of the store".to_owned()),
        ("store", "`store` is not a store path, nor a link to one".to_owned()),
        ("inside", format!("`inside` leads into the store path {toplevel}, to `nixos-version`")),
        ("result/nixos-version", format!("leads into the store path {toplevel}, to `nixos-version`")),
        ("result/not-there", "cannot follow `".to_owned()),
        ("absent/bin/x", "is --store-root right?".to_owned()),
        ("elsewhere", format!("nor a link to one: it leads to `{}`", text(&links.at("sub")))),
        ("sub", "is not a store path, nor a link to one".to_owned()),
        ("missing", "cannot find `missing`".to_owned()),
    ] {
        for arguments in [
            &["registration", "--closure"][..],
            &["boot-disk", "-o", "disk", "--loader", "systemd-boot", "--toplevel"],
        ] {
            let error = error_of(&mut links.command(&[arguments, &[path]].concat()));
            assert!(error.contains(&what), "{path}: {error}");
            assert!(!Path::new("disk").exists());
        }
    }
}
