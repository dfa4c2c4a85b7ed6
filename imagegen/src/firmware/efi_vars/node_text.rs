//! The text form of device path nodes (UEFI 2.10, section 10.6.1.6, table "Device Node Table", longer form without
//! shortcuts), as firmware prints it.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::text::decoded;
use crate::guid::Guid;

/// The types of nodes (UEFI 2.10, section 10.3.1).
const HARDWARE: u8 = 1;
const ACPI: u8 = 2;
const MESSAGING: u8 = 3;
const MEDIA: u8 = 4;
const BBS: u8 = 5;

/// Nodes whose text is their fields in order (sections 10.3.2, 10.3.4 and 10.3.5): type, sub-type, text. In braces stand the
/// fields: `b`, `w`, `d` and `q` are numbers of 1, 2, 4 and 8 bytes, `D` is `w` in decimal, `g` is a GUID, `v` a
/// GUID and whatever follows, a digit that many bytes, `o` and `e` eight bytes from the last to the first, `-` four bytes that
/// are not shown, `n` text in 32 bytes, and `s` the rest as text.
const NODES: [(u8, u8, &str); 30] = [
    (HARDWARE, 2, "PcCard({b})"),
    (HARDWARE, 3, "MemoryMapped({d},{q},{q})"),
    (HARDWARE, 4, "VenHw({v})"),
    (HARDWARE, 5, "Ctrl({d})"),
    (HARDWARE, 6, "BMC({b},{q})"),
    (MESSAGING, 2, "Scsi({w},{w})"),
    (MESSAGING, 3, "{-}Fibre({q},{q})"),
    (MESSAGING, 4, "{-}I1394({o})"),
    (MESSAGING, 5, "USB({b},{b})"),
    (MESSAGING, 6, "I2O({d})"),
    (MESSAGING, 9, "Infiniband({d},{g},{q},{q},{q})"),
    (MESSAGING, 10, "VenMsg({v})"),
    (MESSAGING, 17, "Unit({b})"),
    (MESSAGING, 18, "Sata({w},{w},{w})"),
    (MESSAGING, 20, "Vlan({D})"),
    (MESSAGING, 21, "{-}FibreEx(0x{8},0x{8})"),
    (MESSAGING, 23, "NVMe({d},{e})"),
    (MESSAGING, 24, "Uri({s})"),
    (MESSAGING, 25, "UFS({b},{b})"),
    (MESSAGING, 26, "SD({b})"),
    (MESSAGING, 27, "Bluetooth({6})"),
    (MESSAGING, 28, "Wi-Fi({n})"),
    (MESSAGING, 29, "eMMC({b})"),
    (MESSAGING, 30, "BluetoothLE({6},0x{1})"),
    (MEDIA, 2, "CDROM({d},{q},{q})"),
    (MEDIA, 3, "VenMedia({v})"),
    (MEDIA, 5, "Media({g})"),
    (MEDIA, 6, "FvFile({g})"),
    (MEDIA, 7, "Fv({g})"),
    (MEDIA, 8, "{-}Offset({q},{q})"),
];

/// The text of a node; nothing if its sub-type is unknown or `data` is not of the length that it must have.
pub fn text(r#type: u8, sub_type: u8, data: &[u8]) -> Option<String> {
    let fields = &mut Fields(data);
    let text = match (r#type, sub_type) {
        (HARDWARE, 1) => {
            let [function, device] = fields.array()?;
            format!("Pci({device:#x},{function:#x})")
        }
        (ACPI, 1) => acpi(fields)?,
        (ACPI, 2) => acpi_expanded(fields)?,
        (ACPI, 3) => format!("AcpiAdr({})", fields.list(|fields| Some(format!("{:#x}", fields.u32()?)))?),
        (MESSAGING, 1) => {
            let [secondary, slave] = fields.array()?;
            let controller = if secondary == 1 { "Secondary" } else { "Primary" };
            let drive = if slave == 1 { "Slave" } else { "Master" };
            format!("Ata({controller},{drive},{:#x})", fields.u16()?)
        }
        (MESSAGING, 11) => {
            let (address, interface) = (fields.array::<32>()?, fields.u8()?);
            // The addresses of Ethernet, and of an interface without a number, have six bytes.
            let used = if interface <= 1 { 6 } else { address.len() };
            format!("MAC({},{interface:#x})", hex(&address[..used]))
        }
        (MESSAGING, 12) => ipv4(fields)?,
        (MESSAGING, 13) => ipv6(fields)?,
        (MESSAGING, 14) => uart(fields)?,
        (MESSAGING, 15) => usb_class(fields)?,
        (MESSAGING, 16) => {
            let (interface, vendor, product) = (fields.u16()?, fields.u16()?, fields.u16()?);
            let serial = fields.utf16();
            format!("UsbWwid({vendor:#x},{product:#x},{interface:#x},\"{serial}\")")
        }
        (MESSAGING, 19) => iscsi(fields)?,
        (MESSAGING, 22) => {
            let (address, lun) = (hex(&fields.array::<8>()?), hex(&fields.array::<8>()?));
            let (topology, port) = (fields.u16()?, fields.u16()?);
            format!("SasEx(0x{address},0x{lun},{port:#x},{})", sas_topology(topology))
        }
        (MESSAGING, 31) => {
            let address = if fields.u8()? == 0 { Fields::ipv4_padded } else { Fields::ipv6 };
            format!("Dns({})", if fields.0.is_empty() { String::new() } else { fields.list(address)? })
        }
        (MEDIA, 9) => ram_disk(fields)?,
        (BBS, 1) => bbs(fields)?,
        key => filled(NODES.iter().find(|node| (node.0, node.1) == key)?.2, fields)?,
    };
    fields.0.is_empty().then_some(text)
}

