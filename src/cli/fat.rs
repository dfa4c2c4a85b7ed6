//! The kind of an EFI system partition's file system.

use clap::ValueEnum;
use imagegen::fs::fat::Fat;

/// How many bits an entry of the allocation table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FatArg {
    /// FAT16: up to 4 GiB
    #[value(name = "16")]
    Fat16,
    /// FAT32: from 33 MiB on
    #[value(name = "32")]
    Fat32,
}

impl From<FatArg> for Fat {
    fn from(arg: FatArg) -> Self {
        match arg {
            FatArg::Fat16 => Self::Fat16,
            FatArg::Fat32 => Self::Fat32,
        }
    }
}
