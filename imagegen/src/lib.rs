#![doc = include_str!("../README.md")]

pub mod boot;
pub mod container;
mod depth_first;
pub mod disk;
pub mod error_kind;
pub mod firmware;
pub mod fixed;
pub mod fs;
pub mod guid;
pub mod host_file;
pub mod image;
pub mod job;
pub mod nix;
pub mod on_disk;
pub mod output;
pub mod progress;
pub mod reading;
mod sha256;
pub mod text;
pub mod units;
