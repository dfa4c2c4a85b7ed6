//! Ranges of one file in another without copying them (`ioctl_ficlonerange(2)`), on file systems that can do it: Btrfs, XFS
//! and others.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;

use reflink_copy::ReflinkBlockBuilder;
use rustix::io::Errno;

/// What the system answers where a reflink is impossible and a write is not: the files are on different file systems, the
/// file system has no reflinks, or none for these files or offsets, or a sandbox forbids the call.
const REFUSALS: [Errno; 9] = [
    Errno::XDEV,
    Errno::OPNOTSUPP,
    Errno::INVAL,
    Errno::NOTTY,
    Errno::NOSYS,
    Errno::PERM,
    Errno::ACCESS,
    Errno::BADF,
    Errno::TXTBSY,
];

/// Makes `bytes` of the image file, from `to` on, the blocks of the source from `from` on. Tells whether it could.
pub fn reflink(source: &File, from: u64, bytes: u64, image: &File, to: u64) -> io::Result<bool> {
    let Some(bytes) = NonZeroU64::new(bytes) else { return Ok(true) };
    loop {
        let cloned =
            ReflinkBlockBuilder::new(source, image, bytes).from_offset(from).to_offset(to).reflink_block();
        match cloned {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_refusal(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn is_refusal(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| REFUSALS.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_a_write_would_meet_too_is_no_refusal() {
        for errno in REFUSALS {
            assert!(is_refusal(&errno.into()), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert!(!is_refusal(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn a_reflink_of_no_bytes_works_everywhere() {
        let [source, image] = [0; 2].map(|_| tempfile::tempfile().unwrap());
        assert!(reflink(&source, 0, 0, &image, 0).unwrap());
        assert_eq!(image.metadata().unwrap().len(), 0);
    }

    #[test]
    fn there_is_no_reflink_of_what_is_not_there() {
        let [source, image] = [0; 2].map(|_| tempfile::tempfile().unwrap());
        assert!(!reflink(&source, 0, 4096, &image, 0).unwrap());
    }
}
