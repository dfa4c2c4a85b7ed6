//! `inspect`, on our images and on those of mkfs, sgdisk, mtools and the firmware package.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use serde_json::Value;

use testkit::guest::Guest;
use testkit::store::Store;
use testkit::{imagegen, text, tool};

fn inspect(image: &Path, more: &[&str]) -> String {
    let output = imagegen!().args(["inspect", text(image)]).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(image: &Path) -> Value {
    serde_json::from_str(&inspect(image, &["--json"])).unwrap()
}

/// A field of a list of fields.
fn field<'j>(fields: &'j Value, name: &str) -> &'j str {
    fields.as_array().unwrap().iter().find(|field| field["name"] == name).unwrap()["value"].as_str().unwrap()
}

#[test]
fn a_store_image_agrees_with_dumpe2fs() {
    let store = Store::awkward();
    let directory = tempfile::tempdir().unwrap();
    let (image, raw) = (directory.path().join("store.qcow2"), directory.path().join("raw"));
    let registration = store.register();
    let root = text(store.root.path());
    let output = imagegen!()
        .args([
            "store-image",
            "--registration",
            text(&registration),
            "--store-root",
            root,
            "-o",
            text(&image),
        ])
        .output()
        .unwrap();
    assert!(output.status.success());
    tool(&["qemu-img", "convert", "-O", "raw", text(&image), text(&raw)]);

    let found = json(&image);
    assert_eq!(found["container"]["files"][0]["format"], "qcow2");
    assert_eq!(found["container"]["virtual_bytes"], raw.metadata().unwrap().len());
    let contents = &found["contents"];
    assert_eq!(contents["kind"], "ext4");
    let dump = tool(&["dumpe2fs", "-h", text(&raw)]);
    let dumped = |key: &str| {
        let line = dump.lines().find(|line| line.starts_with(key)).unwrap();
        line[key.len()..].trim().to_owned()
    };
    assert_eq!(contents["uuid"], dumped("Filesystem UUID:"));
    assert_eq!(contents["blocks"].to_string(), dumped("Block count:"));
    assert_eq!(contents["free_blocks"].to_string(), dumped("Free blocks:"));
    assert_eq!(contents["free_inodes"].to_string(), dumped("Free inodes:"));
    assert_eq!(field(&contents["superblock"], "s_hash_seed"), dumped("Directory Hash Seed:"));
    let mut features: Vec<_> =
        contents["features"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    let expected = dumped("Filesystem features:");
    let mut expected: Vec<_> = expected.split_whitespace().collect();
    features.sort_unstable();
    expected.sort_unstable();
    assert_eq!(features, expected);
    assert!(contents["store_paths"][0]["name"].as_str().unwrap().ends_with("-payload"));
    assert!(inspect(&image, &[]).contains("ext4  label `nix-store`"));
}

#[test]
fn a_disk_of_sgdisk_and_mtools_is_described() {
    let directory = tempfile::tempdir().unwrap();
    let (disk, esp) = (directory.path().join("disk"), directory.path().join("esp"));
    fs::write(&esp, vec![0; 40 << 20]).unwrap();
    for (width, bits) in [("FAT16", "16"), ("FAT32", "32")] {
        tool(&["mkfs.fat", "-F", bits, "-n", "SYSTEM", "-i", "12345678", text(&esp)]);
        let entry = directory.path().join("entry.conf");
        fs::write(&entry, "title Some System\nlinux /kernel\noptions quiet\n").unwrap();
        tool(&["mmd", "-i", text(&esp), "::loader", "::loader/entries", "::Lower case and long"]);
        tool(&["mcopy", "-i", text(&esp), text(&entry), "::loader/entries/a-long-name.conf"]);
        let mut bytes = vec![0; 1 << 20];
        bytes.extend_from_slice(&fs::read(&esp).unwrap());
        bytes.resize(bytes.len() + (1 << 20), 0);
        fs::write(&disk, bytes).unwrap();
        tool(&["sgdisk", "-n", "1:2048:+40M", "-t", "1:ef00", "-c", "1:A name", text(&disk)]);

        let found = json(&disk);
        let table = &found["contents"];
        assert_eq!((&table["kind"], &table["scheme"]), (&"partition-table".into(), &"gpt".into()));
        assert_eq!(table["problems"], Value::Array(vec![]));
        let partition = &table["partitions"][0];
        assert_eq!(partition["name"], "A name");
        assert_eq!(partition["type_name"], "EFI system partition");
        let fat = &partition["contents"];
        assert_eq!(fat["width"], width);
        assert_eq!(fat["label"], "SYSTEM");
        assert_eq!(fat["volume_id"], "1234-5678");
        assert_eq!(fat["entries"][0]["title"], "Some System");
        let paths: Vec<_> =
            fat["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
        assert_eq!(
            paths,
            ["Lower case and long", "loader", "loader/entries", "loader/entries/a-long-name.conf"]
        );
        let offset = usize::try_from(fat["files"][3]["guest_offset"].as_u64().unwrap()).unwrap();
        assert!(fs::read(&disk).unwrap()[offset..].starts_with(b"title Some System"));
    }

    // The first header is damaged: the backup is used, and both facts are told.
    let mut bytes = fs::read(&disk).unwrap();
    bytes[512 + 60] ^= 1;
    fs::write(&disk, bytes).unwrap();
    let table = &json(&disk)["contents"];
    assert_eq!(table["partitions"][0]["name"], "A name");
    assert!(table["problems"][0].as_str().unwrap().contains("the GPT header in LBA 1 is damaged"), "{table}");
}

#[test]
fn variables_and_other_things_are_told_apart() {
    let found = json(Path::new("/usr/share/OVMF/OVMF_VARS_4M.fd"));
    assert_eq!(found["contents"]["kind"], "efi-variables");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    for (bytes, kind) in [(vec![0; 8192], "zeros"), (vec![7; 8192], "unknown"), (vec![], "zeros")] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(json(&file)["contents"]["kind"], kind);
    }
    let mut damaged = vec![0; 8192];
    damaged[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xEF]);
    fs::write(&file, damaged).unwrap();
    let found = json(&file);
    assert_eq!(found["contents"]["kind"], "damaged");
    assert!(found["contents"]["problem"].as_str().unwrap().contains("superblock"));
}

