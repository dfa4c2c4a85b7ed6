//! A NixOS system in small, all of it made here: what boot disks and store images of a fixed content are made from.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::program;
use super::random::Random;
use super::store::Store;

/// A store that holds two generations of a system and a payload, and a firmware's empty variable store.
pub struct System {
    pub store: Store,
    /// The store paths of the generations.
    pub toplevels: [String; 2],
    pub registration: PathBuf,
    /// Beside the store, as the registration is.
    pub variables: PathBuf,
}

impl System {
    pub fn new() -> Self {
        let mut store = Store::new();
        payload(&store.add('p', "payload"));
        let kernel = add(&mut store, 'k', "linux-6.12.1", |path| {
            fs::create_dir_all(path.join("lib/modules/6.12.1")).unwrap();
            fs::write(path.join("bzImage"), program::kernel(&Random::new(1).bytes(200_000))).unwrap();
        });
        let initrd = add(&mut store, 'i', "initrd-linux-6.12.1", |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("initrd"), Random::new(2).bytes(300_001)).unwrap();
        });
        let systemd = add(&mut store, 's', "systemd-257", |path| {
            let programs = path.join("lib/systemd/boot/efi");
            fs::create_dir_all(&programs).unwrap();
            let program = program::efi_program(program::X64, &Random::new(3).bytes(90_000));
            fs::write(programs.join("systemd-bootx64.efi"), program).unwrap();
        });
        let toplevels = ['1', '2'].map(|digit| {
            add(&mut store, digit, "nixos-system-test-25.11", |path| {
                toplevel(path, digit, [&kernel, &initrd, &systemd]);
            })
        });
        let registration = store.register();
        let variables = store.root.path().join("VARS.fd");
        fs::write(&variables, empty_variable_store()).unwrap();
        Self { store, toplevels, registration, variables }
    }
}

/// Stand-ins for a firmware's code and variables: files of the sizes of one build, of which nothing else is looked at.
pub fn firmware_pair(directory: &Path) -> (PathBuf, PathBuf) {
    let pair = (directory.join("code.fd"), directory.join("vars.fd"));
    fs::File::create(&pair.0).unwrap().set_len(1_966_080).unwrap();
    let mut variables = empty_variable_store();
    variables.resize(131_072, 0);
    fs::write(&pair.1, variables).unwrap();
    pair
}

fn add(store: &mut Store, digit: char, name: &str, fill: impl FnOnce(&Path)) -> String {
    let path = store.add(digit, name);
    fill(&path);
    format!("/nix/store/{}", path.file_name().unwrap().to_str().unwrap())
}

/// Everything that has its own form in ext4: an indexed directory, long and short links, empty and sparse files.
fn payload(at: &Path) {
    fs::create_dir_all(at.join("many")).unwrap();
    for i in 0..400 {
        fs::write(at.join(format!("many/a-name-that-takes-some-room-{i}")), format!("{}", i % 7)).unwrap();
    }
    fs::create_dir_all(at.join("deep/er/than/most/directories/are")).unwrap();
    for size in [0, 1, 4095, 4096, 4097, 100_000] {
        fs::write(at.join(format!("size-{size}")), Random::new(9).bytes(size)).unwrap();
    }
    let holes = [vec![0; 1 << 20], b"in the middle".to_vec(), vec![0; 1 << 20]].concat();
    fs::write(at.join("holes"), holes).unwrap();
    for length in [1, 59, 60, 4095] {
        symlink(&"t/".repeat(2048)[..length], at.join(format!("link-{length}"))).unwrap();
    }
    fs::write(at.join("tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at.join("grüße"), "not ASCII").unwrap();
}

fn toplevel(at: &Path, digit: char, [kernel, initrd, systemd]: [&String; 3]) {
    fs::create_dir(at).unwrap();
    let logical = format!("/nix/store/{}", at.file_name().unwrap().to_str().unwrap());
    symlink(format!("{kernel}/bzImage"), at.join("kernel")).unwrap();
    symlink(format!("{initrd}/initrd"), at.join("initrd")).unwrap();
    symlink(kernel, at.join("kernel-modules")).unwrap();
    symlink(systemd, at.join("systemd")).unwrap();
    fs::write(at.join("init"), "#!/bin/sh\n").unwrap();
    fs::write(at.join("kernel-params"), "console=ttyS0 quiet").unwrap();
    fs::write(at.join("nixos-version"), "25.11.test").unwrap();
    fs::write(at.join("system"), "x86_64-linux").unwrap();
    let boot = serde_json::json!({
        "org.nixos.bootspec.v1": {
            "system": "x86_64-linux",
            "label": format!("NixOS 25.11.test {digit} (Linux 6.12.1)"),
            "kernel": format!("{kernel}/bzImage"),
            "initrd": format!("{initrd}/initrd"),
            "init": format!("{logical}/init"),
            "kernelParams": ["console=ttyS0", "quiet"],
            "toplevel": logical,
        },
        "org.nixos.specialisation.v1": {},
    });
    fs::write(at.join("boot.json"), boot.to_string()).unwrap();
}

/// A firmware volume that holds a store of authenticated variables, without any (Platform Initialization 1.7,
/// volume 3, section 3.2.1).
pub fn empty_variable_store() -> Vec<u8> {
    const BLOCK: u32 = 0x1000;
    const BLOCKS: u32 = 4;
    const HEADER: u16 = 72;
    let mut image = vec![0; 16];
    image.extend(0x8d2b_f1ff_9676_8b4c_a985_2747_075b_4f50_u128.to_be_bytes());
    image.extend(u64::from(BLOCKS * BLOCK).to_le_bytes());
    image.extend(b"_FVH");
    image.extend(0x0004_feff_u32.to_le_bytes());
    image.extend(HEADER.to_le_bytes());
    // Checksum, extension header, reserved byte, revision 2.
    image.extend([0, 0, 0, 0, 0, 2]);
    for number in [BLOCKS, BLOCK, 0, 0] {
        image.extend(number.to_le_bytes());
    }
    let sum =
        image.chunks(2).fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
    image[50..52].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    image.extend(0x782c_f3aa_7b94_9a43_a180_2e14_4ec3_7792_u128.to_be_bytes());
    image.extend((BLOCKS * BLOCK - u32::from(HEADER)).to_le_bytes());
    image.extend([0x5a, 0xfe, 0, 0, 0, 0, 0, 0]);
    image.resize(usize::try_from(BLOCKS * BLOCK).unwrap(), 0xff);
    image
}
