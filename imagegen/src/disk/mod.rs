//! Partition tables, and how a disk is divided.

pub mod gpt;
pub mod gpt_disk;
pub mod layout;
pub mod mbr;