#[test]
fn a_disk_of_grub_is_the_same_in_every_container() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let disk = at("disk.qcow2");
    let mut boot_disk = imagegen!();
    boot_disk.args(["boot-disk", "--loader=systemd-boot,grub", "--toplevel", &guest.toplevel, "-q"]);
    boot_disk.args(["--store-root", text(&guest.root), "-o", text(&disk)]);
    assert!(boot_disk.status().unwrap().success());
    let found = json(&disk);
    let contents = &found["contents"];
    assert_eq!((&contents["boot_code"], &contents["hybrid"]), (&"grub".into(), &true.into()));
    assert_eq!(contents["partitions"][0]["contents"]["name"], "GRUB core image");
    let entries = contents["partitions"][1]["contents"]["entries"].as_array().unwrap();
    let files: Vec<_> = entries.iter().map(|entry| entry["file"].as_str().unwrap()).collect();
    assert!(files.iter().any(|file| file.ends_with("grub.cfg")), "{files:?}");
    assert!(files.iter().any(|file| file.starts_with("loader/entries/")), "{files:?}");

    // What QEMU compresses.
    let compressed = at("compressed.qcow2");
    tool(&["qemu-img", "convert", "-c", "-O", "qcow2", text(&disk), text(&compressed)]);
    let in_compressed = json(&compressed);
    assert_eq!(in_compressed["contents"], *contents);
    let allocation = &in_compressed["container"]["files"][0]["allocation"];
    let check: Value =
        serde_json::from_str(&tool(&["qemu-img", "check", "--output", "json", text(&compressed)])).unwrap();
    let clusters = |kind: &str| check[kind].as_u64().unwrap();
    let [compressed_bytes, into, data] = ["compressed_bytes", "compressed_into_bytes", "data_bytes"]
        .map(|key| allocation[key].as_u64().unwrap());
    assert_eq!(compressed_bytes, clusters("compressed-clusters") << 16);
    assert_eq!(data, (clusters("allocated-clusters") - clusters("compressed-clusters")) << 16);
    assert!(into > 0 && into < compressed_bytes, "{allocation}");

    let overlay = at("overlay.qcow2");
    let create = ["create", "-q", "-f", "qcow2", "-b", "compressed.qcow2", "-F", "qcow2", text(&overlay)];
    tool(&[&["qemu-img"], &create[..]].concat());
    let in_overlay = json(&overlay);
    assert_eq!(in_overlay["contents"], *contents);
    let files = in_overlay["container"]["files"].as_array().unwrap();
    assert_eq!((files.len(), &files[0]["allocation"]["data_bytes"]), (2, &0.into()));
    assert_eq!(files[0]["backing_file"], "compressed.qcow2");
    assert!(inspect(&overlay, &[]).contains("GRUB core image"));
    assert!(!inspect(&disk, &[]).contains("zlib") && inspect(&compressed, &[]).contains(" by zlib, "));
}

