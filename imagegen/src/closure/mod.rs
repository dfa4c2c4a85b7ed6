//! A closure: the store paths of a registration, what is on disk below each, their NAR hashes, and which files are equal.

pub mod database;
mod hash;
pub mod nar;
mod nar_hash;
mod optimise;
pub mod references_graph;
pub mod registration;
pub mod scan;

pub use hash::fill_in_hashes;
pub use nar_hash::{NarHash, NarInfo};
pub(crate) use optimise::Digest;
pub use optimise::{Shared, optimise};
pub use registration::{Registered, Registration, RegistrationError};
pub use scan::{Closure, ScanError, scan};
