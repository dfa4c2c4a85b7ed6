//! Where image bytes go: a raw file or a qcow2 file, written at planned offsets by any number of threads.

use std::io;

use crate::units::GuestOffset;

/// Takes the bytes of a disk or file system at their final place.
///
/// Whatever is not written reads as zeros, so nobody ever writes zeros. Calls may come in any order and from
/// several threads; ranges never overlap and lie within what the container was created for.
pub trait Sink: Sync {
    /// `bytes` are the guest's content from `offset` on.
    fn data(&self, offset: GuestOffset, bytes: &[u8]) -> io::Result<()>;
}