#[test]
fn bulk_is_folded_and_tables_fit_a_terminal() {
    let guest = Guest::get();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.qcow2");
    let mut boot_disk = imagegen!();
    boot_disk.args(["boot-disk", "--loader=systemd-boot,grub", "--toplevel", &guest.toplevel, "-q"]);
    boot_disk.args(["--store-root", text(&guest.root), "-o", text(&disk)]);
    assert!(boot_disk.status().unwrap().success());

    let found = json(&disk);
    let esp = &found["contents"]["partitions"][1]["contents"];
    let is_module = |file: &&Value| {
        Path::new(file["path"].as_str().unwrap()).extension().is_some_and(|extension| extension == "mod")
    };
    let modules: Vec<_> = esp["files"].as_array().unwrap().iter().filter(is_module).collect();
    assert!(modules.len() > 100);
    let (folded, whole) = (inspect(&disk, &[]), inspect(&disk, &["--all"]));
    assert!(folded.contains(&format!("*.mod  ({} files; --all shows them)", modules.len())), "{folded}");
    assert!(!folded.contains("normal.mod") && folded.contains("grub.cfg") && folded.contains("loader.conf"));
    assert!(!whole.contains("*.mod"));
    let in_whole = |name: &str| whole.lines().filter(|line| line.ends_with(name)).count();
    assert_eq!(in_whole(".mod"), modules.len());

    let titles: Vec<_> =
        esp["entries"].as_array().unwrap().iter().map(|entry| entry["title"].as_str().unwrap()).collect();
    assert_eq!(titles[0], "NixOS", "{titles:?}");
    assert!(titles.iter().all(|title| !title.contains("--") && !title.ends_with('{')), "{titles:?}");

    let variables = Path::new("/usr/share/OVMF/OVMF_VARS_4M.ms.fd");
    let listed = inspect(variables, &[]);
    let guid = found["contents"]["partitions"][1]["guid"].as_str().unwrap().to_owned();
    assert!(folded.lines().any(|line| line.ends_with(&format!("GUID {guid}"))), "{folded}");
    for line in folded.lines().chain(listed.lines()) {
        // Only what has no place to be broken may be longer: a name or a parameter.
        let breakable = line.trim_start().splitn(3, ' ').nth(2).is_some_and(|rest| rest.trim().contains(' '));
        let path = directory.path().to_str().unwrap();
        assert!(line.chars().count() <= 80 || !breakable || line.contains(path), "{line}");
    }
    for variable in json(variables)["contents"]["variables"].as_array().unwrap() {
        for word in variable["value"].as_str().unwrap_or_default().split(['(', ')']) {
            assert!(word.len() != 36 || listed.contains(word), "{word} is broken in {listed}");
        }
    }
}

/// Draws an image, and has another program read the drawing.
fn draw(image: &Path) -> String {
    let picture = image.with_extension("svg");
    inspect(image, &["--svg", text(&picture)]);
    let check = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";
    tool(&["python3", "-c", check, text(&picture)]);
    fs::read_to_string(&picture).unwrap()
}

#[test]
fn the_picture_is_well_formed_and_lost_files_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("a<&>\".img");
    tool(&["mkfs.ext4", "-q", "-L", "a<b&c", text(&image), "300M"]);
    let drawn = draw(&image);
    assert!(drawn.contains("a&lt;b&amp;c") && !drawn.contains("lost+found"));
    assert!(!inspect(&image, &[]).contains("lost+found"));
    assert_eq!(json(&image)["contents"]["store_paths"], Value::Array(vec![]));

    let file = directory.path().join("file");
    fs::write(&file, [1; 5000]).unwrap();
    tool(&["debugfs", "-w", "-R", &format!("write {} lost+found/#99", text(&file)), text(&image)]);
    let told = inspect(&image, &[]);
    assert!(told.contains("lost      1 files of 4.8 KiB, 0 directories, 0 symbolic links"), "{told}");
    assert!(told.contains("in `lost+found`") && draw(&image).contains("lost+found</text>"));
    let contents = &json(&image)["contents"];
    assert_eq!(contents["store_paths"], Value::Array(vec![]));
    assert_eq!(contents["lost_found"]["file_bytes"], 5000);
}

#[test]
fn every_colour_of_a_system_partition_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let (image, file) = (directory.path().join("esp"), directory.path().join("file"));
    fs::write(&image, vec![0; 2 << 20]).unwrap();
    tool(&["mkfs.fat", text(&image)]);
    for (number, explained) in [(10, false), (12, true)] {
        for i in 1..=number {
            fs::write(&file, vec![1; i * 1024]).unwrap();
            tool(&["mcopy", "-o", "-i", text(&image), text(&file), &format!("::file-{i}")]);
        }
        let drawn = draw(&image);
        assert_eq!(drawn.contains("2 smaller files</text>"), explained);
        assert!(drawn.contains("file-10</text>") && drawn.contains("free</text>"));
    }
}
