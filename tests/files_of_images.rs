//! `ls`, `cat` and `extract`: file systems that mke2fs, mtools and this program make, against the files they were made of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::guest::Guest;
use testkit::{error_of, imagegen, text, tool};

/// Standard output of a command that succeeds.
fn printed(at: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = imagegen!().args(arguments).current_dir(at).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn lines(at: &Path, arguments: &[&str]) -> String {
    String::from_utf8(printed(at, arguments)).unwrap()
}

fn refused(at: &Path, arguments: &[&str]) -> String {
    error_of(imagegen!().args(arguments).current_dir(at))
}

/// What a file is: mode, time and contents or target, and the paths that share it.
type Described = (u32, i64, Vec<u8>, Vec<PathBuf>);

/// Everything below a directory, by its path from there.
fn described(root: &Path) -> BTreeMap<PathBuf, Described> {
    let mut all = BTreeMap::new();
    let mut names: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            let contents = if found.is_dir() {
                open.push(path.clone());
                Vec::new()
            } else if found.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else {
                fs::read(&path).unwrap()
            };
            let relative = path.strip_prefix(root).unwrap().to_owned();
            if found.nlink() > 1 && !found.is_dir() {
                names.entry(found.ino()).or_default().push(relative.clone());
            }
            all.insert(relative, (found.mode(), found.mtime(), contents, Vec::new()));
        }
    }
    for same in names.into_values() {
        for name in &same {
            let mut others = same.clone();
            others.sort();
            all.get_mut(name).unwrap().3 = others;
        }
    }
    all
}

