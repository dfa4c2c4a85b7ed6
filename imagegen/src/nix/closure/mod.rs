//! A closure: what is on disk below each store path of a registration, its NAR hashes, and which files are equal.

mod cycle;
mod hash;
mod optimise;
pub mod scan;

pub use cycle::check_order;
pub use hash::{fill_in_hashes, hash_missing};
pub(crate) use optimise::Digest;
pub use optimise::{Shared, optimise};
pub use scan::{Closure, ScanError, scan};
