//! Machines that `run` starts, booted by translation: what each option does, seen from inside the guest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod disks;
mod images;
mod loaders;
mod machines;
mod network;
mod shares;
