//! The invariants of what reads images. An input is no image, which would be large and dull, but a list of changes to
//! one that our own writers made: two bytes for a sector among those that are not all zeros, two for the offset in it,
//! one for the number of bytes, and the bytes.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use imagegen::boot::Loaders;
use imagegen::container::reader::{ReadError, Source, Window};
use imagegen::container::{Compression, Format, ImageFile, Sink};
use imagegen::disk::gpt::reader::PartitionTable;
use imagegen::fixed;
use imagegen::fs::ext4::reader::FileSystem as Ext4;
use imagegen::fs::ext4::{self, Options, Size};
use imagegen::fs::file_source::{FileSource, NamedFile};
use imagegen::fs::file_tree::{Tree, TreeBuilder};
use imagegen::image::boot_disk;
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::reading::files::{Files, Type};
use imagegen::reading::verify::verify;
use imagegen::units::{ByteCount, GuestOffset};

use super::invariants::TOPLEVEL;

const SECTOR: usize = 512;

/// A partition table that can be read has partitions within the disk.
pub fn partition_table(bytes: &[u8]) {
    let disk = Patched::new(boot_disk(), bytes);
    let Ok(Some(table)) = PartitionTable::read(&disk) else { return };
    for partition in &table.partitions {
        // What lies outside is refused when it is opened, and not before.
        let _ = Window::new(&disk, partition.start_bytes, partition.bytes).map(|window| window.bytes(0, 1));
    }
}

/// A FAT file system lists each directory once, and gives no more of a file than was asked for.
pub fn fat(bytes: &[u8]) {
    const START: u64 = 2048 * 512;
    let disk = Patched::new(boot_disk(), bytes);
    let size = disk.size() - START;
    let partition = Window::new(&disk, START, size).unwrap();
    let Ok(file_system) = imagegen::fs::fat::reader::FileSystem::open(&partition) else { return };
    let _ = file_system.free_clusters();
    walk(&partition);
    let Ok(listing) = file_system.list() else { return };
    for found in &listing.found {
        assert!(!found.path.contains(char::is_control), "{:?}", found.path);
        if let Ok(contents) = file_system.contents(found, 4096) {
            assert!(contents.len() <= 4096);
            let _ = file_system.file(found).map(|file| file.guest_offset(4095));
        }
    }
}

/// Every registered path of an ext4 image is judged, whatever the image holds.
pub fn ext4(bytes: &[u8]) {
    let disk = Patched::new(store_image(), bytes);
    let Ok(file_system) = Ext4::open(&disk) else { return };
    walk(&disk);
    let record = format!("{TOPLEVEL}\n{}\n1\n\n0\n", "ab".repeat(32));
    let registration = Registration::parse(Path::new("registration"), record.as_bytes()).unwrap();
    let Ok(verification) = verify(&file_system, &registration, &Job::default()) else { return };
    let counts = verification.counts();
    assert_eq!(counts.right + counts.unchecked + counts.wrong + counts.missing, 1, "{counts:?}");
    assert_eq!(counts.right, 0, "no contents have such a hash");
}

/// Every name is one of a directory entry, no directory is entered twice, and both ends of each file can be read or not.
fn walk(source: &dyn Source) {
    let Ok(files) = Files::open(source) else { return };
    let Ok(root) = files.root() else { return };
    let (mut entered, mut open) = (HashSet::new(), vec![root]);
    while let Some(node) = open.pop() {
        match node.kind {
            Type::Directory if entered.insert(node.directory_id()) => {
                for entry in files.entries(&node).unwrap_or_default() {
                    assert!(!matches!(entry.name.as_slice(), b"" | b"." | b".."));
                    assert!(!entry.name.contains(&b'/') && !entry.name.contains(&0));
                    open.extend(files.node(&entry));
                }
            }
            Type::File => {
                let Ok(file) = files.file(&node, b"file") else { continue };
                let mut bytes = vec![0; usize::try_from(file.size().min(4096)).unwrap()];
                let _ = file.read_at(&mut bytes, 0);
                let _ = file.read_at(&mut bytes, file.size() - file.size().min(4096));
                let _ = file.data_from(0);
            }
            Type::Symlink => {
                let _ = files.link_target(&node);
            }
            _ => {}
        }
    }
}

/// Changes to begin with.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![],
        vec![0, 0, 4, 0, 4, 0xff, 0xff, 0xff, 0xff],
        vec![1, 0, 80, 0, 2, 0, 0, 2, 0, 0, 0, 1, 0xff],
        [vec![3, 0, 0, 0, 64], vec![0x41; 64]].concat(),
    ]
}

/// An image and its sectors that are not all zeros.
pub struct Base {
    pub bytes: Vec<u8>,
    live: Vec<usize>,
}

impl Base {
    pub fn new(bytes: Vec<u8>) -> Self {
        let sectors = bytes.chunks(SECTOR).enumerate();
        let live = sectors.filter(|(_, sector)| sector.iter().any(|&b| b != 0)).map(|(i, _)| i).collect();
        Self { bytes, live }
    }
}

/// An image with changes.
pub struct Patched {
    base: &'static Base,
    pub patches: Vec<(u64, Vec<u8>)>,
}

