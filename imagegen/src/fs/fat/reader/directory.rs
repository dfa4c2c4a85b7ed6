//! Directory entries, with long names (Microsoft's "FAT: General Overview of On-Disk Format" 1.03, "FAT Directory
//! Structure", "FAT Long Directory Entries").

use zerocopy::FromBytes;

use crate::fs::fat::disk::{Attributes, LAST_LONG_ENTRY, LongEntry, RawEntry, ShortName, checksum};
use crate::text::{shown, shown_utf16};

const DELETED: u8 = 0xE5;
/// Bits of `dir_nt_res`: the base name, or the extension, is in lower case.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// From 1970-01-01 to 1980-01-01, the first day that FAT knows.
const DAYS_TO_1980: i64 = 3652;
const DAY: i64 = 86_400;

/// A name in a directory.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The long name, or the short one where there is none; fit for a terminal.
    pub name: String,
    /// The same as bytes of a file name, nothing escaped: UTF-8 if it is a long one, else the bytes of the short one.
    pub file_name: Vec<u8>,
    /// As it is on disk.
    pub raw: RawEntry,
}

impl Entry {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.raw.attributes().contains(Attributes::DIRECTORY)
    }

    /// Whether it may only be read.
    pub fn is_read_only(&self) -> bool {
        self.raw.attributes().contains(Attributes::READ_ONLY)
    }

    /// When the contents changed last, in seconds from 1970 to the same time in UTC: FAT knows no time zone. Impossible
    /// dates are as good as none, which is 1980.
    pub fn modified(&self) -> i64 {
        let (date, time) = (self.raw.dir_wrt_date.get(), self.raw.dir_wrt_time.get());
        let (year, month, day) = (i64::from(date >> 9), i64::from(date >> 5 & 15), i64::from(date & 31));
        let (hours, minutes, seconds) = (time >> 11, time >> 5 & 63, (time & 31) * 2);
        let days_before =
            |month: i64| (367 * month - 362) / 12 - if month > 2 { 2 - i64::from(year % 4 == 0) } else { 0 };
        let is_possible = (1..=12).contains(&month) && day > 0 && hours < 24 && minutes < 60 && seconds < 60;
        if !is_possible {
            return DAYS_TO_1980 * DAY;
        }
        // Every fourth year is a leap year from 1980 to 2099; 2100, which is none, is counted as one.
        let days = DAYS_TO_1980 + year * 365 + (year + 3) / 4 + days_before(month) + day - 1;
        days * DAY + i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds)
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
                let long = std::mem::take(&mut long).finish(&raw.dir_name);
                let short = short_name(&raw);
                let name = long.clone().map_or_else(|| shown(&short), shown_utf16);
                let file_name = long.map_or(short, |long| String::from_utf16_lossy(&long).into_bytes());
                entries.push(Entry { name, file_name, raw });
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

    fn finish(self, short: &ShortName) -> Option<Vec<u16>> {
        let belongs = !self.units.is_empty() && self.expected == 0 && self.checksum == checksum(short);
        belongs.then_some(self.units)
    }
}

fn short_name(raw: &RawEntry) -> Vec<u8> {
    let (base, extension) = raw.dir_name.split_at(8);
    let part = |bytes: &[u8], lower: u8| {
        let name = bytes.trim_ascii_end();
        if raw.dir_nt_res & lower != 0 { name.to_ascii_lowercase() } else { name.to_vec() }
    };
    let (base, extension) = (part(base, LOWER_BASE), part(extension, LOWER_EXTENSION));
    if extension.is_empty() { base } else { [base, extension].join(&b'.') }
}
