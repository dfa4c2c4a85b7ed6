//! What Nix knows of a store: paths, registrations, references graphs, databases, NARs and their hashes.

pub mod closure;
pub mod database;
mod deriver;
pub mod nar;
mod nar_hash;
mod path_info;
mod problem;
pub mod references_graph;
pub mod registration;
pub mod store_path;

pub use nar_hash::{NarHash, NarInfo};
pub use problem::{ClosureError, Problem, RegistrationError};
pub use registration::{Registered, Registration};
