//! What the fuzz targets share: the invariants that must hold for any input, and the inputs to begin with. Both are
//! also compiled into `imagegen/tests/hostile.rs`, which needs neither cargo-fuzz nor a nightly compiler.

pub mod files;
pub mod images;
pub mod invariants;
pub mod seeds;
