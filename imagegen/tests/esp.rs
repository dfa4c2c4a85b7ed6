//! The EFI system partition against mkfs.fat, fsck.fat, mtools and the `fatfs` crate.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use imagegen::container::Sink;
use imagegen::disk::mbr::Partition;
use imagegen::fixed;
use imagegen::fs::fat::{self, Contents, Fat, FatError};
use imagegen::fs::file_source::{FileSource, NamedFile, SourceError};
use imagegen::job::Job;
use imagegen::units::{ByteCount, GuestOffset, Lba};

/// Where the partition begins; the images here begin with it.
const START: u64 = 2048;

fn partition(sectors: u64) -> Partition {
    Partition { first: Lba(START), last: Lba(START + sectors - 1) }
}

/// A file that holds the partition, and checks that writes stay within the plan.
struct PartitionFile {
    file: File,
    allocated: Vec<std::ops::Range<GuestOffset>>,
}

impl Sink for PartitionFile {
    fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        let end = offset.advanced(u64::try_from(bytes.len()).unwrap());
        let planned = self.allocated.iter().any(|range| range.start <= offset && end <= range.end);
        assert!(planned || bytes.is_empty(), "{offset:?}..{end:?} was not planned");
        self.file.write_all_at(bytes, offset.0.saturating_sub(START * 512))
    }
}

fn write(path: &Path, sectors: u64, files: Vec<NamedFile>) -> Result<(), FatError> {
    write_fat(path, sectors, files, None)
}

fn write_fat(path: &Path, sectors: u64, files: Vec<NamedFile>, fat: Option<Fat>) -> Result<(), FatError> {
    let plan = fat::plan(partition(sectors), &Contents::new(files)?, fat)?;
    let file = File::create(path).unwrap();
    file.set_len(sectors * 512).unwrap();
    let allocated = plan.allocated();
    assert!(allocated.windows(2).all(|pair| pair[0].end <= pair[1].start), "{allocated:?}");
    plan.write(&PartitionFile { file, allocated }, &Job::default())
}

fn text(path: &str, text: &str) -> NamedFile {
    NamedFile::new(path, FileSource::bytes(text.as_bytes()))
}

/// Runs a tool that must succeed and gives what it printed on both streams.
fn tool(command: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(command).args(arguments).arg(path).output().expect(command);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{command} {arguments:?}: {text}");
    text
}

/// Makes an empty file system of mkfs.fat's; with fewer clusters than FAT32 must have, it only warns.
fn mkfs(path: &Path, sectors: u64, fat: Option<Fat>) -> bool {
    let file = File::create(path).unwrap();
    file.set_len(sectors * 512).unwrap();
    let volume_id = format!("{:08x}", fixed::ESP_VOLUME_ID);
    let label = std::str::from_utf8(&fixed::ESP_LABEL).unwrap().trim_end();
    let output = Command::new("mkfs.fat")
        .args(match fat {
            None => &[][..],
            Some(Fat::Fat16) => &["-F", "16"],
            Some(_) => &["-F", "32"],
        })
        .args(["-h", "2048", "-i", &volume_id, "-n", label])
        .arg(path)
        .output()
        .expect("mkfs.fat is installed");
    output.status.success()
        && !String::from_utf8_lossy(&output.stderr).contains("less then suggested minimum")
}