/// The text with the fields in place of the braces.
fn filled(text: &str, fields: &mut Fields<'_>) -> Option<String> {
    let mut out = String::new();
    for (i, part) in text.split(['{', '}']).enumerate() {
        if i % 2 == 0 {
            out += part;
            continue;
        }
        let field = match part {
            "b" => format!("{:#x}", fields.u8()?),
            "w" => format!("{:#x}", fields.u16()?),
            "d" => format!("{:#x}", fields.u32()?),
            "q" => format!("{:#x}", fields.u64()?),
            "D" => fields.u16()?.to_string(),
            "o" => format!("{:016x}", fields.u64()?),
            "e" => {
                fields.array::<8>()?.map(|byte| hex(&[byte])).into_iter().rev().collect::<Vec<_>>().join("-")
            }
            "g" => fields.guid()?.to_string(),
            "v" => vendor(fields)?,
            "1" => hex(&fields.array::<1>()?),
            "6" => hex(&fields.array::<6>()?),
            "8" => hex(&fields.array::<8>()?),
            "-" => fields.u32().map(|_| String::new())?,
            "n" => until_nul(&fields.array::<32>()?),
            "s" => fields.rest(),
            _ => return None,
        };
        out += &field;
    }
    Some(out)
}

/// The manufacturer `PNP` in a compressed EISA identifier.
const PNP: u32 = 0x41d0;
/// Devices of `PNP` that have a name (section 10.3.3).
const PNP_DEVICES: [(u32, &str); 6] = [
    (0x0a03, "PciRoot"),
    (0x0a08, "PcieRoot"),
    (0x0604, "Floppy"),
    (0x0301, "Keyboard"),
    (0x0501, "Serial"),
    (0x0401, "ParallelPort"),
];

fn acpi(fields: &mut Fields<'_>) -> Option<String> {
    let (hid, uid) = (fields.u32()?, fields.u32()?);
    let number = hid >> 16;
    if hid & 0xffff != PNP {
        return Some(format!("Acpi({hid:#010x},{uid:#x})"));
    }
    Some(match PNP_DEVICES.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => format!("{name}({uid:#x})"),
        None => format!("Acpi(PNP{number:04x},{uid:#x})"),
    })
}

fn acpi_expanded(fields: &mut Fields<'_>) -> Option<String> {
    let (hid, uid, cid) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (hid_text, uid_text, cid_text) = (fields.string()?, fields.string()?, fields.string()?);
    let (hid, cid) = (eisa_id(hid), eisa_id(cid));
    Some(if hid_text.is_empty() && cid_text.is_empty() && uid == 0 {
        format!("AcpiExp({hid},{cid},{uid_text})")
    } else {
        format!("AcpiEx({hid},{cid},{uid:#x},{hid_text},{cid_text},{uid_text})")
    })
}

/// A compressed EISA identifier: three letters of five bits each, and a number.
fn eisa_id(id: u32) -> String {
    let letter = |shift: u32| char::from_u32(0x40 + ((id >> shift) & 0x1f)).unwrap_or('@');
    format!("{}{}{}{:04X}", letter(10), letter(5), letter(0), id >> 16)
}

/// Classes of USB devices that have a name (section 10.3.4.7).
const USB_CLASSES: [(u8, &str); 12] = [
    (1, "UsbAudio"),
    (2, "UsbCDCControl"),
    (3, "UsbHID"),
    (6, "UsbImage"),
    (7, "UsbPrinter"),
    (8, "UsbMassStorage"),
    (9, "UsbHub"),
    (10, "UsbCDCData"),
    (11, "UsbSmartCard"),
    (14, "UsbVideo"),
    (220, "UsbDiagnostic"),
    (224, "UsbWireless"),
];

/// Any USB device of a class.
fn usb_class(fields: &mut Fields<'_>) -> Option<String> {
    let (vendor, product) = (fields.u16()?, fields.u16()?);
    let [class, sub_class, protocol] = fields.array()?;
    let special = |name: &str| format!("{name}({vendor:#x},{product:#x},{protocol:#x})");
    Some(match (class, sub_class, USB_CLASSES.iter().find(|(known, _)| *known == class)) {
        (.., Some((_, name))) => format!("{name}({vendor:#x},{product:#x},{sub_class:#x},{protocol:#x})"),
        (254, 1, _) => special("UsbDeviceFirmwareUpdate"),
        (254, 2, _) => special("UsbIrdaBridge"),
        (254, 3, _) => special("UsbTestAndMeasurement"),
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
            let location = if is_set(5) { "External" } else { "Internal" };
            let way = if is_set(6) { "Expanded" } else { "Direct" };
            format!("{kind},{location},{way},{drive}")
        }
        _ => format!("{topology:#x},0,0,0"),
    }
}

