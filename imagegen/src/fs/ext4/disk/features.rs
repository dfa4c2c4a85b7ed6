//! The feature words of a superblock (the kernel's documentation of ext4, "Super Block"), with e2fsprogs' names.

use bitflags::{Flags, bitflags};

bitflags! {
    /// Features that a reader or writer may ignore.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Compat: u32 {
        const DIR_PREALLOC = 0x1;
        const IMAGIC_INODES = 0x2;
        const HAS_JOURNAL = 0x4;
        const EXT_ATTR = 0x8;
        const RESIZE_INODE = 0x10;
        const DIR_INDEX = 0x20;
        const LAZY_BG = 0x40;
        const SNAPSHOT_BITMAP = 0x80;
        const EXCLUDE_BITMAP = 0x100;
        const SPARSE_SUPER2 = 0x200;
        const FAST_COMMIT = 0x400;
        const STABLE_INODES = 0x800;
        const ORPHAN_FILE = 0x1000;
    }

    /// Features without which a file system cannot be read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Incompat: u32 {
        const COMPRESSION = 0x1;
        const FILETYPE = 0x2;
        const NEEDS_RECOVERY = 0x4;
        const JOURNAL_DEV = 0x8;
        const META_BG = 0x10;
        const EXTENT = 0x40;
        const _64BIT = 0x80;
        const MMP = 0x100;
        const FLEX_BG = 0x200;
        const EA_INODE = 0x400;
        const DIRDATA = 0x1000;
        const METADATA_CSUM_SEED = 0x2000;
        const LARGE_DIR = 0x4000;
        const INLINE_DATA = 0x8000;
        const ENCRYPT = 0x10000;
        const CASEFOLD = 0x20000;
    }

    /// Features without which a file system cannot be written to.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct RoCompat: u32 {
        const SPARSE_SUPER = 0x1;
        const LARGE_FILE = 0x2;
        const HUGE_FILE = 0x8;
        const UNINIT_BG = 0x10;
        const DIR_NLINK = 0x20;
        const EXTRA_ISIZE = 0x40;
        const SNAPSHOT = 0x80;
        const QUOTA = 0x100;
        const BIGALLOC = 0x200;
        const METADATA_CSUM = 0x400;
        const REPLICA = 0x800;
        const READ_ONLY = 0x1000;
        const PROJECT = 0x2000;
        const SHARED_BLOCKS = 0x4000;
        const VERITY = 0x8000;
        const ORPHAN_PRESENT = 0x10000;
    }
}

/// The names of the features in a word, as e2fsprogs prints them. A bit without a name is told by its value.
pub fn names<Word: Flags<Bits = u32>>(word: Word) -> impl Iterator<Item = String> {
    let bits = (0..u32::BITS).map(|bit| 1 << bit).filter(move |bit| word.bits() & bit != 0);
    bits.map(|bit| match Word::FLAGS.iter().find(|flag| flag.value().bits() == bit) {
        // The one name with a dash.
        Some(flag) if flag.name() == "READ_ONLY" => "read-only".to_owned(),
        Some(flag) => flag.name().trim_start_matches('_').to_ascii_lowercase(),
        None => format!("{bit:#x}"),
    })
}
