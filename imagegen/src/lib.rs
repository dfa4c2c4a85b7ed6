#![doc = include_str!("../README.md")]

pub mod boot;
pub mod boot_disk;
pub mod closure;
pub mod container;
pub mod content;
pub mod contents;
pub mod diff;
pub mod efi_vars;
pub mod esp;
pub mod ext4;
pub mod fixed;
pub mod gpt;
pub mod guid;
pub mod inspect;
pub mod mbr;
pub mod output;
pub mod progress;
pub mod root_disk;
mod sha256;
pub mod store_image;
pub mod store_path;
pub mod structure;
pub mod text;
pub mod tree;
pub mod units;
pub mod verify;