impl Patched {
    pub fn new(base: &'static Base, mut input: &[u8]) -> Self {
        let mut patches = Vec::new();
        while let [a, b, c, d, count, rest @ ..] = input {
            let sector = base.live[usize::from(u16::from_le_bytes([*a, *b])) % base.live.len()];
            let offset = sector * SECTOR + usize::from(u16::from_le_bytes([*c, *d])) % SECTOR;
            let room = base.bytes.len() - offset;
            let (patch, rest) = rest.split_at(usize::from(*count).min(rest.len()));
            patches.push((offset.try_into().unwrap(), patch[..patch.len().min(room)].to_vec()));
            input = rest;
        }
        Self { base, patches }
    }
}

impl Source for Patched {
    fn size(&self) -> u64 {
        self.base.bytes.len().try_into().unwrap()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        self.check(offset, buffer.len().try_into().unwrap())?;
        let start = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.base.bytes[start..start + buffer.len()]);
        for (at, patch) in &self.patches {
            for (at, &byte) in (usize::try_from(*at).unwrap()..).zip(patch) {
                if let Some(place) = at.checked_sub(start).and_then(|i| buffer.get_mut(i)) {
                    *place = byte;
                }
            }
        }
        Ok(())
    }

    fn guest_offset(&self, offset: u64) -> Option<GuestOffset> {
        Some(GuestOffset(offset))
    }
}

/// A disk in memory.
struct Memory(Mutex<Vec<u8>>);

impl Memory {
    fn new(size: ByteCount) -> Self {
        Self(Mutex::new(vec![0; usize::try_from(size.0).unwrap()]))
    }

    fn into_base(self) -> Base {
        Base::new(self.0.into_inner().unwrap())
    }
}

impl Sink for Memory {
    fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset.0).unwrap();
        self.0.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// A disk with a partition table and a FAT file system.
pub fn boot_disk() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let file = |path: &str, bytes: &[u8]| NamedFile::new(path, FileSource::bytes(bytes));
        let files = vec![
            file("loader/loader.conf", b"timeout 5\n"),
            file("loader/entries/nixos-generation-1-specialisation-other.conf", b"title NixOS\n"),
            file("EFI/nixos/kernel.efi", &[b'k'; 10_000]),
            file("EFI/BOOT/BOOTX64.EFI", b"MZ"),
        ];
        let mut loaders = Loaders::default();
        loaders.add_files(files);
        let plan = boot_disk::plan(ByteCount(12 << 20), &loaders, None).unwrap();
        let memory = Memory::new(plan.size());
        plan.write(&memory, &Job::default()).unwrap();
        memory.into_base()
    })
}

/// A file system of one store path, with everything that has its own form.
fn store_tree() -> Tree {
    let mut tree = TreeBuilder::default();
    let root = tree.open_directory(b"").unwrap();
    let top = tree.open_directory(TOPLEVEL.rsplit('/').next().unwrap().as_bytes()).unwrap();
    tree.add_file(b"empty", 0, false).unwrap();
    tree.add_file(b"file", 10_000, true).unwrap();
    tree.add_symlink(b"link", &[b't'; 300]).unwrap();
    tree.add_symlink(b"link-short", b"file").unwrap();
    let many = tree.open_directory(b"many").unwrap();
    for i in 0..300 {
        tree.add_file(format!("a-name-of-some-length-{i:04}").as_bytes(), 0, false).unwrap();
    }
    tree.close_directory(many).unwrap();
    tree.close_directory(top).unwrap();
    tree.close_directory(root).unwrap();
    tree.finish().unwrap().tree
}

/// The options of every ext4 file system here.
pub fn options() -> Options {
    Options {
        label: "fuzz".to_owned(),
        uuid: fixed::STORE_IMAGE_UUID,
        hash_seed: fixed::EXT4_HASH_SEED,
        time: fixed::STORE_TIME,
        journal: false,
        growth: None,
        size: Size::Auto { additional: ByteCount(0) },
    }
}

/// An ext4 file system of one store path.
pub fn store_image() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let tree = store_tree();
        let plan = ext4::plan(&tree, &options()).unwrap();
        let memory = Memory::new(plan.size());
        plan.write_metadata(&memory).unwrap();
        memory.into_base()
    })
}

/// The same in qcow2.
pub fn qcow2_image() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let tree = store_tree();
        let plan = ext4::plan(&tree, &options()).unwrap();
        let file: File = tempfile::tempfile().unwrap();
        let image = ImageFile::create(&file, Format::Qcow2, plan.size(), &plan.allocated()).unwrap();
        plan.write_metadata(&image).unwrap();
        image.finish().unwrap();
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        Base::new(bytes)
    })
}

/// Two clusters, compressed with zstd.
pub fn packed_image() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let disk: Vec<u8> = (0..32_768_u32).flat_map(|i| (i / 7 * i % 1009).to_le_bytes()).collect();
        let size = ByteCount(disk.len().try_into().unwrap());
        let file: File = tempfile::tempfile().unwrap();
        let planned = [GuestOffset(0)..GuestOffset(size.0)];
        let image = ImageFile::create_compressed(&file, Compression::Zstd, size, &planned).unwrap();
        image.data(GuestOffset(0), &disk).unwrap();
        image.finish().unwrap();
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        Base::new(bytes)
    })
}
