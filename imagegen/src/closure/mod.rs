//! A closure: the store paths of a registration, what is on disk below each, their NAR hashes, and which files are equal.

mod cycle;
pub mod database;
mod deriver;
mod hash;
pub mod nar;
mod nar_hash;
mod optimise;
mod path_info;
mod problem;
pub mod references_graph;
pub mod registration;
pub mod scan;

pub use cycle::check_order;
pub use hash::{fill_in_hashes, hash_missing};
pub use nar_hash::{NarHash, NarInfo};
pub(crate) use optimise::Digest;
pub use optimise::{Shared, optimise};
pub use path_info::EntryProblem;
pub use problem::{ClosureError, Problem, RegistrationError};
pub use registration::{Registered, Registration};
pub use scan::{Closure, ScanError, scan};
