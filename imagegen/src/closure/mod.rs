//! A closure: the store paths of a registration, what is on disk below each, and their NAR hashes.

pub mod database;
mod hash;
pub mod nar;
pub mod references_graph;
pub mod registration;
pub mod scan;

pub use hash::fill_in_hashes;
pub use registration::{NarHash, Registered, Registration, RegistrationError};
pub use scan::{Closure, ScanError, scan};
