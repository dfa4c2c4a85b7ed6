//! A closure: what is on disk below each store path of a registration, its NAR hashes, and which files are equal.

mod cycle;
mod hash;
mod linked;
mod optimise;
pub mod scan;

pub use cycle::check_order;
pub use hash::{fill_in_hashes, hash_missing};
pub(crate) use linked::Digest;
pub use linked::Linked;
pub use optimise::optimise;
pub use scan::{Closure, ScanError, scan};
