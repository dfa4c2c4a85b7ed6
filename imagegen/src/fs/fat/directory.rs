//! The directories of a FAT file system: which names lie in which, and the entries they are stored as.

use std::collections::BTreeMap;

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromZeros, IntoBytes};

use super::FatError;
use super::disk::{Attributes, ENTRY, LAST_LONG_ENTRY, LongEntry, RawEntry, ShortName, UNITS, checksum};
use super::names;
use crate::error_kind::InternalError;
use crate::fixed;
use crate::fs::file_source::{FileSource, NamedFile};
use crate::units::{ByteCount, fit, index, length};

/// The most entries that a directory may have, long names' parts included (FAT specification 1.03).
const ENTRIES_MAX: u64 = 65_536;
/// 1980-01-01, the first day that FAT knows: year 0, month 1, day 1. The time of day is zero.
const FIRST_DAY: U16 = U16::new(1 << 5 | 1);

/// The files of a file system, in their directories.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Directories before those inside them; the first one is the root.
    pub(super) directories: Vec<Directory>,
    /// Files in the order of their paths.
    pub(super) files: Vec<NamedFile>,
    /// The volume's label, filled up with spaces.
    pub(super) label: [u8; 11],
}

#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: String,
    parent: usize,
    /// Sorted by name.
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    name: String,
    short: ShortName,
    kind: Kind,
}

/// A directory or file, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory(usize),
    File(usize),
}

impl Contents {
    /// Sorts files into directories, which are made as needed. Paths that FAT cannot hold, or cannot tell apart, are
    /// errors.
    pub fn new(mut files: Vec<NamedFile>) -> Result<Self, FatError> {
        files.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
        let mut contents = Self {
            directories: vec![Directory::new(String::new(), 0)],
            files: Vec::new(),
            label: fixed::ESP_LABEL,
        };
        for (number, file) in files.iter().enumerate() {
            let size = ByteCount(file.content.size());
            if u32::try_from(size.0).is_err() {
                return Err(FatError::FileTooLarge { path: file.path.clone(), size });
            }
            let earlier = number.checked_sub(1).and_then(|number| files.get(number));
            contents.add(&file.path, number).map_err(|error| error.with_sources(earlier, file))?;
        }
        for directory in &mut contents.directories {
            directory.name_entries()?;
        }
        contents.files = files;
        Ok(contents)
    }

    /// The same with another label than [`fixed::ESP_LABEL`].
    #[must_use]
    pub fn labelled(self, label: [u8; 11]) -> Self {
        Self { label, ..self }
    }

    /// The number of files.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// The number of directories, without the root.
    pub fn directory_count(&self) -> usize {
        self.directories.len() - 1
    }

    /// The bytes of all files.
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.content.size()))
    }

    /// Adds a file; paths come sorted, so that a directory that exists is the last entry so far.
    fn add(&mut self, path: &str, number: usize) -> Result<(), FatError> {
        let mut at = 0;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            names::check(name, path)?;
            let is_last = names.peek().is_none();
            let existing = self.directories[at].entries.last().filter(|entry| entry.name == name);
            match existing.map(|entry| entry.kind) {
                Some(Kind::Directory(directory)) if !is_last => at = directory,
                Some(_) => return Err(FatError::Twice { path: path.to_owned(), sources: String::new() }),
                None if is_last => self.directories[at].push(name, Kind::File(number)),
                None => {
                    let directory = self.directories.len();
                    self.directories[at].push(name, Kind::Directory(directory));
                    let path = self.directories[at].path_of(name);
                    self.directories.push(Directory::new(path, at));
                    at = directory;
                }
            }
        }
        Ok(())
    }

    /// The bytes of a directory's entries, without what fills up its last cluster.
    pub(super) fn directory_bytes(&self, directory: usize) -> u64 {
        let own = if directory == 0 { 1 } else { 2 };
        let entries: u64 = self.directories[directory].entries.iter().map(Entry::slots).sum();
        (own + entries) * ENTRY
    }

    /// The entries of a directory as they are stored, given the first cluster of every directory and file.
    pub(super) fn directory_entries(
        &self,
        directory: usize,
        directory_cluster: impl Fn(usize) -> u32,
        file_cluster: impl Fn(usize) -> u32,
    ) -> Result<Vec<u8>, InternalError> {
        let mut bytes = Vec::with_capacity(index(self.directory_bytes(directory)));
        let found = &self.directories[directory];
        if directory == 0 {
            bytes.extend_from_slice(entry(self.label, Attributes::VOLUME_ID, 0, 0)?.as_bytes());
        } else {
            // The root is entered as zero, also where it has a cluster.
            let parent = if found.parent == 0 { 0 } else { directory_cluster(found.parent) };
            for (name, cluster) in
                [(*b".          ", directory_cluster(directory)), (*b"..         ", parent)]
            {
                bytes.extend_from_slice(entry(name, Attributes::DIRECTORY, cluster, 0)?.as_bytes());
            }
        }
        for named in &found.entries {
            named.long_entries()?.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
            let (attributes, cluster, size) = match named.kind {
                Kind::Directory(number) => (Attributes::DIRECTORY, directory_cluster(number), 0),
                Kind::File(number) => {
                    (Attributes::ARCHIVE, file_cluster(number), self.files[number].content.size())
                }
            };
            bytes.extend_from_slice(entry(named.short, attributes, cluster, size)?.as_bytes());
        }
        Ok(bytes)
    }

    /// The lengths in bytes of all directories but the root, then of all files: what takes clusters, in order.
    pub(super) fn lengths(&self) -> impl Iterator<Item = u64> {
        let directories = (1..self.directories.len()).map(|directory| self.directory_bytes(directory));
        directories.chain(self.files.iter().map(|file| file.content.size()))
    }
}

