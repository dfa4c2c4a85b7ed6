//! Finished images, read back: what they hold, how two of them differ, and files out of them.

pub mod bootable;
pub mod diff;
pub mod extract;
pub mod files;
pub mod inspect;
pub mod probe;
pub mod verify;
pub mod volume;
