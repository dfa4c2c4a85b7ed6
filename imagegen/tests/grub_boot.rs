//! Disks with our GRUB, booted by QEMU's BIOS to a kernel that tells what it was given.
//!
//! The partition table and the file system are made by sgdisk, mkfs.fat and mtools: only GRUB is judged here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use imagegen::boot::grub::{GrubDirectory, grub_cfg, install, plan_core};
use imagegen::boot::toplevel::{Boot, BootFile, System};
use imagegen::boot::{Generations, Menu, Resolution, Serial, Timeout};
use imagegen::fixed::ESP_VOLUME_ID;
use imagegen::fs::file_source::FileSource;
use imagegen::image::boot_disk::BOOT_DIRECTORY;
use imagegen::nix::store_path::StorePath;
use imagegen::units::Lba;

const ESP_OFFSET: u64 = 2048 * 512;
const KERNEL: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x-kernel";
const INITRD: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x-initrd";

/// Code for the 32-bit boot protocol: writes the command line, a newline and the initrd to the first serial port,
/// then ends QEMU. ESI holds the address of the boot parameters (Linux, Documentation/arch/x86/boot.rst).
#[rustfmt::skip]
const KERNEL_CODE: &[u8] = &[
    0xbc, 0x00, 0x00, 0x09, 0x00,       //       mov  $0x90000, %esp
    0x8b, 0x9e, 0x28, 0x02, 0x00, 0x00, //       mov  cmd_line_ptr(%esi), %ebx
    0x8a, 0x03,                         // 1:    mov  (%ebx), %al
    0x84, 0xc0,                         //       test %al, %al
    0x74, 0x08,                         //       jz   2f
    0xe8, 0x2c, 0x00, 0x00, 0x00,       //       call putc
    0x43,                               //       inc  %ebx
    0xeb, 0xf2,                         //       jmp  1b
    0xb0, 0x0a,                         // 2:    mov  $10, %al
    0xe8, 0x22, 0x00, 0x00, 0x00,       //       call putc
    0x8b, 0x9e, 0x18, 0x02, 0x00, 0x00, //       mov  ramdisk_image(%esi), %ebx
    0x8b, 0x8e, 0x1c, 0x02, 0x00, 0x00, //       mov  ramdisk_size(%esi), %ecx
    0x85, 0xc9,                         // 3:    test %ecx, %ecx
    0x74, 0x0b,                         //       jz   4f
    0x8a, 0x03,                         //       mov  (%ebx), %al
    0xe8, 0x0b, 0x00, 0x00, 0x00,       //       call putc
    0x43,                               //       inc  %ebx
    0x49,                               //       dec  %ecx
    0xeb, 0xf1,                         //       jmp  3b
    0xb0, 0x10,                         // 4:    mov  $0x10, %al
    0xe6, 0xf4,                         //       out  %al, $0xf4      the isa-debug-exit device
    0xf4,                               // 5:    hlt
    0xeb, 0xfd,                         //       jmp  5b
    0x88, 0xc4,                         // putc: mov  %al, %ah
    0x66, 0xba, 0xfd, 0x03,             //       mov  $0x3fd, %dx
    0xec,                               // 6:    in   (%dx), %al
    0xa8, 0x20,                         //       test $0x20, %al      until there is room
    0x74, 0xfb,                         //       jz   6b
    0x66, 0xba, 0xf8, 0x03,             //       mov  $0x3f8, %dx
    0x88, 0xe0,                         //       mov  %ah, %al
    0xee,                               //       out  %al, (%dx)
    0xc3,                               //       ret
];
/// QEMU's exit status after the kernel's `out`.
const KERNEL_WAS_HERE: i32 = (0x10 << 1) | 1;

/// A bzImage of protocol 2.12 around [`KERNEL_CODE`]: one sector of boot code, one of setup code, both empty but
/// for the header.
fn kernel() -> Vec<u8> {
    let mut image = vec![0; 1024];
    let mut set = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    set(0x1f1, &[1]); // setup_sects
    set(0x1fe, &[0x55, 0xaa]); // boot_flag
    set(0x200, &[0xeb, 0x66]); // jump; the header ends behind it and 0x66 bytes more
    set(0x202, b"HdrS");
    set(0x206, &0x020c_u16.to_le_bytes()); // version
    set(0x211, &[1]); // loadflags: LOADED_HIGH
    set(0x214, &0x10_0000_u32.to_le_bytes()); // code32_start
    set(0x22c, &0x7fff_ffff_u32.to_le_bytes()); // initrd_addr_max
    set(0x230, &0x10_0000_u32.to_le_bytes()); // kernel_alignment
    set(0x238, &2047_u32.to_le_bytes()); // cmdline_size
    set(0x258, &0x10_0000_u64.to_le_bytes()); // pref_address
    set(0x260, &0x1_0000_u32.to_le_bytes()); // init_size
    image.extend_from_slice(KERNEL_CODE);
    image.resize(4096, 0);
    image
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{err}");
}

