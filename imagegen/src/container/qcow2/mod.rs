//! qcow2 version 3, written at planned places (QEMU's docs/interop/qcow2).
//!
//! The layout follows from the plan of the contents: the header, the refcount table and blocks, the L1 table, the L2
//! tables, then a host cluster for every guest cluster that may be written, in guest order. Any thread can write
//! any data at once. What turns out to be zeros leaves a hole, which [`Writer::finish`] closes by moving the last
//! clusters into the holes; the tables are written after that, and the header last, so that a file that was not
//! finished is no qcow2 image.

mod codec;
mod compressed;
pub mod disk;
mod first_cluster;
mod layout;
mod tables;
mod writer;

pub use compressed::Writer as CompressedWriter;
pub use disk::MAGIC;
pub use first_cluster::{Backing, virtual_size};
pub use layout::SIZE_MAX;
pub use writer::Writer;

/// The base-2 logarithm of the cluster size; 64 KiB is what qemu-img takes too.
const CLUSTER_BITS: u32 = 16;
/// The size of a cluster in bytes.
const CLUSTER: u64 = 1 << CLUSTER_BITS;
