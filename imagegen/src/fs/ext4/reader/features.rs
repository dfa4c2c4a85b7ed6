//! The features of a file system, by the names that e2fsprogs gives them, and which of them are read here (the kernel's
//! documentation of ext4, "Super Block").
//!
//! Compatible features and those that only forbid writing never hide a file from a reader, but for `bigalloc`.

pub const COMPAT_HAS_JOURNAL: u32 = 0x4;
pub const COMPAT_SPARSE_SUPER2: u32 = 0x200;
pub const INCOMPAT_RECOVER: u32 = 0x4;
pub const INCOMPAT_META_BG: u32 = 0x10;
pub const INCOMPAT_64BIT: u32 = 0x80;
pub const INCOMPAT_CSUM_SEED: u32 = 0x2000;
pub const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
pub const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
const RO_COMPAT_BIGALLOC: u32 = 0x200;

/// What to do about a feature that is not read.
pub const HELP: &str = "mount it with Linux, or copy its files into a file system without that";
const HELP_JOURNAL: &str = "it holds no files, but the journal of another file system; name that one";

const COMPAT: &[(u32, &str)] = &[
    (0x1, "dir_prealloc"),
    (0x2, "imagic_inodes"),
    (COMPAT_HAS_JOURNAL, "has_journal"),
    (0x8, "ext_attr"),
    (0x10, "resize_inode"),
    (0x20, "dir_index"),
    (0x40, "lazy_bg"),
    (0x80, "snapshot_bitmap"),
    (0x100, "exclude_bitmap"),
    (COMPAT_SPARSE_SUPER2, "sparse_super2"),
    (0x400, "fast_commit"),
    (0x800, "stable_inodes"),
    (0x1000, "orphan_file"),
];

/// With `true`, those with which all files can be found and most can be read: inodes say for themselves that they are
/// encrypted or have their contents in them.
const INCOMPAT: &[(u32, &str, bool)] = &[
    (0x1, "compression", false),
    (0x2, "filetype", true),
    (INCOMPAT_RECOVER, "needs_recovery", true),
    (INCOMPAT_JOURNAL_DEV, "journal_dev", false),
    (INCOMPAT_META_BG, "meta_bg", true),
    (0x40, "extent", true),
    (INCOMPAT_64BIT, "64bit", true),
    (0x100, "mmp", true),
    (0x200, "flex_bg", true),
    (0x400, "ea_inode", true),
    (0x1000, "dirdata", false),
    (INCOMPAT_CSUM_SEED, "metadata_csum_seed", true),
    (0x4000, "large_dir", true),
    (0x8000, "inline_data", true),
    (0x10000, "encrypt", true),
    (0x20000, "casefold", true),
];

const RO_COMPAT: &[(u32, &str)] = &[
    (RO_COMPAT_SPARSE_SUPER, "sparse_super"),
    (0x2, "large_file"),
    (0x8, "huge_file"),
    (0x10, "uninit_bg"),
    (0x20, "dir_nlink"),
    (0x40, "extra_isize"),
    (0x80, "snapshot"),
    (0x100, "quota"),
    (RO_COMPAT_BIGALLOC, "bigalloc"),
    (RO_COMPAT_METADATA_CSUM, "metadata_csum"),
    (0x800, "replica"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x4000, "shared_blocks"),
    (0x8000, "verity"),
    (0x10000, "orphan_present"),
];

/// The names of the features that keep a file system from being read, and what to do; nothing if there are none.
pub fn unread(incompat: u32, ro_compat: u32) -> Option<(String, &'static str)> {
    let read = INCOMPAT.iter().filter(|(_, _, read)| *read).fold(0, |bits, (bit, ..)| bits | bit);
    let mut names = names_of(incompat & !read, incompat_name);
    names.extend(names_of(ro_compat & RO_COMPAT_BIGALLOC, |bit| name_in(RO_COMPAT, bit)));
    let help = if incompat & INCOMPAT_JOURNAL_DEV == 0 { HELP } else { HELP_JOURNAL };
    (!names.is_empty()).then(|| (names.join(", "), help))
}

/// The names of all features.
pub fn names(compat: u32, incompat: u32, ro_compat: u32) -> Vec<String> {
    let mut names = names_of(compat, |bit| name_in(COMPAT, bit));
    names.extend(names_of(incompat, incompat_name));
    names.extend(names_of(ro_compat, |bit| name_in(RO_COMPAT, bit)));
    names
}

fn incompat_name(bit: u32) -> Option<&'static str> {
    INCOMPAT.iter().find(|(value, ..)| *value == bit).map(|(_, name, _)| *name)
}

fn name_in(known: &[(u32, &'static str)], bit: u32) -> Option<&'static str> {
    known.iter().find(|(value, _)| *value == bit).map(|(_, name)| *name)
}

/// A bit without a name is told by its value.
fn names_of(word: u32, name: impl Fn(u32) -> Option<&'static str>) -> Vec<String> {
    let bits = (0..32).map(|bit| 1 << bit).filter(|bit| word & bit != 0);
    bits.map(|bit| name(bit).map_or_else(|| format!("{bit:#x}"), str::to_owned)).collect()
}
