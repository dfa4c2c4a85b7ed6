//! `--no-verify` on file systems whose files can share blocks: the images do, and have the bytes that they have elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use testkit::attempts::Attempts;
use testkit::guest::Guest;
use testkit::machine::{Firmware, Machine};
use testkit::nix::copy_libraries;
use testkit::random::Random;
use testkit::store::Store;
use testkit::{imagegen, run, text, tool};

const MIB: usize = 1 << 20;
/// As much as XFS wants at least.
const DISK: u64 = 320 << 20;

#[test]
fn images_share_blocks_with_their_sources() {
    let directory = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut store = Store::new();
    fill(&store.add('a', "payload"));
    fs::write(store.add('b', "file"), Random::new(2).bytes(3 * MIB)).unwrap();
    let registration = store.register();
    let disks = ["btrfs", "xfs"].map(|system| {
        let disk = at(system);
        File::create(&disk).unwrap().set_len(DISK).unwrap();
        tool(&[&format!("mkfs.{system}"), "-q", text(&disk)]);
        disk
    });
    let initrd = at("initrd");
    make_initrd(&initrd, &at("tree"), &store);

    let kernel = Guest::get().part("kernel");
    let borrowed: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    let console = Machine::start_writing(&Firmware::Kernel(&kernel, &initrd), &borrowed).until_off();
    let said = Attempts::read(&console);

    // Here every NAR is hashed, so that nothing can be shared.
    let digest = |arguments: &[&str]| {
        let image = at("image");
        let mut command = imagegen!();
        command.args(arguments).args(["--store-root", text(store.root.path())]);
        command.args(["--registration", text(&registration), "-q", "-o", text(&image)]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let digest = tool(&["sha256sum", text(&image)])[..64].to_owned();
        fs::remove_file(image).unwrap();
        digest
    };
    let raw = digest(&["store-image", "--format", "raw"]);
    let qcow2 = digest(&["store-image", "--format", "qcow2"]);
    let disk = digest(&["root-disk", "--with-store", "--partition-table", "legacy"]);
    let check = |name: &str, digest: &str| {
        said.of(name, 0);
        assert_eq!(&said.of(&format!("{name}-digest"), 0)[..64], digest, "{name}");
        let space: i64 = said.of(&format!("{name}-space"), 0).trim().parse().unwrap();
        let blocks = blocks(said.of(&format!("{name}-blocks"), 0));
        println!("{name}: {blocks:?} blocks, {space} KiB of space");
        (blocks, space)
    };
    for system in ["btrfs", "xfs"] {
        for (kind, digest) in [("raw", &raw), ("qcow2", &qcow2), ("disk", &disk)] {
            // Of 28 MiB in large files that are not zeros, all but their ends; there is 1 MiB of small files.
            let (blocks, space) = check(&format!("{system}-{kind}"), digest);
            assert!(blocks.shared > 27 * 256 && blocks.own < 3 * 256, "{system} {kind}: {blocks:?}");
            assert!(space < 5 << 10, "{system} {kind}: {space}");
        }
        for (kind, digest) in [("raw", &raw), ("qcow2", &qcow2)] {
            let (blocks, space) = check(&format!("{system}-{kind}-verified"), digest);
            assert!(blocks.shared == 0 && blocks.own > 20 * 256, "{system} {kind}: {blocks:?}");
            assert!(space > 20 << 10, "{system} {kind}: {space}");
            assert_eq!(&said.of(&format!("{system}-{kind}-elsewhere-digest"), 0)[..64], digest);
        }
    }
    for (disk, check) in disks.iter().zip([&["btrfs", "check"][..], &["xfs_repair", "-n"]]) {
        let output = run(&[check, &[text(disk)]].concat());
        assert!(output.status.success(), "{output:?}");
    }
}

/// Large files with and without zeros, with ends within a block, and small ones.
fn fill(directory: &Path) {
    fs::create_dir(directory).unwrap();
    let noise = Random::new(1).bytes(20 * MIB + 1);
    fs::write(directory.join("noise"), &noise).unwrap();
    let mut bytes = noise[..3 * MIB - 1].to_vec();
    bytes[MIB..2 * MIB].fill(0);
    bytes[MIB / 2..MIB / 2 + 4096 * 3].fill(0);
    fs::write(directory.join("with-zeros"), &bytes).unwrap();
    let sparse = File::create(directory.join("sparse")).unwrap();
    sparse.set_len(6 << 20).unwrap();
    sparse.write_all_at(&noise[MIB..2 * MIB], 3 << 20).unwrap();
    // Wherever these begin, a cluster is shared in part here, and nothing else is in it.
    for (i, blocks) in [257, 265].into_iter().enumerate() {
        fs::write(directory.join(format!("aligned-{i}")), &noise[..blocks * 4096]).unwrap();
        fs::write(directory.join(format!("aligned-{i}-then-zeros")), vec![0; MIB / 2]).unwrap();
    }
    for i in 0..100 {
        fs::write(directory.join(format!("small-{i}")), &noise[i * 777..][..10_000]).unwrap();
    }
}

#[derive(Debug)]
struct Blocks {
    shared: u64,
    own: u64,
}

/// Counts the blocks of 4 KiB in the extents that filefrag has listed.
fn blocks(listed: &str) -> Blocks {
    let mut blocks = Blocks { shared: 0, own: 0 };
    for line in listed.lines() {
        // `number: from.. to: from.. to: length: perhaps where it was expected: flags`
        let fields: Vec<&str> = line.split(':').map(str::trim).collect();
        if fields.len() < 5 || fields[0].parse::<u32>().is_err() {
            continue;
        }
        let length: u64 = fields[3].parse().unwrap();
        let shared = fields[fields.len() - 1].split(',').any(|flag| flag == "shared");
        *if shared { &mut blocks.shared } else { &mut blocks.own } += length;
    }
    assert!(listed.contains("blocks of 4096 bytes"), "{listed}");
    blocks
}

/// The guest's initrd with another init, modules, the program under test, filefrag, and a store to make images from.
fn make_initrd(initrd: &Path, tree: &Path, store: &Store) {
    for directory in ["bin", "inputs", "lib", "proc", "sharing", "sys"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    symlink("lib", tree.join("lib64")).unwrap();
    let program = tree.join("bin/nix-imagegen");
    // Without what a debugger needs it is a tenth of the size.
    tool(&["strip", "-o", text(&program), env!("CARGO_BIN_EXE_nix-imagegen")]);
    copy_libraries(&program, &tree.join("lib"));
    let filefrag = tree.join("bin/filefrag");
    fs::copy(tool(&["which", "filefrag"]).trim(), &filefrag).unwrap();
    copy_libraries(&filefrag, &tree.join("lib"));
    let modules = tool(&["scripts/module-files.sh", "target/debian/linux-image-cloud-amd64", "btrfs", "xfs"]);
    let mut order = String::new();
    for file in modules.lines().map(Path::new) {
        let name = text(Path::new(file.file_name().unwrap()));
        fs::copy(file, tree.join("sharing").join(name)).unwrap();
        order.extend([name, "\n"]);
    }
    fs::write(tree.join("sharing/order"), order).unwrap();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sharing/init"), tree.join("init")).unwrap();
    tool(&["cp", "-a", text(&store.root.path().join("nix")), text(&tree.join("inputs"))]);
    tool(&["cp", text(&store.root.path().join("registration")), text(&tree.join("inputs"))]);
    Guest::get().initrd_with(tree, initrd);
}
