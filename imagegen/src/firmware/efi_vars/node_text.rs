//! The text form of device path nodes (UEFI 2.10, section 10.6.1.6, table "Device Node Table", longer form without
//! shortcuts), as firmware prints it.

use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::guid::Guid;

/// The types of nodes (UEFI 2.10, section 10.3.1).
mod kind {
    pub const HARDWARE: u8 = 1;
    pub const ACPI: u8 = 2;
    pub const MESSAGING: u8 = 3;
    pub const MEDIA: u8 = 4;
    pub const BBS: u8 = 5;
}

/// The text of a node; nothing if its sub-type is unknown or `data` is not of the length that it must have.
pub fn text(r#type: u8, sub_type: u8, data: &[u8]) -> Option<String> {
    let readers: &[fn(u8, &mut Fields<'_>) -> Option<String>] = match r#type {
        kind::HARDWARE => &[hardware],
        kind::ACPI => &[acpi],
        kind::MESSAGING => &[storage, network, port],
        kind::MEDIA => &[media],
        kind::BBS => &[bbs],
        _ => &[],
    };
    readers.iter().find_map(|read| read(sub_type, &mut Fields(data)))
}

/// Nodes of type 1 (section 10.3.2).
fn hardware(sub_type: u8, fields: &mut Fields<'_>) -> Option<String> {
    let text = match sub_type {
        1 => {
            let [function, device] = fields.array()?;
            format!("Pci({device:#x},{function:#x})")
        }
        2 => format!("PcCard({:#x})", fields.u8()?),
        3 => {
            let (memory, start, end) = (fields.u32()?, fields.u64()?, fields.u64()?);
            format!("MemoryMapped({memory:#x},{start:#x},{end:#x})")
        }
        4 => return vendor("VenHw", fields),
        5 => format!("Ctrl({:#x})", fields.u32()?),
        6 => format!("BMC({:#x},{:#x})", fields.u8()?, fields.u64()?),
        _ => return None,
    };
    fields.end(text)
}

/// Nodes of type 2 (section 10.3.3).
fn acpi(sub_type: u8, fields: &mut Fields<'_>) -> Option<String> {
    match sub_type {
        1 => {
            let (hid, uid) = (fields.u32()?, fields.u32()?);
            let number = hid >> 16;
            fields.end(match (hid & 0xffff, number) {
                (PNP, 0x0a03) => format!("PciRoot({uid:#x})"),
                (PNP, 0x0a08) => format!("PcieRoot({uid:#x})"),
                (PNP, 0x0604) => format!("Floppy({uid:#x})"),
                (PNP, 0x0301) => format!("Keyboard({uid:#x})"),
                (PNP, 0x0501) => format!("Serial({uid:#x})"),
                (PNP, 0x0401) => format!("ParallelPort({uid:#x})"),
                (PNP, _) => format!("Acpi(PNP{number:04x},{uid:#x})"),
                _ => format!("Acpi({hid:#010x},{uid:#x})"),
            })
        }
        2 => {
            let (hid, uid, cid) = (fields.u32()?, fields.u32()?, fields.u32()?);
            let (hid_text, uid_text, cid_text) = (fields.string()?, fields.string()?, fields.string()?);
            let (hid, cid) = (eisa_id(hid), eisa_id(cid));
            fields.end(if hid_text.is_empty() && cid_text.is_empty() && uid == 0 {
                format!("AcpiExp({hid},{cid},{uid_text})")
            } else {
                format!("AcpiEx({hid},{cid},{uid:#x},{hid_text},{cid_text},{uid_text})")
            })
        }
        3 => {
            let mut addresses = vec![format!("{:#x}", fields.u32()?)];
            while !fields.0.is_empty() {
                addresses.push(format!("{:#x}", fields.u32()?));
            }
            Some(format!("AcpiAdr({})", addresses.join(",")))
        }
        _ => None,
    }
}

/// The manufacturer `PNP` in a compressed EISA identifier.
const PNP: u32 = 0x41d0;

/// A compressed EISA identifier: three letters of five bits each, and a number.
fn eisa_id(id: u32) -> String {
    let letter = |shift: u32| char::from_u32(0x40 + ((id >> shift) & 0x1f)).unwrap_or('@');
    format!("{}{}{}{:04X}", letter(10), letter(5), letter(0), id >> 16)
}

/// Nodes of type 3 that lead to a disk (section 10.3.4).
fn storage(sub_type: u8, fields: &mut Fields<'_>) -> Option<String> {
    let text = match sub_type {
        1 => {
            let [secondary, slave] = fields.array()?;
            let controller = if secondary == 1 { "Secondary" } else { "Primary" };
            let drive = if slave == 1 { "Slave" } else { "Master" };
            format!("Ata({controller},{drive},{:#x})", fields.u16()?)
        }
        2 => format!("Scsi({:#x},{:#x})", fields.u16()?, fields.u16()?),
        3 => {
            fields.u32()?;
            format!("Fibre({:#x},{:#x})", fields.u64()?, fields.u64()?)
        }
        4 => {
            fields.u32()?;
            format!("I1394({:016x})", fields.u64()?)
        }
        5 => format!("USB({:#x},{:#x})", fields.u8()?, fields.u8()?),
        15 => usb_class(fields)?,
        16 => {
            let (interface, vendor, product) = (fields.u16()?, fields.u16()?, fields.u16()?);
            let serial = fields.utf16();
            format!("UsbWwid({vendor:#x},{product:#x},{interface:#x},\"{serial}\")")
        }
        17 => format!("Unit({:#x})", fields.u8()?),
        18 => format!("Sata({:#x},{:#x},{:#x})", fields.u16()?, fields.u16()?, fields.u16()?),
        21 => {
            fields.u32()?;
            format!("FibreEx(0x{},0x{})", hex(&fields.array::<8>()?), hex(&fields.array::<8>()?))
        }
        22 => {
            let (address, lun) = (hex(&fields.array::<8>()?), hex(&fields.array::<8>()?));
            let (topology, port) = (fields.u16()?, fields.u16()?);
            format!("SasEx(0x{address},0x{lun},{port:#x},{})", sas_topology(topology))
        }
        23 => {
            let namespace = fields.u32()?;
            // The identifier is stored with its last byte first.
            let eui = fields.array::<8>()?.map(|byte| format!("{byte:02x}"));
            let eui: Vec<_> = eui.into_iter().rev().collect();
            format!("NVMe({namespace:#x},{})", eui.join("-"))
        }
        25 => format!("UFS({:#x},{:#x})", fields.u8()?, fields.u8()?),
        26 => format!("SD({:#x})", fields.u8()?),
        29 => format!("eMMC({:#x})", fields.u8()?),
        _ => return None,
    };
    fields.end(text)
}

/// Any USB device of a class; well-known classes have a name each.
fn usb_class(fields: &mut Fields<'_>) -> Option<String> {
    let (vendor, product) = (fields.u16()?, fields.u16()?);
    let [class, sub_class, protocol] = fields.array()?;
    let named = |name: &str| format!("{name}({vendor:#x},{product:#x},{sub_class:#x},{protocol:#x})");
    let special = |name: &str| format!("{name}({vendor:#x},{product:#x},{protocol:#x})");
    Some(match (class, sub_class) {
        (1, _) => named("UsbAudio"),
        (2, _) => named("UsbCDCControl"),
        (3, _) => named("UsbHID"),
        (6, _) => named("UsbImage"),
        (7, _) => named("UsbPrinter"),
        (8, _) => named("UsbMassStorage"),
        (9, _) => named("UsbHub"),
        (10, _) => named("UsbCDCData"),
        (11, _) => named("UsbSmartCard"),
        (14, _) => named("UsbVideo"),
        (220, _) => named("UsbDiagnostic"),
        (224, _) => named("UsbWireless"),
        (254, 1) => special("UsbDeviceFirmwareUpdate"),
        (254, 2) => special("UsbIrdaBridge"),
        (254, 3) => special("UsbTestAndMeasurement"),
        _ => format!("UsbClass({vendor:#x},{product:#x},{class:#x},{sub_class:#x},{protocol:#x})"),
    })
}

/// What is known of the way to a drive (section 10.3.4.4.1).
fn sas_topology(topology: u16) -> String {
    let is_set = |bit: u16| topology & (1 << bit) != 0;
    match topology & 0x0f {
        0 if !is_set(7) => "NoTopology,0,0,0".to_owned(),
        more @ (1 | 2) if !is_set(7) => {
            let drive = if more == 1 { "0".to_owned() } else { format!("{:#x}", (topology >> 8) + 1) };
            let kind = if is_set(4) { "SATA" } else { "SAS" };
            let place = if is_set(5) { "External" } else { "Internal" };
            let way = if is_set(6) { "Expanded" } else { "Direct" };
            format!("{kind},{place},{way},{drive}")
        }
        _ => format!("{topology:#x},0,0,0"),
    }
}

/// Nodes of type 3 that belong to networks (section 10.3.4).
fn network(sub_type: u8, fields: &mut Fields<'_>) -> Option<String> {
    let text = match sub_type {
        9 => {
            let (flags, gid) = (fields.u32()?, fields.guid()?);
            let (service, target, device) = (fields.u64()?, fields.u64()?, fields.u64()?);
            format!("Infiniband({flags:#x},{gid},{service:#x},{target:#x},{device:#x})")
        }
        11 => {
            let (address, interface) = (fields.array::<32>()?, fields.u8()?);
            // Ethernet's addresses, and those of an interface that has no number, are of six bytes.
            let used = if interface <= 1 { 6 } else { address.len() };
            format!("MAC({},{interface:#x})", hex(&address[..used]))
        }
        12 => ipv4(fields)?,
        13 => ipv6(fields)?,
        19 => return iscsi(fields),
        20 => format!("Vlan({})", fields.u16()?),
        24 => return Some(format!("Uri({})", fields.rest())),
        27 => format!("Bluetooth({})", hex(&fields.array::<6>()?)),
        28 => format!("Wi-Fi({})", until_nul(&fields.array::<32>()?)),
        30 => format!("BluetoothLE({},{:#04x})", hex(&fields.array::<6>()?), fields.u8()?),
        31 => {
            let is_ipv6 = fields.u8()? != 0;
            let mut servers = Vec::new();
            while !fields.0.is_empty() {
                let address = fields.array::<16>()?;
                let [a, b, c, d, ..] = address;
                servers.push(if is_ipv6 {
                    ipv6_address(address)
                } else {
                    Ipv4Addr::new(a, b, c, d).to_string()
                });
            }
            format!("Dns({})", servers.join(","))
        }
        _ => return None,
    };
    fields.end(text)
}

fn ipv4(fields: &mut Fields<'_>) -> Option<String> {
    let address = |fields: &mut Fields<'_>| fields.array::<4>().map(Ipv4Addr::from);
    let (local, remote) = (address(fields)?, address(fields)?);
    let _ports = fields.u32()?;
    let protocol = protocol(fields.u16()?);
    let origin = if fields.u8()? == 0 { "DHCP" } else { "Static" };
    let mut text = format!("IPv4({remote},{protocol},{origin},{local}");
    // Older firmware has neither gateway nor mask.
    if !fields.0.is_empty() {
        let (gateway, mask) = (address(fields)?, address(fields)?);
        let _ = write!(text, ",{gateway},{mask}");
    }
    text.push(')');
    Some(text)
}

fn ipv6(fields: &mut Fields<'_>) -> Option<String> {
    let address = |fields: &mut Fields<'_>| fields.array::<16>().map(ipv6_address);
    let (local, remote) = (address(fields)?, address(fields)?);
    let _ports = fields.u32()?;
    let protocol = protocol(fields.u16()?);
    let origin = match fields.u8()? {
        0 => "Static",
        1 => "StatelessAutoConfigure",
        _ => "StatefulAutoConfigure",
    };
    let mut text = format!("IPv6({remote},{protocol},{origin},{local}");
    if !fields.0.is_empty() {
        let _ = write!(text, ",{:#x},{}", fields.u8()?, address(fields)?);
    }
    text.push(')');
    Some(text)
}

/// Eight groups of four digits, none left out.
fn ipv6_address(address: [u8; 16]) -> String {
    let groups: Vec<_> = address.chunks(2).map(hex).collect();
    groups.join(":")
}

/// A protocol of the internet by its number (RFC 1700).
fn protocol(number: u16) -> String {
    match number {
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        number => format!("{number:#x}"),
    }
}

fn iscsi(fields: &mut Fields<'_>) -> Option<String> {
    let (protocol, options, lun) = (fields.u16()?, fields.u16()?, fields.array::<8>()?);
    let (group, name) = (fields.u16()?, fields.rest());
    let digest = |bit: u16| if options & (1 << bit) == 0 { "None" } else { "CRC32C" };
    let (header, data) = (digest(1), digest(3));
    let authentication = match (options & (1 << 11) != 0, options & (1 << 12) != 0) {
        (true, _) => "None",
        (false, true) => "CHAP_UNI",
        (false, false) => "CHAP_BI",
    };
    let protocol = if protocol == 0 { "TCP" } else { "reserved" };
    Some(format!("iSCSI({name},{group:#x},0x{},{header},{data},{authentication},{protocol})", hex(&lun)))
}

/// The other nodes of type 3: serial ports, and what vendors define.
fn port(sub_type: u8, fields: &mut Fields<'_>) -> Option<String> {
    match sub_type {
        6 => {
            let text = format!("I2O({:#x})", fields.u32()?);
            fields.end(text)
        }
        10 => vendor("VenMsg", fields),
        14 => {
            fields.u32()?;
            let (baud, [bits, parity, stop]) = (fields.u64()?, fields.array()?);
            let or_default =
                |number: u64| if number == 0 { "DEFAULT".to_owned() } else { number.to_string() };
            let (baud, bits) = (or_default(baud), or_default(bits.into()));
            let parity = "DNEOMS".chars().nth(parity.into()).unwrap_or('x');
            let stop = ["D", "1", "1.5", "2"].get(usize::from(stop)).copied().unwrap_or("x");
            fields.end(format!("Uart({baud},{bits},{parity},{stop})"))
        }
        _ => None,
    }
}

/// Nodes of type 4 (section 10.3.5).
fn media(sub_type: u8, fields: &mut Fields<'_>) -> Option<String> {
    let text = match sub_type {
        2 => format!("CDROM({:#x},{:#x},{:#x})", fields.u32()?, fields.u64()?, fields.u64()?),
        3 => return vendor("VenMedia", fields),
        5 => format!("Media({})", fields.guid()?),
        6 => format!("FvFile({})", fields.guid()?),
        7 => format!("Fv({})", fields.guid()?),
        8 => {
            fields.u32()?;
            format!("Offset({:#x},{:#x})", fields.u64()?, fields.u64()?)
        }
        9 => {
            let (start, end, kind, instance) = (fields.u64()?, fields.u64()?, fields.guid()?, fields.u16()?);
            match RAM_DISKS.iter().find(|(known, _)| *known == kind) {
                Some((_, name)) => format!("{name}({start:#x},{end:#x},{instance})"),
                None => format!("RamDisk({start:#x},{end:#x},{instance},{kind})"),
            }
        }
        _ => return None,
    };
    fields.end(text)
}

/// The kinds of disks in memory that have names (UEFI 2.10, section 10.3.5.9).
const RAM_DISKS: [(Guid, &str); 4] = [
    (Guid::from_u128(0x77ab_535a_45fc_624b_5560_f7b2_81d1_f96e), "VirtualDisk"),
    (Guid::from_u128(0x3d5a_bd30_4175_87ce_6d64_d2ad_e523_c4bb), "VirtualCD"),
    (Guid::from_u128(0x5cea_02c9_4d07_69d3_269f_4496_fbe0_96f9), "PersistentVirtualDisk"),
    (Guid::from_u128(0x0801_8188_42cd_bb48_100f_5387_d53d_ed3d), "PersistentVirtualCD"),
];

/// The BIOS Boot Specification's node (section 10.3.6.1).
fn bbs(sub_type: u8, fields: &mut Fields<'_>) -> Option<String> {
    if sub_type != 1 {
        return None;
    }
    let (device, status) = (fields.u16()?, fields.u16()?);
    let device = match device {
        1 => "Floppy".to_owned(),
        2 => "HD".to_owned(),
        3 => "CDROM".to_owned(),
        4 => "PCMCIA".to_owned(),
        5 => "USB".to_owned(),
        6 => "Network".to_owned(),
        device => format!("{device:#x}"),
    };
    Some(format!("BBS({device},{},{status:#x})", fields.rest()))
}

/// A vendor's GUID, and whatever follows.
fn vendor(name: &str, fields: &mut Fields<'_>) -> Option<String> {
    let guid = fields.guid()?;
    let data = std::mem::take(&mut fields.0);
    Some(if data.is_empty() { format!("{name}({guid})") } else { format!("{name}({guid},{})", hex(data)) })
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Text up to its first NUL; bytes that are not UTF-8 as `\x..`.
fn until_nul(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut out = String::new();
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A node's fields, one after the other, little-endian.
struct Fields<'d>(&'d [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn guid(&mut self) -> Option<Guid> {
        self.array().map(Guid::from_mixed_endian)
    }

    /// Text that ends with a NUL, which more may follow.
    fn string(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.get(1..)?;
        Some(until_nul(text))
    }

    /// All that is left as text, with or without a NUL.
    fn rest(&mut self) -> String {
        until_nul(std::mem::take(&mut self.0))
    }

    /// All that is left as UTF-16, with or without a NUL; a last odd byte is left.
    fn utf16(&mut self) -> String {
        let (units, odd) = self.0.as_chunks::<2>();
        self.0 = odd;
        let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
        let mut out = String::new();
        for c in char::decode_utf16(units) {
            match c {
                Ok(c) => out.push(c),
                Err(unpaired) => {
                    let _ = write!(out, "\\u{{{:x}}}", unpaired.unpaired_surrogate());
                }
            }
        }
        out
    }

    /// The text, if nothing is left.
    fn end(&self, text: String) -> Option<String> {
        self.0.is_empty().then_some(text)
    }
}