/// Files of all shapes.
fn make_tree(at: &Path) {
    fs::create_dir_all(at.join("a/b/c")).unwrap();
    fs::write(at.join("a/empty"), "").unwrap();
    fs::write(at.join("a/text"), "text\n").unwrap();
    fs::write(at.join("a/large"), (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).unwrap();
    let sparse = fs::File::create(at.join("a/sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 50_000_000).unwrap();
    sparse.set_len(100_000_000).unwrap();
    fs::hard_link(at.join("a/text"), at.join("a/b/same")).unwrap();
    fs::hard_link(at.join("a/text"), at.join("zz-same")).unwrap();
    fs::write(at.join(OsStr::from_bytes(b"a/b/\xff\n -")), "bytes").unwrap();
    fs::write(at.join("a/b").join("n".repeat(255)), "long").unwrap();
    symlink("../text", at.join("a/b/link")).unwrap();
    symlink("/a/b", at.join("way")).unwrap();
    symlink("/nowhere/".repeat(30), at.join("a/long link")).unwrap();
    symlink("circle", at.join("circle")).unwrap();
    fs::create_dir(at.join("many")).unwrap();
    for i in 0..3000 {
        fs::write(at.join(format!("many/file-{i}")), i.to_string()).unwrap();
    }
    for (name, mode) in [("a/text", 0o444), ("a/large", 0o751), ("a/b", 0o555), ("many", 0o700)] {
        fs::set_permissions(at.join(name), Permissions::from_mode(mode)).unwrap();
    }
    for name in ["a/large", "way", "a/b", "many"] {
        tool(&["touch", "--no-dereference", "--date=@1000000007", text(&at.join(name))]);
    }
}

/// An ext4 file system of a tree, by mke2fs.
fn ext4_of(tree: &Path, image: &Path, options: &[&str]) {
    let mut command = vec!["mke2fs", "-q", "-t", "ext4", "-d", text(tree)];
    command.extend(options);
    command.extend([text(image), "250M"]);
    tool(&command);
}

#[test]
fn what_mke2fs_put_in_comes_out() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let tree = at.join("tree");
    make_tree(&tree);
    let expected = described(&tree);
    for (options, i) in
        [(&[][..], 1), (&["-b", "1024"], 2), (&["-O", "^metadata_csum,^64bit", "-I", "128"], 3)]
    {
        let image = format!("{i}.img");
        ext4_of(&tree, &at.join(&image), options);
        tool(&[
            "qemu-img",
            "convert",
            "-O",
            "qcow2",
            "-c",
            text(&at.join(&image)),
            text(&at.join("c.qcow2")),
        ]);
        for (image, jobs) in [(image.as_str(), "1"), (image.as_str(), "5"), ("c.qcow2", "2")] {
            let out = format!("out-{i}-{jobs}");
            let said = imagegen!()
                .args(["extract", image, "/", "-o", &out, "--jobs", jobs])
                .current_dir(at)
                .output()
                .unwrap();
            assert!(said.status.success(), "{said:?}");
            let found = described(&at.join(&out));
            assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
            for (path, expected) in &expected {
                let found = &found[path];
                assert!(found == expected, "{}: {:?} {:?}", path.display(), found.0, expected.0);
            }
            let sparse = at.join(&out).join("a/sparse").metadata().unwrap();
            assert!(sparse.blocks() * 512 < 1 << 20, "{} blocks", sparse.blocks());
        }
        // A part of it, under its own name.
        printed(at, &["extract", &image, "/way/../b/link", "-o", &format!("part-{i}")]);
        assert_eq!(fs::read_link(at.join(format!("part-{i}/link"))).unwrap(), Path::new("../text"));
        printed(at, &["extract", &image, "a/b", "-o", &format!("part-{i}")]);
        assert_eq!(described(&at.join(format!("part-{i}/b"))), {
            let mut part: BTreeMap<_, _> = expected
                .iter()
                .filter_map(|(path, what)| Some((path.strip_prefix("a/b").ok()?.to_owned(), what.clone())))
                .filter(|(path, _)| path != Path::new(""))
                .collect();
            // Its other names are not there.
            part.get_mut(Path::new("same")).unwrap().3 = Vec::new();
            part
        });
        for (path, file) in
            [("/a/large", "a/large"), ("way/link", "a/text"), ("/a/../a/./sparse", "a/sparse")]
        {
            assert!(printed(at, &["cat", &image, path]) == fs::read(tree.join(file)).unwrap(), "{path}");
        }
    }
    let listed = lines(at, &["ls", "1.img", "-R"]);
    for path in expected.keys() {
        let name = imagegen::text::shown(path.as_os_str().as_bytes());
        assert!(listed.lines().any(|line| line.contains(&format!("  {name}"))), "{name}");
    }
    assert!(listed.contains("d 0555  "), "{listed}");
    assert!(listed.contains("  2001-09-09 01:46:47  way -> /a/b\n"), "{listed}");
    assert_eq!(lines(at, &["ls", "1.img", "way"]), lines(at, &["ls", "1.img", "/a/b/"]));
    assert!(lines(at, &["ls", "1.img", "/a/text"]).ends_with("  text\n"));

    let json: serde_json::Value =
        serde_json::from_slice(&printed(at, &["ls", "1.img", "a", "--json"])).unwrap();
    let large = json["files"].as_array().unwrap().iter().find(|entry| entry["name"] == "large").unwrap();
    assert_eq!(large["kind"], "file");
    assert_eq!(large["permissions"], "0751");
    assert_eq!(large["size"], 12_000_000);
    assert_eq!(large["modified"], 1_000_000_007);

    for (arguments, expected) in [
        (&["cat", "1.img", "/a/b/missing"][..], "there is no `/a/b/missing`: `/a/b` has no `missing`"),
        (&["cat", "1.img", "/a/text/x"], "there is no `/a/text/x`: `/a/text` is no directory"),
        (&["cat", "1.img", "/a"], "`/a` is a directory, not a regular file"),
        (&["cat", "1.img", "/circle"], "leads through more than 40 symbolic links"),
        (&["ls", "1.img:2"], "no partition table"),
        (&["extract", "1.img", "/", "-o", "out-1-1"], "`out-1-1` exists already"),
        (&["extract", "1.img", "a/text", "-o", "out-1-1/a"], "`out-1-1/a/text` exists already"),
        (&["extract", "1.img", "a", "-o", "missing/below"], "missing/below"),
        (&["extract", "1.img", "a", "-o", "1.img"], "1.img"),
        (&["extract", "1.img", "a", "-o", "-"], "`-` stands for standard output"),
    ] {
        let said = refused(at, arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn store_images_have_their_store_paths() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let registration = text(&guest.registration);
    let store_image = [
        "store-image",
        "--store-root",
        text(&guest.root),
        "--registration",
        registration,
        "-o",
        "store.qcow2",
    ];
    printed(at, &[&store_image[..], &["--compress", "zstd"]].concat());
    printed(at, &["extract", "store.qcow2", "-o", "store"]);
    for name in fs::read_dir(at.join("store")).unwrap() {
        let name = name.unwrap().file_name();
        let source = guest.root.join("nix/store").join(&name);
        tool(&["diff", "-r", "--no-dereference", text(&at.join("store").join(&name)), text(&source)]);
        assert_eq!(at.join("store").join(&name).symlink_metadata().unwrap().mtime(), 1);
    }
    // The place that it has in the guest is a place in the image.
    let file = format!("{}/nixos-version", guest.toplevel);
    let expected = fs::read(guest.physical(&file)).unwrap();
    assert_eq!(printed(at, &["cat", "store.qcow2", &file]), expected);
    assert_eq!(printed(at, &["cat", "store.qcow2", file.strip_prefix("/nix/store").unwrap()]), expected);
}

#[test]
fn partitions_are_named_by_number_or_name() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let tree = at.join("tree");
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("etc/hostname"), "guest\n").unwrap();
    let disk = at.join("disk:1.img");
    fs::File::create(&disk).unwrap().set_len(100 << 20).unwrap();
    let new = ["-n", "1:2048:+32M", "-c", "1:BOOT", "-n", "2:0:+1M", "-n", "3:0:+32M", "-c", "3:nixos"];
    tool(&[&["sgdisk"], &new[..], &[text(&disk)]].concat());
    let sector = |number: &str| {
        let said = tool(&["sgdisk", "-i", number, text(&disk)]);
        let line = said.lines().find_map(|line| line.strip_prefix("First sector: ")).unwrap();
        line.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let at_third = format!("offset={}", sector("3") * 512);
    tool(&["mke2fs", "-q", "-t", "ext4", "-d", text(&tree), "-E", &at_third, text(&disk), "32M"]);
    let fat = at.join("fat.img");
    fs::File::create(&fat).unwrap().set_len(32 << 20).unwrap();
    tool(&["mkfs.vfat", "-F", "16", text(&fat)]);
    fs::create_dir_all(at.join("fat/EFI/nixos")).unwrap();
    let long = "a long name with ümlauts and 日本語.conf";
    fs::write(at.join("fat/EFI/nixos").join(long), "x".repeat(70_000)).unwrap();
    fs::write(at.join("fat/EFI/SHORT.EFI"), "short").unwrap();
    fs::write(at.join("fat/EFI/empty"), "").unwrap();
    tool(&["touch", "-d", "2024-02-29 23:59:58 UTC", text(&at.join("fat/EFI/SHORT.EFI"))]);
    let mut copy = Command::new("mcopy");
    copy.args(["-s", "-m", "-i", text(&fat), text(&at.join("fat/EFI")), "::"])
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8");
    assert!(copy.status().unwrap().success());
    let into = format!("seek={}", sector("1"));
    tool(&[
        "dd",
        &format!("if={}", text(&fat)),
        &format!("of={}", text(&disk)),
        "bs=512",
        &into,
        "conv=notrunc",
    ]);

    let listed = lines(at, &["ls", "disk:1.img"]);
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 3, "{listed}");
    assert_eq!(rows[0], ["disk:1.img:1", "32.0", "MiB", "FAT", "BOOT"], "{listed}");
    assert_eq!(rows[2], ["disk:1.img:3", "32.0", "MiB", "ext4", "nixos"], "{listed}");
    assert_eq!(printed(at, &["cat", "disk:1.img:3", "/etc/hostname"]), b"guest\n");
    assert_eq!(printed(at, &["cat", "disk:1.img:nixos", "/etc/hostname"]), b"guest\n");
    assert_eq!(printed(at, &["cat", "disk:1.img:BOOT", "/efi/short.efi"]), b"short");
    printed(at, &["extract", "disk:1.img:1", "-o", "out"]);
    tool(&["diff", "-r", text(&at.join("out")), text(&at.join("fat"))]);
    let short = at.join("out/EFI/SHORT.EFI").metadata().unwrap();
    assert_eq!(short.mtime(), 1_709_251_198);

    for (arguments, expected) in [
        (&["cat", "disk:1.img", "/etc/hostname"][..], "name one, as in `disk:1.img:1`"),
        (&["ls", "disk:1.img:2"], "partition 2 is neither ext4 nor FAT (zeros)"),
        (
            &["ls", "disk:1.img:9"],
            "there is no partition `9`; there are 1 `BOOT` (FAT), 2 (zeros), 3 `nixos` (ext4)",
        ),
        (&["ls", "missing.img:1"], "missing.img:1"),
    ] {
        let said = refused(at, arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

/// Images that were changed by hand: names that lead elsewhere, a directory in itself, a link and a directory of one name.
#[test]
fn nothing_is_written_outside() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let tree = at.join("tree");
    fs::create_dir_all(tree.join("dir/inner")).unwrap();
    fs::write(tree.join("dir/aaaaaaa"), "escaped").unwrap();
    fs::write(tree.join("dir/inner/file"), "file").unwrap();
    symlink("../..", tree.join("dir/outside")).unwrap();
    let plain = at.join("plain.img");
    ext4_of(&tree, &plain, &["-O", "^metadata_csum,^dir_index"]);
    let bytes = fs::read(&plain).unwrap();
    let renamed = |from: &[u8], to: &[u8]| {
        let mut bytes = bytes.clone();
        let place = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes[place..place + from.len()].copy_from_slice(to);
        fs::write(at.join("hostile.img"), bytes).unwrap();
    };
    let before =
        || described(at).into_keys().filter(|path| path.components().count() == 1).collect::<Vec<_>>();
    let extract =
        || imagegen!().args(["extract", "hostile.img", "-o", "out"]).current_dir(at).output().unwrap();
    fs::write(at.join("hostile.img"), "").unwrap();
    let there = before();
    for (from, to, expected) in [
        (&b"aaaaaaa"[..], &b"../away"[..], "impossible entry `../away`"),
        (b"aaaaaaa", b"/away/x", "impossible entry `/away/x`"),
        (b"aaaaaaa", b"outside", "`outside` twice"),
    ] {
        renamed(from, to);
        let said = extract();
        assert_eq!(said.status.code(), Some(1));
        let said = String::from_utf8(said.stderr).unwrap();
        assert!(said.contains(expected), "{said}");
        assert_eq!(before(), there, "nothing stays");
    }
    // A directory that is its own child.
    fs::write(at.join("hostile.img"), &bytes).unwrap();
    tool(&["debugfs", "-w", "-R", "ln dir dir/inner/again", text(&at.join("hostile.img"))]);
    let said = String::from_utf8(extract().stderr).unwrap();
    assert!(said.contains("the directory `/dir/inner/again` is in the tree twice"), "{said}");
    assert!(refused(at, &["ls", "-R", "hostile.img"]).contains("in the tree twice"));
    assert_eq!(before(), there);
    // Links that lead out are made, and not followed.
    fs::write(at.join("hostile.img"), &bytes).unwrap();
    assert!(extract().status.success());
    assert_eq!(fs::read_link(at.join("out/dir/outside")).unwrap(), Path::new("../.."));
    let said = refused(at, &["cat", "hostile.img", "/dir/outside/../../plain.img"]);
    assert!(said.contains("`/` has no `plain.img`"), "{said}");
}

#[test]
fn what_only_linux_reads_comes_with_the_way_to_mount_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(at.join("a.img"), [b"hsqs".to_vec(), vec![0; 1 << 16]].concat()).unwrap();
    let said = refused(at, &["cat", "a.img", "/file"]);
    let expected = "the image is neither ext4 nor FAT (squashfs file system); `mount -o ro,loop,offset=0 a.img DIRECTORY`";
    assert!(said.contains(expected), "{said}");
    tool(&["qemu-img", "convert", "-O", "qcow2", text(&at.join("a.img")), text(&at.join("a.qcow2"))]);
    let said = refused(at, &["ls", "a.qcow2"]);
    let expected = "`qemu-nbd --read-only --connect=/dev/nbd0 a.qcow2` and `mount -o ro /dev/nbd0 DIRECTORY`";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_signal_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let tree = at.join("tree");
    fs::create_dir_all(tree.join("locked")).unwrap();
    for i in 0..40 {
        fs::write(tree.join(format!("locked/large-{i}")), vec![i; 5 << 20]).unwrap();
    }
    ext4_of(&tree, &at.join("a.img"), &[]);
    let mut extract = imagegen!();
    extract.args(["extract", "a.img", "-o", "out"]).current_dir(at).stderr(std::process::Stdio::piped());
    let mut extract = extract.spawn().unwrap();
    let is_hidden = |name: &String| name.starts_with(".out.");
    let begun = std::time::Instant::now();
    while !testkit::names_in(at).iter().any(is_hidden) {
        assert!(begun.elapsed().as_secs() < 60, "nothing is written");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    tool(&["kill", "-TERM", &extract.id().to_string()]);
    let status = extract.wait().unwrap();
    let said = std::io::read_to_string(extract.stderr.take().unwrap()).unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15), "{said}");
    assert_eq!(said, "error: stopped by SIGTERM\n");
    assert_eq!(testkit::names_in(at), ["a.img", "tree"]);
}

#[test]
fn special_files_are_left_out_and_said() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let tree = at.join("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("file"), "file").unwrap();
    fs::set_permissions(tree.join("file"), Permissions::from_mode(0o4755)).unwrap();
    tool(&["mkfifo", text(&tree.join("pipe"))]);
    ext4_of(&tree, &at.join("a.img"), &[]);
    let said = imagegen!().args(["extract", "a.img", "-o", "out"]).current_dir(at).output().unwrap();
    assert!(said.status.success());
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(
        said.contains("warning: 1 devices, pipes and sockets were left out, among them `/pipe`"),
        "{said}"
    );
    assert_eq!(testkit::names_in(&at.join("out")), ["file"]);
    // Nobody asked for a program that runs as its owner.
    assert_eq!(at.join("out/file").metadata().unwrap().mode() & 0o7777, 0o755);
}