impl FatError {
    /// Says of two files of one path where they come from; paths come sorted, so that they are neighbours.
    fn with_sources(self, earlier: Option<&NamedFile>, later: &NamedFile) -> Self {
        let source = |file: &NamedFile| match &file.content {
            FileSource::File { physical, .. } => Some(physical.display().to_string()),
            FileSource::Bytes(_) => None,
        };
        let pair = earlier.filter(|earlier| earlier.path == later.path);
        match (self, pair.and_then(source), source(later)) {
            (Self::Twice { path, .. }, Some(first), Some(second)) => {
                let sources = format!(", from `{first}` and from `{second}`; give one of them another name");
                Self::Twice { path, sources }
            }
            (error, ..) => error,
        }
    }
}

impl Directory {
    fn new(path: String, parent: usize) -> Self {
        Self { path, parent, entries: Vec::new() }
    }

    fn push(&mut self, name: &str, kind: Kind) {
        self.entries.push(Entry { name: name.to_owned(), short: [b' '; 11], kind });
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    /// Gives every entry its short name.
    fn name_entries(&mut self) -> Result<(), FatError> {
        let mut by_folded = BTreeMap::new();
        for entry in &self.entries {
            if let Some(other) = by_folded.insert(names::folded(&entry.name), &entry.name) {
                return Err(FatError::SameName {
                    path: self.path_of(other),
                    other: self.path_of(&entry.name),
                });
            }
        }
        let mut aliases = names::Aliases::new(by_folded.into_keys().collect());
        for entry in &mut self.entries {
            let short = names::exact_short(&entry.name).or_else(|| aliases.make(&entry.name));
            entry.short = short.ok_or_else(|| FatError::DirectoryFull { path: self.path.clone() })?;
        }
        if self.entries.iter().map(Entry::slots).sum::<u64>() + 2 > ENTRIES_MAX {
            return Err(FatError::DirectoryFull { path: self.path.clone() });
        }
        Ok(())
    }
}

impl Entry {
    /// The number of directory entries that it takes.
    fn slots(&self) -> u64 {
        1 + length(self.long_units().len().div_ceil(UNITS))
    }

    /// The name in UCS-2, unless the short name says it all.
    fn long_units(&self) -> Vec<u16> {
        if names::exact_short(&self.name).is_some() { Vec::new() } else { self.name.encode_utf16().collect() }
    }

    /// The parts of the long name, the last one first.
    fn long_entries(&self) -> Result<Vec<LongEntry>, InternalError> {
        let checksum = checksum(&self.short);
        let units = self.long_units();
        let mut entries = Vec::new();
        for (number, part) in (1_usize..).zip(units.chunks(UNITS)) {
            entries.push(LongEntry::new(fit(number)?, checksum, part));
        }
        if let Some(last) = entries.last_mut() {
            last.ldir_ord |= LAST_LONG_ENTRY;
        }
        entries.reverse();
        Ok(entries)
    }
}

/// A file, directory or volume label under its short name.
fn entry(
    name: ShortName,
    attributes: Attributes,
    cluster: u32,
    size: u64,
) -> Result<RawEntry, InternalError> {
    let mut entry = RawEntry::new_zeroed();
    entry.dir_name = name;
    entry.dir_attr = attributes.bits();
    [entry.dir_fst_clus_lo, entry.dir_fst_clus_hi] = zerocopy::transmute!(U32::new(cluster));
    entry.dir_file_size = fit::<u32, _>(size)?.into();
    for date in [&mut entry.dir_crt_date, &mut entry.dir_lst_acc_date, &mut entry.dir_wrt_date] {
        *date = FIRST_DAY;
    }
    Ok(entry)
}
