//! What other people's crates read in the images: none of them shares a line with the writers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use assert_cmd::assert::OutputAssertExt;
use imagegen::fixed;
use imagegen::guid::Guid;
use qcow2_rs::dev::Qcow2DevParams;
use qcow2_rs::helpers::Qcow2IoBuf;
use qcow2_rs::utils::qcow2_setup_dev_sync;

use testkit::guest::Guest;
use testkit::{imagegen, text};

/// The guest's store image and boot disk.
fn build(guest: &Guest, directory: &Path, format: &str) {
    let at = |name: &str| directory.join(format!("{name}.{format}")).display().to_string();
    let root = text(&guest.root);
    let (store, boot) = (at("store"), at("boot"));
    let registration = text(&guest.registration);
    let store_image =
        ["store-image", "--store-root", root, "--registration", registration, "--format", format];
    imagegen!().args(store_image).args(["-o", &store]).assert().success();
    let boot_disk = ["boot-disk", "--store-root", root, "--toplevel", &guest.toplevel, "--format", format];
    imagegen!().args(boot_disk).args(["--loader", "systemd-boot", "-o", &boot]).assert().success();
}

/// Reads a whole qcow2 image through `qcow2-rs`.
fn read_qcow2(image: &Path) -> Vec<u8> {
    let parameters = Qcow2DevParams::new(9, None, None, true, false);
    let device = qcow2_setup_dev_sync(image, &parameters).unwrap();
    pollster::block_on(device.qcow2_prep_io()).unwrap();
    let size = usize::try_from(device.info.virtual_size()).unwrap();
    let mut disk = Vec::new();
    let mut buffer = Qcow2IoBuf::<u8>::new(1 << 20);
    while disk.len() < size {
        let wanted = buffer.len().min(size - disk.len());
        let offset = u64::try_from(disk.len()).unwrap();
        let read = pollster::block_on(device.read_at(&mut buffer[..wanted], offset)).unwrap();
        assert!(read > 0, "the crate stopped at byte {}", disk.len());
        disk.extend_from_slice(&buffer[..read]);
    }
    disk
}

#[test]
fn qcow2_rs_reads_the_same_disks_as_are_in_the_raw_images() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    build(&guest, directory.path(), "raw");
    build(&guest, directory.path(), "qcow2");
    for name in ["store", "boot"] {
        let raw = fs::read(directory.path().join(format!("{name}.raw"))).unwrap();
        let read = read_qcow2(&directory.path().join(format!("{name}.qcow2")));
        assert!(raw == read, "{name} differs at {:?}", raw.iter().zip(&read).position(|(a, b)| a != b));
    }
}

/// Partition types, in the words of the UEFI specification (table 5.7) and of GRUB's manual.
const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";

#[test]
fn gptman_and_fatfs_read_the_boot_disk() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    build(&guest, directory.path(), "raw");
    let mut file = File::open(directory.path().join("boot.raw")).unwrap();
    let table = gptman::GPT::find_from(&mut file).unwrap();
    assert_eq!((table.sector_size, table.is_primary()), (512, true));
    assert_eq!(table.header.disk_guid, fixed::BOOT_DISK_GUID.mixed_endian());
    file.seek(SeekFrom::Start(122_879 * 512)).unwrap();
    let backup = gptman::GPTHeader::read_from(&mut file).unwrap();
    assert_eq!((backup.primary_lba, backup.backup_lba), (122_879, 1));
    let used: Vec<_> = table.iter().filter(|(_, partition)| partition.is_used()).collect();
    let found: Vec<_> = used
        .iter()
        .map(|(number, p)| {
            (*number, p.partition_name.as_str(), p.starting_lba, p.ending_lba, p.attribute_bits)
        })
        .collect();
    assert_eq!(found, [(1, "BIOSBootPartition", 34, 2047, 2), (2, "EFISystem", 2048, 122_846, 4)]);
    let guids = used.iter().map(|(_, p)| (p.partition_type_guid, p.unique_partition_guid));
    let expected = [(BIOS_BOOT, fixed::BIOS_BOOT_PARTITION_GUID), (ESP, fixed::ESP_GUID)];
    let expected =
        expected.map(|(kind, own)| (kind.parse::<Guid>().unwrap().mixed_endian(), own.mixed_endian()));
    assert!(guids.eq(expected));

    let mut file = File::open(directory.path().join("boot.raw")).unwrap();
    let mut esp = Vec::new();
    file.seek(SeekFrom::Start(2048 * 512)).unwrap();
    file.take((122_846 - 2047) * 512).read_to_end(&mut esp).unwrap();
    let file_system = fatfs::FileSystem::new(std::io::Cursor::new(esp), fatfs::FsOptions::new()).unwrap();
    assert_eq!(file_system.fat_type(), fatfs::FatType::Fat16);
    assert_eq!(file_system.volume_id(), fixed::ESP_VOLUME_ID);
    assert_eq!(file_system.volume_label().trim(), "boot");
    let read = |path: &str| {
        let mut contents = Vec::new();
        file_system.root_dir().open_file(path).unwrap().read_to_end(&mut contents).unwrap();
        contents
    };
    let loader = guest.physical(&guest.path("-systemd")).join("lib/systemd/boot/efi/systemd-bootx64.efi");
    assert!(read("EFI/systemd/systemd-bootx64.efi") == fs::read(&loader).unwrap());
    assert!(read("EFI/BOOT/BOOTX64.EFI") == fs::read(&loader).unwrap());
    let menu = String::from_utf8(read("loader/loader.conf")).unwrap();
    let default = menu.lines().find_map(|line| line.strip_prefix("default ")).unwrap();
    let entry = String::from_utf8(read(&format!("loader/entries/{default}"))).unwrap();
    assert!(entry.contains(&format!("init={}/init", guest.toplevel)), "{entry}");
}

#[test]
fn arcbox_ext4_reads_the_store_image() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    build(&guest, directory.path(), "raw");
    let mut image = arcbox_ext4::Reader::new(&directory.path().join("store.raw")).unwrap();
    let payload = guest.path("-payload");
    let source = guest.physical(&payload);
    let base = payload.trim_start_matches("/nix/store");
    for name in ["noise", "zeros", "empty", "executable", "grüße-🦀", "many/file-2999"] {
        let contents = image.read_file(&format!("{base}/{name}"), 0, None).unwrap();
        assert!(contents == fs::read(source.join(name)).unwrap(), "{name}");
    }
    let many = image.list_dir(&format!("{base}/many")).unwrap();
    assert_eq!(many.len(), 3000);
}
