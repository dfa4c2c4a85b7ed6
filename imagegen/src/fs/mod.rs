//! File trees, where file contents come from, and the file systems that are written from them.

pub mod ext4;
pub mod fat;
mod file_on_disk;
pub mod file_source;
pub mod file_tree;

pub use file_on_disk::FileOnDisk;