/// A disk of 60 MiB in a directory of its own.
struct Disk {
    directory: tempfile::TempDir,
    image: PathBuf,
}

impl Disk {
    /// Partitions as NixOS's test VMs have them, and an empty FAT in the second.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("disk.img");
        fs::File::create(&image).unwrap().set_len(60 << 20).unwrap();
        let table = ["--set-alignment=1", "--new=1:34:2047", "--typecode=1:ef02", "--largest-new=2"];
        let hybrid = ["--typecode=2:ef00", "--hybrid", "2", "--recompute-chs"];
        run(Command::new("sgdisk").args(table).args(hybrid).arg(&image));
        let volume_id = format!("{ESP_VOLUME_ID:08x}");
        let fat = ["-F16", "-i", &volume_id, "--offset=2048"];
        run(Command::new("mkfs.fat").args(fat).arg(&image).arg("60399"));
        Self { directory, image }
    }

    fn mtools(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.env("MTOOLS_SKIP_CHECK", "1");
        command.arg("-i").arg(format!("{}@@{ESP_OFFSET}", self.image.display()));
        command
    }

    fn make_directory(&self, name: &str) {
        run(self.mtools("mmd").arg(format!("::{name}")));
    }

    fn write(&self, name: &str, contents: &[u8]) {
        let source = self.directory.path().join("file");
        fs::write(&source, contents).unwrap();
        run(self.mtools("mcopy").arg(source).arg(format!("::{name}")));
    }

    fn install_grub(&self, config: &str, embedded: Option<&[u8]>) {
        let grub = std::env::var_os("GRUB_PC_DIR").unwrap_or_else(|| "/usr/lib/grub/i386-pc".into());
        let grub = GrubDirectory::open(Path::new(&grub)).expect("grub-pc-bin is installed");
        self.make_directory("grub");
        self.make_directory("grub/i386-pc");
        let modules = grub.files_to_copy().unwrap().into_keys().map(|name| grub.file(&name));
        run(self.mtools("mcopy").args(modules).arg("::grub/i386-pc"));
        self.write("grub/grub.cfg", config.as_bytes());

        let disk = OpenOptions::new().read(true).write(true).open(&self.image).unwrap();
        let mut mbr = [0; 512];
        disk.read_exact_at(&mut mbr, 0).unwrap();
        let core =
            plan_core(&grub, BOOT_DIRECTORY.core_modules(), &BOOT_DIRECTORY.prefix(), embedded).unwrap();
        let installed = install(&grub, &core, &(Lba(34)..=Lba(2047)), &mbr).unwrap();
        disk.write_all_at(&installed.core, installed.core_start.offset().0).unwrap();
        disk.write_all_at(&installed.boot_sector, 0).unwrap();
    }

    /// Boots it and gives what came out of the serial port, the kernel's two lines last.
    fn boot(&self, drive: &str) -> String {
        run(Command::new("sgdisk").arg("--verify").arg(&self.image));
        let serial = self.directory.path().join("serial");
        let mut command = Command::new("timeout");
        command.args(["120", "qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-nodefaults", "-no-reboot"]);
        command.args(["-display", "none", "-vga", "std", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        command.arg("-serial").arg(format!("file:{}", serial.display()));
        command.arg("-drive").arg(drive.replace("DISK", &self.image.display().to_string()));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&fs::read(serial).unwrap()).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(KERNEL_WAS_HERE), "{stderr}{text}");
        text
    }
}

const VIRTIO: &str = "file=DISK,format=raw,if=virtio";

fn store_path(digit: &str, name: &str) -> StorePath {
    StorePath::parse(&format!("/nix/store/{}-{name}", digit.repeat(32))).unwrap()
}

fn boot_entry(init: &str, params: &[&str]) -> Boot {
    let file = |name: &str| BootFile {
        store_path: store_path("a", "x"),
        inside: name.to_owned(),
        content: FileSource::bytes(kernel()),
    };
    Boot {
        label: "NixOS 25.05".to_owned(),
        kernel: file("kernel"),
        initrd: Some(file("initrd")),
        extra_initrds: Vec::new(),
        initrd_secrets: None,
        device_tree: None,
        init: init.to_owned(),
        kernel_params: params.iter().map(|&param| param.to_owned()).collect(),
        sort_key: None,
    }
}

