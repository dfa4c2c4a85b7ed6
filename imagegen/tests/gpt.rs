//! The partition table against sgdisk: whole disks compared, byte for byte.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use imagegen::disk::layout::{Content, LayoutError};
use imagegen::image::boot_disk::layout;
use imagegen::image::root_disk::PartitionTable;
use imagegen::units::{ByteCount, Lba};
use sha2::{Digest, Sha256};

/// What nixpkgs' `qemu-vm.nix` runs in its helper machine.
const SGDISK: &str = "--set-alignment=1 --new=1:34:2047 --change-name=1:BIOSBootPartition --typecode=1:ef02 \
    --set-alignment=512 --largest-new=2 --change-name=2:EFISystem --typecode=2:ef00 \
    --attributes=1:set:1 --attributes=2:set:2 --disk-guid=97FD5997-D90B-4AA3-8D16-C1723AEA73C1 \
    --partition-guid=1:1C06F03B-704E-4657-B9CD-681A087A2FDC \
    --partition-guid=2:970C694F-AFD0-4B99-B750-CDB7A329AB6F --hybrid 2 --recompute-chs";

fn write_ours(path: &Path, sectors: u64) {
    let layout = layout(ByteCount(sectors * 512)).unwrap();
    let table = layout.table().unwrap();
    let file = File::create(path).unwrap();
    file.set_len(sectors * 512).unwrap();
    file.write_all_at(&table.head, 0).unwrap();
    file.write_all_at(&table.tail, layout.tail_start().0).unwrap();
}

fn write_theirs(path: &Path, sectors: u64) {
    File::create(path).unwrap().set_len(sectors * 512).unwrap();
    let output = Command::new("sgdisk").args(SGDISK.split_whitespace()).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_table_is_sgdisks_at_every_size() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    let mib = |n: u64| n * 2048;
    for sectors in [
        2082,
        3001,
        mib(16),
        mib(60),
        mib(61) + 1,
        mib(61) + 77,
        mib(61) + 511,
        mib(256),
        mib(256) + 333,
        mib(1024),
        mib(3 * 1024),
        // Beyond the 1,024 cylinders that CHS addresses reach.
        mib(9 * 1024) + 5,
    ] {
        write_ours(&ours, sectors);
        write_theirs(&theirs, sectors);
        // Both ends; what lies between is left as it was by either.
        for at in [0, (sectors - 40) * 512] {
            let read = |path: &Path| {
                let mut bytes = vec![0; 40 * 512];
                File::open(path).unwrap().read_exact_at(&mut bytes, at).unwrap();
                bytes
            };
            assert!(read(&ours) == read(&theirs), "{sectors} sectors, byte {at}");
        }
        if sectors > mib(3) {
            let output = Command::new("sgdisk").arg("-v").arg(&ours).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && text.contains("No problems found"), "{sectors}: {text}");
        }
    }
}

#[test]
fn the_default_disk_is_the_one_of_the_module() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    write_ours(&path, 60 * 2048);
    // The hash of the file that sgdisk 1.0.9 leaves.
    assert_eq!(
        data_encoding::HEXLOWER.encode(&Sha256::digest(fs::read(&path).unwrap())),
        "3cc6dd90bae76a1e8c09b9875c8b23dac1c34e96e9a080b56e5e4af702f6eb47"
    );
    let disk = layout(ByteCount(60 << 20)).unwrap();
    let (core, esp) = (disk.part(Content::GrubCore).unwrap(), disk.part(Content::Fat).unwrap());
    assert_eq!((core.first, core.last), (Lba(34), Lba(2047)));
    assert_eq!((esp.first, esp.last, esp.sectors()), (Lba(2048), Lba(122_846), 120_799));
}

#[test]
fn sizes_without_room_are_refused() {
    for sectors in [0, 34, 2081] {
        let (size, smallest) = (ByteCount(sectors * 512), ByteCount(2082 * 512));
        assert_eq!(layout(size), Err(LayoutError::NoRoom { size, smallest }));
    }
    assert!(layout(ByteCount(u64::from(u32::MAX) * 512)).is_ok());
    for size in [1 << 41, u64::MAX] {
        assert!(matches!(layout(ByteCount(size)), Err(LayoutError::TooLarge(_))));
    }
}

#[test]
fn tables_of_large_disks_take_no_more_memory_and_are_right() {
    let table = PartitionTable::Efi { boot_end: ByteCount(256 << 20) };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    for tib in [15, 64] {
        let layout = table.layout(ByteCount((tib << 40) - (1 << 30))).unwrap();
        let bytes = layout.table().unwrap();
        assert_eq!((bytes.head.len(), bytes.tail.len()), (34 * 512, 33 * 512));
        // ext4 has no larger file for sgdisk to judge.
        if tib < 16 {
            let file = File::create(&path).unwrap();
            file.set_len(layout.size().0).unwrap();
            file.write_all_at(&bytes.head, 0).unwrap();
            file.write_all_at(&bytes.tail, layout.tail_start().0).unwrap();
            let output = Command::new("sgdisk").arg("-v").arg(&path).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && text.contains("No problems found"), "{text}");
        }
    }
}