fn read_at(path: &Path, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// The whole of an empty file system is mkfs.fat's but for the name of the tool, the boot code, and the label's time.
#[test]
fn the_geometry_is_that_of_mkfs_fat() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    let mut sizes = vec![120_799, 16_415, 16_416, 32_769, 65_535, 65_536, 65_600, 300_000, 8_388_008];
    // Around every size at which mkfs.fat changes the geometry, and thereby the cluster size.
    for change in [32_768, 65_536, 262_144, 524_288, 1_032_192, 2_064_384, 4_128_768, 8_257_536] {
        sizes.extend([change - 63, change, change + 1, change + 64]);
    }
    // Where a cluster of two, four … KiB is just large enough.
    for change in [262_500_u64, 524_700, 1_049_400, 2_099_000, 4_194_000] {
        sizes.extend((0..8).map(|i| change - 400 + i * 97));
    }
    for sectors in sizes {
        let fat = Some(Fat::Fat16);
        let made = write_fat(&ours, sectors, Vec::new(), fat);
        assert_eq!(made.is_ok(), mkfs(&theirs, sectors, fat), "{sectors} sectors: {made:?}");
        if made.is_err() {
            continue;
        }
        let boot_sectors = [&ours, &theirs].map(|path| read_at(path, 0, 512));
        for (name, range) in [("jump", 0..3), ("parameters", 11..62), ("signature", 510..512)] {
            let [a, b] = boot_sectors.each_ref().map(|sector| &sector[range.clone()]);
            assert_eq!(a, b, "{sectors} sectors: {name}");
        }
        // Both allocation tables and the root directory: beyond the reserved sectors.
        let parameter =
            |at: usize| u64::from(u16::from_le_bytes([boot_sectors[0][at], boot_sectors[0][at + 1]]));
        let (reserved, fat, root) = (parameter(14), parameter(22), parameter(17) * 32 / 512);
        let length = usize::try_from((2 * fat + root) * 512).unwrap();
        let [mut a, mut b] = [&ours, &theirs].map(|path| read_at(path, reserved * 512, length));
        let label = usize::try_from(2 * fat * 512).unwrap();
        for bytes in [&mut a, &mut b] {
            bytes[label + 12..label + 26].fill(0);
        }
        assert!(a == b, "{sectors} sectors: tables and root directory");
    }
}

/// The same for FAT32, which has more in front and its root directory in a cluster.
#[test]
fn the_geometry_of_fat32_is_that_of_mkfs_fat() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    // In sectors.
    let mib = 2048;
    // Around the smallest size, every change of the cluster size, and others.
    let mut sizes = vec![1, 16_416, 66_500, 66_591, 66_592, 66_593, 66_624, 67 * mib, 120_799, 513 * mib];
    for change in [260, 512, 1016, 4096, 8192, 16_384, 32_768, 65_536] {
        sizes.extend([
            change * mib - 1,
            change * mib,
            change * mib + 1,
            change * mib + 2,
            (change + 1) * mib,
        ]);
    }
    for sectors in sizes {
        let fat = Some(Fat::Fat32);
        let made = write_fat(&ours, sectors, Vec::new(), fat);
        assert_eq!(made.is_ok(), mkfs(&theirs, sectors, fat), "{sectors} sectors: {made:?}");
        if made.is_err() {
            continue;
        }
        let both = |sector: u64| [&ours, &theirs].map(|path| read_at(path, sector * 512, 512));
        let boot_sectors = both(0);
        for number in [0, 6] {
            let [a, b] = both(number);
            for (name, range) in [("jump", 0..3), ("parameters", 11..90), ("signature", 510..512)] {
                assert_eq!(a[range.clone()], b[range], "{sectors} sectors: {name} of sector {number}");
            }
        }
        for number in [1, 7] {
            let [a, mut b] = both(number);
            // Where to look for a free cluster; mkfs.fat begins with the root directory's.
            assert_eq!(b[492], 2);
            b[492] = 3;
            assert!(a == b, "{sectors} sectors: sector {number}");
        }
        let parameter = |at: usize, length: usize| {
            boot_sectors[0][at..at + length].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        let (reserved, fat) = (parameter(14, 2), parameter(36, 4));
        for (start, length) in [(reserved, 8), (reserved + fat - 1, 9), (reserved + 2 * fat - 1, 9)] {
            let length = usize::try_from(length * 512).unwrap();
            let [mut a, mut b] = [&ours, &theirs].map(|path| read_at(path, start * 512, length));
            for bytes in [&mut a, &mut b] {
                // The end of the root's chain is any number from 0x0FFFFFF8 on, the label has a time.
                for at in (8..9).chain(520..521) {
                    bytes[at] |= 7 * u8::from(bytes[at + 1] == 0xFF);
                }
                bytes[512 + 12..512 + 26].fill(0);
            }
            assert!(a == b, "{sectors} sectors: from sector {start} on");
        }
    }
}

