//! Directory entries, with long names (Microsoft's "FAT: General Overview of On-Disk Format" 1.03, "FAT Directory
//! Structure", "FAT Long Directory Entries").

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::{U16, U32};

use crate::on_disk::structure;
use crate::text::{shown, shown_utf16};

structure! {
    /// An entry of 32 bytes.
    pub struct RawEntry {
        dir_name: [u8; 11] = bytes,
        dir_attr: u8 = hex,
        dir_nt_res: u8 = hex,
        dir_crt_time_tenth: u8 = decimal,
        dir_crt_time: U16 = hex,
        dir_crt_date: U16 = hex,
        dir_lst_acc_date: U16 = hex,
        dir_fst_clus_hi: U16 = decimal,
        dir_wrt_time: U16 = hex,
        dir_wrt_date: U16 = hex,
        dir_fst_clus_lo: U16 = decimal,
        dir_file_size: U32 = decimal,
    }
}

structure! {
    /// A part of a long name.
    pub struct LongEntry {
        ldir_ord: u8 = hex,
        ldir_name1: [U16; 5] = utf16,
        ldir_attr: u8 = hex,
        ldir_type: u8 = hex,
        ldir_chksum: u8 = hex,
        ldir_name2: [U16; 6] = utf16,
        ldir_fst_clus_lo: U16 = decimal,
        ldir_name3: [U16; 2] = utf16,
    }
}

const ATTR_VOLUME_ID: u8 = 0x08;
const ATTR_DIRECTORY: u8 = 0x10;
const ATTR_LONG_NAME: u8 = 0x0F;
const LAST_LONG_ENTRY: u8 = 0x40;
const DELETED: u8 = 0xE5;
/// Bits of `dir_nt_res`: the base name, or the extension, is in lower case.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// A name in a directory.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The long name, or the short one where there is none; fit for a terminal.
    pub name: String,
    /// As it is on disk.
    pub raw: RawEntry,
}

impl Entry {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.raw.dir_attr & ATTR_DIRECTORY != 0
    }

    /// The first cluster, or 0 for none.
    pub fn first_cluster(&self) -> u32 {
        u32::from(self.raw.dir_fst_clus_hi.get()) << 16 | u32::from(self.raw.dir_fst_clus_lo.get())
    }

    /// The length of a file in bytes; directories have 0 here.
    pub fn size(&self) -> u64 {
        self.raw.dir_file_size.get().into()
    }
}

/// The names in the bytes of a directory, and the volume label if it is among them. `.` and `..` are left out, and so
/// are long names whose parts do not belong to the short one.
pub fn parse(bytes: &[u8]) -> (Vec<Entry>, Option<String>) {
    let (mut entries, mut label) = (Vec::new(), None);
    let mut long = LongName::default();
    for chunk in bytes.chunks_exact(size_of::<RawEntry>()) {
        let Ok(raw) = RawEntry::read_from_bytes(chunk) else { continue };
        match raw.dir_name {
            [0, ..] => break,
            [DELETED, ..] => long = LongName::default(),
            _ if raw.dir_attr & 0x3F == ATTR_LONG_NAME => long.add(chunk),
            _ if raw.dir_attr & ATTR_VOLUME_ID != 0 => label = Some(shown(raw.dir_name.trim_ascii_end())),
            [b'.', b' ' | b'.', ..] => {}
            _ => {
                let name = std::mem::take(&mut long).finish(&raw.dir_name);
                entries.push(Entry { name: name.unwrap_or_else(|| short_name(&raw)), raw });
            }
        }
    }
    (entries, label)
}

/// The parts of a long name so far; they stand before the short entry, the last part first.
#[derive(Default)]
struct LongName {
    units: Vec<u16>,
    /// The number of the part that must come next.
    expected: u8,
    checksum: u8,
}

impl LongName {
    fn add(&mut self, bytes: &[u8]) {
        let Ok(entry) = LongEntry::read_from_bytes(bytes) else { return };
        let number = entry.ldir_ord & !LAST_LONG_ENTRY;
        if entry.ldir_ord & LAST_LONG_ENTRY != 0 {
            *self = Self { units: Vec::new(), expected: number, checksum: entry.ldir_chksum };
        }
        // 20 parts hold 260 characters; a name has at most 255.
        if number == 0 || number > 20 || number != self.expected || entry.ldir_chksum != self.checksum {
            *self = Self::default();
            return;
        }
        let parts = entry.ldir_name1.iter().chain(&entry.ldir_name2).chain(&entry.ldir_name3);
        let units: Vec<u16> = parts.map(|unit| unit.get()).take_while(|&unit| unit != 0).collect();
        self.units.splice(0..0, units);
        self.expected = number - 1;
    }

    fn finish(self, short: &[u8; 11]) -> Option<String> {
        if self.units.is_empty() || self.expected != 0 || self.checksum != checksum(short) {
            return None;
        }
        Some(shown_utf16(self.units))
    }
}

fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0, |sum: u8, &byte| sum.rotate_right(1).wrapping_add(byte))
}

fn short_name(raw: &RawEntry) -> String {
    let (base, extension) = raw.dir_name.split_at(8);
    let part = |bytes: &[u8], lower: u8| {
        let text = shown(bytes.trim_ascii_end());
        if raw.dir_nt_res & lower != 0 { text.to_ascii_lowercase() } else { text }
    };
    let (base, extension) = (part(base, LOWER_BASE), part(extension, LOWER_EXTENSION));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}