fn ipv4(fields: &mut Fields<'_>) -> Option<String> {
    let (local, remote, _ports) = (fields.ipv4()?, fields.ipv4()?, fields.u32()?);
    let protocol = protocol(fields.u16()?);
    let origin = if fields.u8()? == 0 { "DHCP" } else { "Static" };
    let mut text = format!("IPv4({remote},{protocol},{origin},{local}");
    // Older firmware has neither gateway nor mask.
    if !fields.0.is_empty() {
        let _ = write!(text, ",{},{}", fields.ipv4()?, fields.ipv4()?);
    }
    Some(text + ")")
}

fn ipv6(fields: &mut Fields<'_>) -> Option<String> {
    let (local, remote, _ports) = (fields.ipv6()?, fields.ipv6()?, fields.u32()?);
    let protocol = protocol(fields.u16()?);
    let origin = match fields.u8()? {
        0 => "Static",
        1 => "StatelessAutoConfigure",
        _ => "StatefulAutoConfigure",
    };
    let mut text = format!("IPv6({remote},{protocol},{origin},{local}");
    if !fields.0.is_empty() {
        let _ = write!(text, ",{:#x},{}", fields.u8()?, fields.ipv6()?);
    }
    Some(text + ")")
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

fn uart(fields: &mut Fields<'_>) -> Option<String> {
    fields.u32()?;
    let (baud, [bits, parity, stop]) = (fields.u64()?, fields.array()?);
    let or_default = |number: u64| if number == 0 { "DEFAULT".to_owned() } else { number.to_string() };
    let (baud, bits) = (or_default(baud), or_default(bits.into()));
    let parity = "DNEOMS".chars().nth(parity.into()).unwrap_or('x');
    let stop = ["D", "1", "1.5", "2"].get(usize::from(stop)).copied().unwrap_or("x");
    Some(format!("Uart({baud},{bits},{parity},{stop})"))
}

/// The kinds of disks in memory that have names (UEFI 2.10, section 10.3.5.9).
const RAM_DISKS: [(Guid, &str); 4] = [
    (Guid::from_u128(0x77ab_535a_45fc_624b_5560_f7b2_81d1_f96e), "VirtualDisk"),
    (Guid::from_u128(0x3d5a_bd30_4175_87ce_6d64_d2ad_e523_c4bb), "VirtualCD"),
    (Guid::from_u128(0x5cea_02c9_4d07_69d3_269f_4496_fbe0_96f9), "PersistentVirtualDisk"),
    (Guid::from_u128(0x0801_8188_42cd_bb48_100f_5387_d53d_ed3d), "PersistentVirtualCD"),
];

fn ram_disk(fields: &mut Fields<'_>) -> Option<String> {
    let (start, end, kind, instance) = (fields.u64()?, fields.u64()?, fields.guid()?, fields.u16()?);
    Some(match RAM_DISKS.iter().find(|(known, _)| *known == kind) {
        Some((_, name)) => format!("{name}({start:#x},{end:#x},{instance})"),
        None => format!("RamDisk({start:#x},{end:#x},{instance},{kind})"),
    })
}

/// The BIOS Boot Specification's node (section 10.3.6.1).
fn bbs(fields: &mut Fields<'_>) -> Option<String> {
    let (device, status) = (fields.u16()?, fields.u16()?);
    let names = ["Floppy", "HD", "CDROM", "PCMCIA", "USB", "Network"];
    let name = usize::from(device).checked_sub(1).and_then(|i| names.get(i));
    let device = name.map_or_else(|| format!("{device:#x}"), |name| (*name).to_owned());
    Some(format!("BBS({device},{},{status:#x})", fields.rest()))
}

/// A vendor's GUID, and whatever follows.
fn vendor(fields: &mut Fields<'_>) -> Option<String> {
    let guid = fields.guid()?;
    let data = std::mem::take(&mut fields.0);
    Some(if data.is_empty() { guid.to_string() } else { format!("{guid},{}", hex(data)) })
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

    fn ipv4(&mut self) -> Option<String> {
        self.array::<4>().map(|address| Ipv4Addr::from(address).to_string())
    }

    /// An address in the front of 16 bytes.
    fn ipv4_padded(&mut self) -> Option<String> {
        Fields(&self.array::<16>()?).ipv4()
    }

    /// Eight groups of four digits, none left out.
    fn ipv6(&mut self) -> Option<String> {
        let address = self.array::<16>()?;
        Some(address.chunks(2).map(hex).collect::<Vec<_>>().join(":"))
    }

    /// One or more fields of the same kind, up to the end.
    fn list(&mut self, field: impl Fn(&mut Self) -> Option<String>) -> Option<String> {
        let mut all = vec![field(self)?];
        while !self.0.is_empty() {
            all.push(field(self)?);
        }
        Some(all.join(","))
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
        decoded(units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0))
    }
}