/// mkfs.fat's own choice is FAT32 from 512 MiB on.
#[test]
fn the_kind_is_that_of_mkfs_fat() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    for (sectors, kind) in
        [(120_799, "FAT16"), (1_048_575, "FAT16"), (1_048_576, "FAT32"), (1_050_624, "FAT32")]
    {
        write(&ours, sectors, vec![text("EFI/a", "a")]).unwrap();
        assert!(mkfs(&theirs, sectors, None));
        for path in [&ours, &theirs] {
            let found = tool("blkid", &["-p", "-s", "VERSION"], path);
            assert!(found.contains(kind), "{sectors}: {found}");
        }
        let check = tool("fsck.fat", &["-n"], &ours);
        assert_eq!(check.lines().count(), 2, "{check}");
    }
}

#[test]
fn sizes_that_a_kind_does_not_have_are_refused() {
    let contents = Contents::new(Vec::new()).unwrap();
    let error = |sectors, fat| fat::plan(partition(sectors), &contents, fat).map(|_| ()).unwrap_err();
    let (fat16, fat32) = (Some(Fat::Fat16), Some(Fat::Fat32));
    for (sectors, fat) in [(16_415, None), (1, None), (16_415, fat16), (66_500, fat32), (1, fat32)] {
        let error = error(sectors, fat);
        assert!(matches!(error, FatError::TooSmall { .. }), "{error}");
    }
    for (sectors, fat) in [(8_400_000, fat16), (1 << 40, fat16), (1 << 32 | 63, fat32), (1 << 40, None)] {
        let error = error(sectors, fat);
        assert!(matches!(error, FatError::TooLarge { .. }), "{error}");
    }
    for first in [(1 << 32) - 1, 1 << 32] {
        let partition = Partition { first: Lba(first), last: Lba(first + 65_535) };
        let planned = fat::plan(partition, &contents, None).map(|_| ());
        match u32::try_from(first) {
            Ok(_) => assert!(planned.is_ok(), "{planned:?}"),
            Err(_) => assert!(matches!(planned, Err(FatError::TooFar { first: found }) if found == first)),
        }
    }
    let said = error(66_500, fat32).to_string();
    assert!(
        said.contains("FAT32") && said.contains("65440 clusters") && said.contains("at least 65525"),
        "{said}"
    );
    let said = error(8_400_000, fat16).to_string();
    assert!(said.contains("4.0 GiB") && said.contains("65524 clusters"), "{said}");
}

#[test]
fn files_of_4_gib_are_refused() {
    let file = |size| NamedFile::new("EFI/nixos/initrd", FileSource::File { physical: "x".into(), size });
    assert!(Contents::new(vec![file((4 << 30) - 1)]).is_ok());
    let error = Contents::new(vec![file(4 << 30)]).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("`EFI/nixos/initrd` has 4.0 GiB") && error.contains("less than 4 GiB"), "{error}");
}

/// Names of every kind, empty files, files of a cluster and around it, deep and wide directories.
fn varied(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let bytes = |length: usize| (0..length).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect::<Vec<_>>();
    for (path, length) in [
        ("EFI/BOOT/BOOTX64.EFI", 100_000),
        ("EFI/BOOT/empty", 0),
        ("EFI/nixos/s66mzxpvicwk07gjbjfw9izjfa797vsw-linux-6.12-bzImage.efi", 3_000_000),
        ("EFI/nixos/cluster", 2048),
        ("EFI/nixos/more", 2049),
        ("EFI/nixos/less", 2047),
        ("a/b/c/d/e/f/g/h/i/j/k/l/m", 1),
        ("names/exactly thirteen", 13),
        ("names/thirteenchars", 13),
        ("names/twenty-six-characters-here", 26),
        ("names/LOADER~1.CON", 1),
        ("names/loader.conf", 2),
        ("names/grüße 日本.txt", 3),
        ("names/.hidden", 4),
        ("names/+ = , ; [ ]", 5),
    ] {
        files.insert(path.to_owned(), bytes(length));
    }
    files.insert(format!("names/{}", "long".repeat(63)), bytes(6));
    for i in 0..300 {
        files.insert(format!("many/a file with a long name, number {i}"), i.to_string().into_bytes());
    }
    for (i, content) in files.values().enumerate() {
        fs::write(directory.join(i.to_string()), content).unwrap();
    }
    files
}

