//! Input that somebody else has made: the invariants that must hold for any of it, and the inputs to begin with. The fuzz
//! targets look for what breaks them; `imagegen/tests/hostile.rs`, which needs neither cargo-fuzz nor a nightly compiler,
//! holds them for the seeds and for damaged copies.

pub mod files;
pub mod images;
pub mod invariants;
pub mod seeds;
