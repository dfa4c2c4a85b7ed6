//! Directory entries, with long names (Microsoft's "FAT: General Overview of On-Disk Format" 1.03, "FAT Directory
//! Structure", "FAT Long Directory Entries").

use zerocopy::FromBytes;

use crate::fs::fat::disk::{Attributes, LAST_LONG_ENTRY, LongEntry, RawEntry, ShortName, checksum};
use crate::text::{shown, shown_utf16};

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
        self.raw.attributes().contains(Attributes::DIRECTORY)
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
            _ if raw.attributes().intersection(Attributes::all()) == Attributes::LONG_NAME => long.add(chunk),
            _ if raw.attributes().contains(Attributes::VOLUME_ID) => {
                label = Some(shown(raw.dir_name.trim_ascii_end()));
            }
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
        self.units.splice(0..0, entry.units());
        self.expected = number - 1;
    }

    fn finish(self, short: &ShortName) -> Option<String> {
        if self.units.is_empty() || self.expected != 0 || self.checksum != checksum(short) {
            return None;
        }
        Some(shown_utf16(self.units))
    }
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
