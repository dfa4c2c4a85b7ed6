//! Finished images, read back: what they hold, and how two of them differ.

pub mod diff;
pub mod inspect;
pub mod probe;
pub mod verify;
