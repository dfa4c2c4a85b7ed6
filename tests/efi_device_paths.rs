//! The text form of device paths, judged by OVMF: it prints where each boot entry leads that it cannot start.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::assert::OutputAssertExt;
use serde_json::json;

const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const OVMF: &str = "/usr/share/OVMF";
/// The nodes' GUID, in the order of their bytes, and its text.
const GUID: &str = "78563412bc9af0de1122334455667788";
const GUID_TEXT: &str = "12345678-9abc-def0-1122-334455667788";
const IPV6: &str = "000102030405060708090a0b0c0d0e0f";
const IPV6_TEXT: &str = "0001:0203:0405:0607:0809:0a0b:0c0d:0e0f";
/// OVMF's words for what it cannot start.
const FAILURES: [&str; 4] = [": Not Found", ": Unsupported", ": Load Error", ": No mapping"];

/// Nodes as type and sub-type, data in hexadecimal, and the text of UEFI 2.10, section 10.6.1.6; G and I stand for
/// the GUID and the address above.
const NODES: &[(u8, u8, &str, &str)] = &[
    (1, 1, "011f", "Pci(0x1f,0x1)"),
    (1, 2, "07", "PcCard(0x7)"),
    (1, 3, "0b000000 0010000000000000 ffff0000ffff0000", "MemoryMapped(0xb,0x1000,0xffff0000ffff)"),
    (1, 4, "G", "VenHw(G)"),
    (1, 4, "G dead", "VenHw(G,dead)"),
    (1, 5, "07000000", "Ctrl(0x7)"),
    (1, 6, "01 8967452301000000", "BMC(0x1,0x123456789)"),
    (2, 1, "d041030a 00000000", "PciRoot(0x0)"),
    (2, 1, "d041080a 01000000", "PcieRoot(0x1)"),
    (2, 1, "d0410406 01000000", "Floppy(0x1)"),
    (2, 1, "d0410103 00000000", "Keyboard(0x0)"),
    (2, 1, "d0410105 01000000", "Serial(0x1)"),
    (2, 1, "d0410104 01000000", "ParallelPort(0x1)"),
    (2, 1, "d0410f0c 02000000", "Acpi(PNP0c0f,0x2)"),
    (2, 1, "78563412 02000000", "Acpi(0x12345678,0x2)"),
    (2, 2, "d041030a 00000000 d041080a 00 554944 00 00", "AcpiExp(PNP0A03,PNP0A08,UID)"),
    (2, 2, "d041030a 05000000 d041080a 48 00 55 00 43 00", "AcpiEx(PNP0A03,PNP0A08,0x5,H,C,U)"),
    (2, 3, "00010180 00020180", "AcpiAdr(0x80010100,0x80010200)"),
    (3, 1, "01 00 0300", "Ata(Secondary,Master,0x3)"),
    (3, 2, "0300 0100", "Scsi(0x3,0x1)"),
    (3, 3, "00000000 8877665544332211 0500000000000000", "Fibre(0x1122334455667788,0x5)"),
    (3, 4, "00000000 5544332211000000", "I1394(0000001122334455)"),
    (3, 5, "02 01", "USB(0x2,0x1)"),
    (3, 6, "09000000", "I2O(0x9)"),
    (3, 9, "03000000 G 0100000000000000 0200000000000000 0300000000000000", "Infiniband(0x3,G,0x1,0x2,0x3)"),
    (3, 10, "G", "VenMsg(G)"),
    (3, 10, "G 010203", "VenMsg(G,010203)"),
    (3, 11, "525400123456 0000000000000000000000000000000000000000000000000000 01", "MAC(525400123456,0x1)"),
    (
        3,
        12,
        "0a00020f c0a80101 0004 5000 0600 01 0a000202 ffffff00",
        "IPv4(192.168.1.1,TCP,Static,10.0.2.15,10.0.2.2,255.255.255.0)",
    ),
    (3, 12, "0a00020f c0a80101 0004 5000 1100 00", "IPv4(192.168.1.1,UDP,DHCP,10.0.2.15)"),
    (3, 13, "I I 0004 5000 1100 02 40 I", "IPv6(I,UDP,StatefulAutoConfigure,I,0x40,I)"),
    (3, 13, "I I 0004 5000 6300 01", "IPv6(I,0x63,StatelessAutoConfigure,I)"),
    (3, 14, "00000000 00c2010000000000 08 01 01", "Uart(115200,8,N,1)"),
    (3, 14, "00000000 0000000000000000 00 00 00", "Uart(DEFAULT,DEFAULT,D,D)"),
    (3, 15, "3412 ffff 01 00 50", "UsbAudio(0x1234,0xffff,0x0,0x50)"),
    (3, 15, "3412 ffff 08 06 50", "UsbMassStorage(0x1234,0xffff,0x6,0x50)"),
    (3, 15, "3412 ffff e0 01 50", "UsbWireless(0x1234,0xffff,0x1,0x50)"),
    (3, 15, "3412 ffff fe 01 50", "UsbDeviceFirmwareUpdate(0x1234,0xffff,0x50)"),
    (3, 15, "3412 ffff ff ff 50", "UsbClass(0x1234,0xffff,0xff,0xff,0x50)"),
    (3, 16, "0100 6b1d 0401 5300 4500 5200 0000", "UsbWwid(0x1d6b,0x104,0x1,\"SER\")"),
    (3, 16, "0100 6b1d 0401 5300 4500 5200", "UsbWwid(0x1d6b,0x104,0x1,\"SER\")"),
    (3, 17, "01", "Unit(0x1)"),
    (3, 18, "0100 ffff 0000", "Sata(0x1,0xffff,0x0)"),
    (
        3,
        19,
        "0000 0a08 0001020304050607 0100 69716e2e7800",
        "iSCSI(iqn.x,0x1,0x0001020304050607,CRC32C,CRC32C,None,TCP)",
    ),
    (3, 20, "2a00", "Vlan(42)"),
    (3, 21, "00000000 I", "FibreEx(0x0001020304050607,0x08090a0b0c0d0e0f)"),
    (3, 22, "I 0000 0200", "SasEx(0x0001020304050607,0x08090a0b0c0d0e0f,0x2,NoTopology,0,0,0)"),
    (3, 22, "I 7203 0200", "SasEx(0x0001020304050607,0x08090a0b0c0d0e0f,0x2,SATA,External,Expanded,0x4)"),
    (3, 23, "01000000 0102030405060708", "NVMe(0x1,08-07-06-05-04-03-02-01)"),
    (3, 24, "687474703a2f2f612f622e656669", "Uri(http://a/b.efi)"),
    (3, 24, "", "Uri()"),
    (3, 25, "01 02", "UFS(0x1,0x2)"),
    (3, 26, "01", "SD(0x1)"),
    (3, 27, "000102030405", "Bluetooth(000102030405)"),
    (3, 28, "6d79206e6574 0000000000000000000000000000000000000000000000000000", "Wi-Fi(my net)"),
    (3, 29, "03", "eMMC(0x3)"),
    (3, 30, "000102030405 01", "BluetoothLE(000102030405,0x01)"),
    (3, 31, "00 08080808000000000000000000000000 01010101000000000000000000000000", "Dns(8.8.8.8,1.1.1.1)"),
    (3, 31, "01 I", "Dns(I)"),
    (4, 1, "02000000 0008000000000000 dfd7010000000000 G 02 02", "HD(2,GPT,G,0x800,0x1d7df)"),
    (
        4,
        1,
        "01000000 0008000000000000 0900000000000000 efbeadde 000000000000000000000000 01 01",
        "HD(1,MBR,0xdeadbeef,0x800,0x9)",
    ),
    (
        4,
        1,
        "01000000 0008000000000000 0900000000000000 00000000000000000000000000000000 01 00",
        "HD(1,0,0,0x800,0x9)",
    ),
    (4, 2, "01000000 0200000000000000 0300000000000000", "CDROM(0x1,0x2,0x3)"),
    (4, 3, "G 05", "VenMedia(G,05)"),
    (4, 5, "G", "Media(G)"),
    (4, 6, "G", "FvFile(G)"),
    (4, 7, "G", "Fv(G)"),
    (4, 8, "00000000 0100000000000000 0200000000000000", "Offset(0x1,0x2)"),
    (
        4,
        9,
        "0000000001000000 ffffffff01000000 5a53ab77fc454b625560f7b281d1f96e 0100",
        "VirtualDisk(0x100000000,0x1ffffffff,1)",
    ),
    (4, 9, "0100000000000000 0200000000000000 30bd5a3d7541ce876d64d2ade523c4bb 0100", "VirtualCD(0x1,0x2,1)"),
    (4, 9, "0100000000000000 0200000000000000 G 0100", "RamDisk(0x1,0x2,1,G)"),
];

