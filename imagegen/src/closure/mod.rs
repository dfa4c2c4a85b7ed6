//! A closure: the store paths of a registration, what is on disk below each, their NAR hashes, and which files are equal.

pub mod database;
mod hash;
pub mod nar;
mod optimise;
pub mod references_graph;
pub mod registration;
pub mod scan;

pub use hash::fill_in_hashes;
pub(crate) use optimise::Digest;
pub use optimise::{Shared, optimise};
pub use registration::{NarHash, Registered, Registration, RegistrationError};
pub use scan::{Closure, ScanError, scan};