/// A system with two specialisations, `special` if not otherwise told, and `other`.
fn system(number: u32, params: &[&str], special: &str) -> System {
    let boot = |init: &str| boot_entry(&format!("/{number}{init}"), params);
    System {
        toplevel: store_path(&number.to_string(), "system"),
        system: "x86_64-linux".to_owned(),
        distribution: "NixOS".to_owned(),
        unknown_extensions: std::collections::BTreeSet::new(),
        boot: boot(""),
        specialisations: [(special, boot("/special")), ("other", boot("/other"))]
            .map(|(name, boot)| (name.to_owned(), boot))
            .into(),
    }
}

fn at_once() -> Menu {
    let mut menu = Menu::default();
    menu.timeout = Timeout::Seconds(0);
    menu
}

/// The menu of one system.
fn cfg(system: System, menu: &Menu) -> String {
    grub_cfg(&Generations::new(system, Vec::new(), None).unwrap(), BOOT_DIRECTORY, menu).unwrap()
}

/// Installs GRUB with this menu, the kernel and an initrd.
fn disk_with(menu: &str, embedded: Option<&[u8]>) -> Disk {
    let disk = Disk::new();
    disk.make_directory("kernels");
    disk.write(&format!("kernels/{KERNEL}"), &kernel());
    disk.write(&format!("kernels/{INITRD}"), b"this is the initrd");
    disk.install_grub(menu, embedded);
    disk
}

/// The command line without GRUB's own parameter, and the initrd.
fn what_arrived(serial: &str) -> (String, String) {
    let start = serial.rfind("BOOT_IMAGE=").unwrap_or_else(|| panic!("no kernel: {serial}"));
    let (line, initrd) = serial[start..].split_once('\n').unwrap();
    let line = line.strip_prefix(&format!("BOOT_IMAGE=(hd0,gpt2)/kernels/{KERNEL} "));
    (line.unwrap_or_else(|| panic!("{serial}")).to_owned(), initrd.to_owned())
}

#[test]
fn parameters_and_initrd_arrive_unchanged() {
    let exact = [
        "console=ttyS0,115200n8",
        "a=$b${prefix}",
        "c={d};e",
        "f&&g||h<i>j#k",
        "l=*[m]?~!",
        "n=größe",
        "p=%q`r`(s)",
        "--",
        "-t",
        "\"u=v w\"",
    ];
    // Arrives as `"x=y z"`, which is the same to the kernel.
    let params = [&exact[..], &["x=\"y  z $1 } ;\"", "y=\"z\""]].concat();
    let menu = cfg(system(1, &params, "special"), &at_once());
    let serial = disk_with(&menu, None).boot(VIRTIO);
    let expected = format!("init=/1 {} \"x=y  z $1 }} ;\" y=z", exact.join(" "));
    assert_eq!(what_arrived(&serial), (expected, "this is the initrd".to_owned()));
}

#[test]
fn the_default_entry_boots() {
    let cases = [(None, "init=/1 last"), (Some("special"), "init=/1/special last")];
    for (specialisation, expected) in cases {
        let others = vec![(1, system(1, &[], "special")), (2, system(2, &[], "special"))];
        let default = system(1, &[], "special");
        let generations = Generations::new(default, others, specialisation.map(str::to_owned)).unwrap();
        let mut menu = at_once();
        menu.kernel_params = vec!["last".to_owned()];
        let menu = grub_cfg(&generations, BOOT_DIRECTORY, &menu).unwrap();
        let serial = disk_with(&menu, None).boot(VIRTIO);
        assert_eq!(what_arrived(&serial).0, expected);
    }
}

#[test]
fn the_menu_shows_on_the_serial_port_and_names_are_only_shown() {
    let special = "it's ${prefix} {\"x\"}; reboot";
    let mut menu = Menu::default();
    menu.timeout = Timeout::Seconds(1);
    menu.serial = Some(Serial { unit: 0, speed: 115_200 });
    // There is no font, so the menu falls back to text.
    menu.resolution = Some(Resolution { width: 1024, height: 768 });
    let menu = cfg(system(1, &[], special), &menu);
    let serial = disk_with(&menu, None).boot(VIRTIO);
    for title in ["*NixOS  ", "NixOS - it's ${prefix} {\"x\"}; reboot  "] {
        assert!(serial.contains(title), "{serial}");
    }
    assert_eq!(what_arrived(&serial).0, "init=/1");
}

#[test]
fn an_embedded_script_runs_before_the_menu() {
    let menu = cfg(system(1, &["$a"], "special"), &at_once());
    let menu = menu.replace("'$a'", "$embedded");
    let disk = disk_with(&menu, Some(b"set embedded=from-the-script\nexport embedded\n"));
    // On the old disk controller, for a change.
    let serial = disk.boot("file=DISK,format=raw,if=ide");
    assert_eq!(what_arrived(&serial).0, "init=/1 from-the-script");
}
