//! ext4 file systems that mke2fs makes with every feature that it has, read by `verify` and `inspect`: what is read is right, and
//! what is not is named as such, never as damage.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use testkit::store::Store;
use testkit::{imagegen, text, tool};

const MIB: u64 = 1 << 20;

struct Made {
    store: Store,
    registration: PathBuf,
    directory: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        let mut store = Store::new();
        let payload = store.add('a', "payload");
        fs::create_dir_all(payload.join("many")).unwrap();
        for i in 0..400 {
            fs::write(payload.join(format!("many/file-{i}")), i.to_string()).unwrap();
        }
        for size in [0, 1, 60, 61, 1023, 1024, 4096, 70_000, 3 << 20] {
            let contents: Vec<u8> = (0..size).map(|i: usize| u8::try_from(i * 31 % 251).unwrap()).collect();
            fs::write(payload.join(format!("size-{size}")), contents).unwrap();
        }
        for length in [1, 59, 60, 61, 1000] {
            let target: String = "some/where/".chars().cycle().take(length).collect();
            symlink(target, payload.join(format!("link-{length}"))).unwrap();
        }
        fs::write(store.add('b', "file"), "one file").unwrap();
        let target = store.logical(0);
        symlink(target, store.add('c', "link")).unwrap();
        let registration = store.register();
        Self { store, registration, directory: tempfile::tempdir().unwrap() }
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// What mke2fs makes of the store.
    fn mke2fs(&self, kind: &str, block: &str, features: &str, size: u64) {
        let mut arguments = vec!["-t", kind, "-b", block];
        if !features.is_empty() {
            arguments.extend(["-O", features]);
        }
        self.mke2fs_with(&arguments, size);
    }

    fn mke2fs_with(&self, arguments: &[&str], size: u64) {
        let image = self.image();
        fs::File::create(&image).unwrap().set_len(size).unwrap();
        let tree = self.store.directory();
        // A journal holds no files.
        let files = if arguments.contains(&"journal_dev") { &[][..] } else { &["-d", text(&tree)] };
        tool(&[&["mke2fs", "-q", "-F"], arguments, files, &[text(&image)]].concat());
    }

    fn verify(&self) -> Output {
        let image = self.image();
        let arguments = ["verify", text(&image), "--registration", text(&self.registration)];
        imagegen!().args(arguments).output().unwrap()
    }

    fn judge_right(&self, what: &str) {
        let said = error(&self.verify());
        assert!(said.contains("3 right, 0 wrong, 0 missing, 0 extra"), "{what}: {said}");
        let found = inspected(&self.image());
        assert_eq!(found["contents"]["kind"], "ext4", "{what}: {found}");
        // Every group is where dumpe2fs finds it.
        let shown = tool(&["dumpe2fs", text(&self.image())]);
        let bitmaps: Vec<u64> = shown
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("Block bitmap at "))
            .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap())
            .collect();
        let groups = found["contents"]["groups"].as_array().unwrap();
        let tables: Vec<u64> = groups.iter().map(|group| group["tables"][0].as_u64().unwrap()).collect();
        assert_eq!(tables, bitmaps, "{what}");
    }
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn inspected(image: &Path) -> serde_json::Value {
    let output = imagegen!().args(["inspect", text(image), "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", error(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn descriptors_are_found_in_the_groups_that_they_describe() {
    let made = Made::new();
    for block in ["1024", "2048", "4096"] {
        for more in [
            "64bit",
            "^64bit",
            "64bit,^sparse_super",
            "^64bit,sparse_super2",
            "64bit,^flex_bg,^metadata_csum,uninit_bg",
        ] {
            made.mke2fs("ext4", block, &format!("meta_bg,^resize_inode,{more}"), 700 * MIB);
            made.judge_right(&format!("{block} {more}"));
        }
    }
}

/// As Linux leaves a file system that it has grown: the blocks of descriptors that there were stay behind the superblock.
#[test]
fn some_descriptors_follow_the_superblock_and_others_do_not() {
    let made = Made::new();
    for first in 0..=8 {
        // Groups of 256 blocks of 1 KiB: 8 blocks of 32 descriptors.
        let features = "meta_bg,^resize_inode,^64bit,^metadata_csum";
        made.mke2fs_with(&["-t", "ext4", "-b", "1024", "-g", "256", "-N", "5000", "-O", features], 64 * MIB);
        let file = fs::OpenOptions::new().read(true).write(true).open(made.image()).unwrap();
        for table in 0..first {
            // The first of the groups that it describes; group 0 alone has a superblock before it.
            let from = 1 + table * 32 * 256 + u64::from(table == 0);
            let mut block = [0; 1024];
            file.read_exact_at(&mut block, from * 1024).unwrap();
            file.write_all_at(&block, (2 + table) * 1024).unwrap();
            if table > 0 {
                file.write_all_at(&[0; 1024], from * 1024).unwrap();
            }
        }
        file.write_all_at(&u32::try_from(first).unwrap().to_le_bytes(), 1024 + 0x104).unwrap();
        made.judge_right(&format!("s_first_meta_bg {first}"));
    }
}

#[test]
fn features_that_do_not_hide_files_are_read() {
    let made = Made::new();
    for features in [
        "",
        "encrypt",
        "casefold",
        "ea_inode",
        "verity",
        "large_dir",
        "mmp",
        "orphan_file",
        "quota",
        "project,quota",
        "metadata_csum_seed",
        "stable_inodes",
        "fast_commit",
        "sparse_super2",
        "^64bit",
        "^flex_bg",
        "^metadata_csum",
        "^has_journal",
        "^filetype",
        "^dir_index",
        "^large_file,^huge_file",
    ] {
        made.mke2fs("ext4", "4096", features, 128 * MIB);
        made.judge_right(features);
    }
}

#[test]
fn features_that_are_not_read_are_named_and_not_called_damage() {
    let made = Made::new();
    for (kind, features, name, help) in [
        ("ext4", "bigalloc", "bigalloc", "mount it"),
        ("ext4", "journal_dev", "journal_dev", "name that one"),
    ] {
        made.mke2fs(kind, "4096", features, 128 * MIB);
        let output = made.verify();
        assert_eq!(output.status.code(), Some(1));
        let found = inspected(&made.image());
        assert_eq!(found["contents"]["kind"], "unread", "{found}");
        let problem = found["contents"]["problem"].as_str().unwrap().to_owned();
        for said in [problem, error(&output)] {
            assert!(said.contains(name) && said.contains(help) && !said.contains("damaged"), "{said}");
            assert!(said.contains("which this program does not read"), "{said}");
        }
    }
}