#[test]
fn other_readers_find_every_file() {
    // The size of a boot disk's, the smallest, with clusters of one sector and eight, and mkfs.fat's choice.
    for (sectors, fat, kind) in [
        (120_799, None, "FAT16"),
        (120_799, Some(Fat::Fat32), "FAT32"),
        (66_592, Some(Fat::Fat32), "FAT32"),
        (1_050_624, None, "FAT32"),
        (1_050_624, Some(Fat::Fat16), "FAT16"),
    ] {
        other_readers_find_every_file_of(sectors, fat, kind);
    }
}

fn other_readers_find_every_file_of(sectors: u64, fat: Option<Fat>, kind: &str) {
    let directory = tempfile::tempdir().unwrap();
    let files = varied(directory.path());
    // Every other one from memory.
    let contents = files.iter().enumerate().map(|(i, (path, bytes))| {
        let size = u64::try_from(bytes.len()).unwrap();
        let from_file = FileSource::File { physical: directory.path().join(i.to_string()), size };
        let content = if i % 2 == 0 { from_file } else { FileSource::bytes(bytes.clone()) };
        NamedFile::new(path, content)
    });
    let image = directory.path().join("image");
    write_fat(&image, sectors, contents.collect(), fat).unwrap();

    let check = tool("fsck.fat", &["-n"], &image);
    assert_eq!(check.lines().count(), 2, "fsck.fat has remarks: {check}");
    let label = tool("blkid", &["-p"], &image);
    for value in
        ["LABEL=\"boot\"", "LABEL_FATBOOT=\"boot\"", "UUID=\"4E49-584F\"", &format!("VERSION=\"{kind}\"")]
    {
        assert!(label.contains(value), "{label}");
    }

    let file_system = fatfs::FileSystem::new(File::open(&image).unwrap(), fatfs::FsOptions::new()).unwrap();
    let mut found = BTreeMap::new();
    collect(&file_system.root_dir(), "", &mut found);
    assert!(found == files, "{:?} and {:?}", found.keys(), files.keys());

    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    tool("mcopy", &["-s", "-n", "-i", image.to_str().unwrap(), "::/"], &out);
    for (path, bytes) in &files {
        // mtools shows what is not in its locale as underscores.
        if path.is_ascii() {
            assert!(fs::read(out.join(path)).unwrap() == *bytes, "{path}");
        }
    }
}

/// A disk in memory, and how often each of its bytes was written.
struct Counted {
    compresses: bool,
    disk: Mutex<(Vec<u8>, Vec<u8>)>,
    /// Where writes began.
    offsets: Mutex<Vec<u64>>,
}

impl Sink for Counted {
    fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset.0).unwrap();
        let (contents, counts) = &mut *self.disk.lock().unwrap();
        contents[start..][..bytes.len()].copy_from_slice(bytes);
        counts[start..][..bytes.len()].iter_mut().for_each(|count| *count += 1);
        self.offsets.lock().unwrap().push(offset.0);
        Ok(())
    }

    fn compresses(&self) -> bool {
        self.compresses
    }
}