/// What OVMF tells otherwise: it hands BBS nodes on to a BIOS that it has not, and names the types of unknown nodes.
/// Of wrong lengths it knows nothing.
const ONLY_OURS: &[(u8, u8, &str, &str)] = &[
    (5, 1, "0200 0300 4469736b2000", "BBS(HD,Disk ,0x3)"),
    (5, 1, "0600 0000 00", "BBS(Network,,0x0)"),
    (5, 1, "0700 0000 4d79", "BBS(0x7,My,0x0)"),
    (3, 24, "68ff1b", "Uri(h\\xff\\u{1b})"),
    (3, 99, "0102", "Path(3,99,0102)"),
    (1, 99, "", "Path(1,99)"),
    (9, 9, "01", "Path(9,9,01)"),
    (1, 1, "01", "Path(1,1,01)"),
    (3, 23, "0100", "Path(3,23,0100)"),
    (3, 12, "0a00020f c0a80101 0004 5000 0600 01 0a", "Path(3,12,0a00020fc0a8010100045000060001 0a)"),
    (5, 2, "01", "Path(5,2,01)"),
];

fn imagegen(at: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nix-imagegen"));
    let assert = command.current_dir(at).arg("efi-vars").args(arguments).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn spelled(text: &str, guid: &str, address: &str) -> String {
    let parts: Vec<_> = text
        .split_inclusive(['(', ',', ')', ' '])
        .map(|part| match part.trim_end_matches(['(', ',', ')', ' ']) {
            "G" => part.replace('G', guid),
            "I" => part.replace('I', address),
            _ => part.to_owned(),
        })
        .collect();
    parts.concat()
}

/// Makes `vars.fd` with an entry for each node, from Boot0100 on.
fn store(at: &Path, nodes: &[(u8, u8, &str, &str)]) {
    let number = |i: usize| u16::try_from(i + 0x100).unwrap();
    let mut variables = Vec::new();
    for (i, (kind, sub_kind, data, _)) in nodes.iter().enumerate() {
        let data = spelled(data, GUID, IPV6).replace(' ', "");
        let length = u16::try_from(4 + data.len() / 2).unwrap();
        let [low, high] = length.to_le_bytes();
        let path = format!("{kind:02x}{sub_kind:02x}{low:02x}{high:02x}{data}7fff0400");
        let [low, high] = (length + 4).to_le_bytes();
        let data = format!("01000000{low:02x}{high:02x}74000000{path}");
        variables
            .push(json!({"name": format!("Boot{:04X}", number(i)), "guid": GLOBAL, "attr": 7, "data": data}));
    }
    let order: Vec<_> = (0..nodes.len()).map(|i| format!("{:04x}", number(i).swap_bytes())).collect();
    variables.push(json!({"name": "BootOrder", "guid": GLOBAL, "attr": 7, "data": order.concat()}));
    fs::write(at.join("v.json"), json!({"version": 2, "variables": variables}).to_string()).unwrap();
    imagegen(at, &["import", &format!("{OVMF}/OVMF_VARS_4M.fd"), "v.json", "-o", "vars.fd"]);
}

fn listed(at: &Path) -> BTreeMap<String, String> {
    let listing: serde_json::Value =
        serde_json::from_str(&imagegen(at, &["list", "vars.fd", "--json"])).unwrap();
    let entries = listing["variables"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    entries.map(|entry| (text(&entry["name"]), text(&entry["value"]).replacen("t: ", "", 1))).collect()
}

/// Starts OVMF on `vars.fd` without disks, and gives what it says until it ends up in its shell.
fn console(at: &Path) -> String {
    let code = format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF}/OVMF_CODE_4M.fd");
    let mut qemu = Command::new("qemu-system-x86_64")
        .current_dir(at)
        .args(["-machine", "q35", "-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none"])
        .args([
            "-drive",
            &code,
            "-drive",
            "if=pflash,format=raw,unit=1,file=vars.fd",
            "-serial",
            "file:console",
        ])
        .stdin(Stdio::null())
        .spawn()
        .expect("qemu-system-x86_64");
    let deadline = Instant::now() + Duration::from_secs(300);
    let said = loop {
        std::thread::sleep(Duration::from_secs(1));
        let said = String::from_utf8_lossy(&fs::read(at.join("console")).unwrap_or_default()).into_owned();
        if said.contains("Shell>") || Instant::now() > deadline {
            break said;
        }
    };
    qemu.kill().unwrap();
    qemu.wait().unwrap();
    said
}

#[test]
fn ovmf_writes_device_paths_as_we_do() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    store(at, NODES);
    let ours = listed(at);
    let console = console(at);
    // Its terminal breaks lines.
    let said: String = console.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    for (i, (.., text)) in NODES.iter().enumerate() {
        let name = format!("Boot{:04X}", i + 0x100);
        let expected = spelled(text, GUID_TEXT, IPV6_TEXT);
        assert_eq!(ours[&name], expected, "{name}");
        let message = format!("{name} \"t\" from ");
        let start = said.find(&message).unwrap_or_else(|| panic!("OVMF says nothing of {name}: {said}"));
        let theirs = &said[start + message.len()..];
        let end = FAILURES.iter().filter_map(|failure| theirs.find(failure)).min().unwrap();
        // OVMF writes digits above 9 in capitals.
        assert_eq!(theirs[..end].to_lowercase(), expected.to_lowercase(), "{name}");
    }
}

#[test]
fn other_nodes_have_a_text_too() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    store(at, ONLY_OURS);
    let (ours, table) = (listed(at), imagegen(at, &["list", "vars.fd"]));
    for (i, (.., text)) in ONLY_OURS.iter().enumerate() {
        let text = text.replace(" 0a)", "0a)");
        let found = &ours[&format!("Boot{:04X}", i + 0x100)];
        // JSON has its own escapes.
        assert_eq!(found.replace('\u{1b}', "\\u{1b}"), text);
        assert!(table.contains(&text), "{text}");
    }
    assert!(!table.contains('\u{1b}'));
}