/// A kernel for each boot loader is one file of this machine, on the file system twice.
#[test]
fn copies_of_a_file_are_written_like_any_others() {
    let directory = tempfile::tempdir().unwrap();
    let sizes = [(1 << 20) + 2047, 1 << 18, (1 << 18) - 1, (1 << 18) + 1, 700_001, 5, 0];
    let sources: Vec<_> = (0_u8..).zip(sizes).map(|(i, size)| (format!("{i}"), vec![i + 1; size])).collect();
    let mut files = Vec::new();
    for (name, bytes) in &sources {
        let physical = directory.path().join(name);
        fs::write(&physical, bytes).unwrap();
        for copy in ["a", "b", "z"] {
            let content =
                FileSource::File { physical: physical.clone(), size: bytes.len().try_into().unwrap() };
            files.push(NamedFile::new(format!("{copy}/{name}"), content));
            files.push(NamedFile::new(format!("{copy}/{name}-small"), FileSource::bytes(name.as_bytes())));
        }
    }
    // The last file of the disk is a copy, too.
    let last = NamedFile::new("zz", files[0].content.clone());
    files.push(last);
    let sectors = 20_000;
    let in_memory = files.iter().map(|file| match &file.content {
        FileSource::File { physical, .. } => {
            NamedFile::new(&file.path, FileSource::bytes(fs::read(physical).unwrap()))
        }
        _ => file.clone(),
    });
    let in_memory: Vec<_> = in_memory.collect();
    let length = usize::try_from((START + sectors) * 512).unwrap();
    let images = [(&files, false), (&files, true), (&in_memory, false)].map(|(files, compresses)| {
        let plan = fat::plan(partition(sectors), &Contents::new(files.clone()).unwrap(), None).unwrap();
        let disk = Mutex::new((vec![0; length], vec![0; length]));
        let sink = Counted { compresses, disk, offsets: Mutex::default() };
        plan.write(&sink, &Job::default()).unwrap();
        let offsets = sink.offsets.into_inner().unwrap();
        // Compressed clusters wait in memory for those before them.
        assert!(!compresses || offsets.is_sorted());
        let (contents, counts) = sink.disk.into_inner().unwrap();
        let mut planned = vec![0; length];
        for range in plan.allocated() {
            let range = usize::try_from(range.start.0).unwrap()..usize::try_from(range.end.0).unwrap();
            planned[range].fill(1);
        }
        assert!(counts == planned, "every byte that was planned is written once, and no other");
        contents
    });
    assert!(images[0] == images[1] && images[0] == images[2]);

    let image = directory.path().join("image");
    fs::write(&image, &images[0][usize::try_from(START * 512).unwrap()..]).unwrap();
    let file_system = fatfs::FileSystem::new(File::open(&image).unwrap(), fatfs::FsOptions::new()).unwrap();
    let mut found = BTreeMap::new();
    collect(&file_system.root_dir(), "", &mut found);
    assert_eq!(found.len(), files.len());
    for NamedFile { path, content } in in_memory {
        assert!(matches!(content, FileSource::Bytes(bytes) if *bytes == *found[&path]), "{path}");
    }
}

fn collect(directory: &fatfs::Dir<'_, File>, path: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in directory.iter() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == "." || name == ".." {
            continue;
        }
        let inner = if path.is_empty() { name } else { format!("{path}/{name}") };
        assert_eq!(entry.modified().date, fatfs::Date { year: 1980, month: 1, day: 1 }, "{inner}");
        assert_eq!(entry.modified().time, fatfs::Time { hour: 0, min: 0, sec: 0, millis: 0 }, "{inner}");
        if entry.is_dir() {
            collect(&entry.to_dir(), &inner, found);
        } else {
            let mut bytes = Vec::new();
            entry.to_file().read_to_end(&mut bytes).unwrap();
            found.insert(inner, bytes);
        }
    }
}

#[test]
fn bytes_do_not_depend_on_the_order_of_files() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    let files = ["EFI/b", "EFI/a", "loader/x", "EFI.txt", "EFI-x/y"].map(|path| text(path, path));
    write(&a, 20_000, files.to_vec()).unwrap();
    write(&b, 20_000, files.iter().rev().cloned().collect()).unwrap();
    assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap());
    tool("fsck.fat", &["-n"], &a);
}

#[test]
fn paths_that_fat_cannot_tell_apart_are_refused() {
    let error = |paths: &[&str]| {
        let files = paths.iter().map(|path| text(path, "x")).collect();
        Contents::new(files).map(|_| ()).unwrap_err().to_string()
    };
    assert!(error(&["EFI/a", "EFI/a"]).contains("twice"));
    assert!(error(&["EFI", "EFI/a"]).contains("`EFI/a` would be"));
    assert!(error(&["EFI/a/b", "EFI/a"]).contains("twice"));
    assert!(error(&["EFI/abc", "EFI/aBc"]).contains("`EFI/aBc` and `EFI/abc` differ only in case"));
    assert!(error(&["EFI/x/1", "efi/y/2"]).contains("`EFI` and `efi`"));
    assert!(error(&["grüsse", "GRÜSSE"]).contains("differ only in case"));
    for path in ["", "/EFI", "EFI/", "EFI//a", "EFI/../a", "./EFI"] {
        assert!(matches!(Contents::new(vec![text(path, "")]), Err(FatError::Name { .. })), "{path}");
    }
}

#[test]
fn a_full_root_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let files = |count: usize| (0..count).map(|i| text(&format!("FILE{i}"), "x")).collect();
    // One entry is the label's.
    write(&image, 120_799, files(511)).unwrap();
    tool("fsck.fat", &["-n"], &image);
    let error = write(&image, 120_799, files(512)).unwrap_err();
    assert!(matches!(error, FatError::RootFull { entries: 513, limit: 512 }), "{error}");
    // Larger clusters bring a larger root directory.
    let fat16 = Some(Fat::Fat16);
    write_fat(&image, 2_500_000, files(1023), fat16).unwrap();
    tool("fsck.fat", &["-n"], &image);
    assert!(write_fat(&image, 2_500_000, files(1024), fat16).is_err());
    // FAT32's is a chain of clusters like any other.
    write_fat(&image, 120_799, files(5000), Some(Fat::Fat32)).unwrap();
    let check = tool("fsck.fat", &["-n"], &image);
    assert!(check.contains("5001 files"), "{check}");
    // Long names take several entries; other directories grow.
    let long = |count: usize| (0..count).map(|i| text(&format!("a name of two entries {i}"), "x")).collect();
    assert!(write(&image, 120_799, long(170)).is_ok());
    assert!(write(&image, 120_799, long(171)).is_err());
}

#[test]
fn the_last_cluster_can_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let large = directory.path().join("large");
    let clusters = 30_123;
    // With FAT32, one cluster is the root directory's.
    for size in [118_877 * 512, 118_877 * 512 + 1] {
        File::create(&large).unwrap().set_len(size).unwrap();
        let file = NamedFile::new("LARGE", FileSource::File { physical: large.clone(), size });
        let written = write_fat(&image, 120_799, vec![file], Some(Fat::Fat32));
        assert_eq!(written.is_ok(), size == 118_877 * 512, "{written:?}");
        if written.is_ok() {
            let check = tool("fsck.fat", &["-n"], &image);
            assert!(check.contains("118878/118878 clusters"), "{check}");
            assert_eq!(check.lines().count(), 2, "{check}");
        }
    }
    for (size, missing) in [(clusters * 2048, None), (clusters * 2048 + 1, Some(2048))] {
        File::create(&large).unwrap().set_len(size).unwrap();
        let file = NamedFile::new("LARGE", FileSource::File { physical: large.clone(), size });
        match (write(&image, 120_799, vec![file]), missing) {
            (Ok(()), None) => {
                let check = tool("fsck.fat", &["-n"], &image);
                assert!(check.contains("30123/30123 clusters"), "{check}");
            }
            (Err(FatError::Full { missing: ByteCount(found) }), Some(expected)) => {
                assert_eq!(found, expected);
            }
            (other, _) => panic!("{size}: {other:?}"),
        }
    }
}

#[test]
fn a_source_that_changed_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let source = directory.path().join("kernel");
    for (planned, now) in
        [(10_u64, 11), (10, 9), (1 << 20, (1 << 20) + 1), (3 << 20, 1 << 20), (1, 0), (0, 1)]
    {
        fs::write(&source, vec![7; now]).unwrap();
        let file = NamedFile::new("kernel", FileSource::File { physical: source.clone(), size: planned });
        let error = write(&image, 120_799, vec![file]).unwrap_err();
        assert!(matches!(error, FatError::Source(SourceError::Changed { .. })), "{planned}, {now}: {error}");
        assert!(error.to_string().contains("kernel"), "{error}");
    }
    let gone = directory.path().join("gone");
    let file = NamedFile::new("x", FileSource::File { physical: gone, size: 1 });
    let error = write(&image, 120_799, vec![file]).unwrap_err();
    assert!(
        matches!(error, FatError::Source(SourceError::Read { .. })) && error.to_string().contains("gone"),
        "{error}"
    );
}
