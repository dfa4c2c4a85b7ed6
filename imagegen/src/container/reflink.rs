//! Contents of a source in an image file without copying them, on file systems whose files can share blocks
//! (`ioctl_ficlonerange(2)`): Btrfs, XFS and others.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;

use reflink_copy::ReflinkBlockBuilder;
use rustix::io::Errno;

/// What the system answers where it does not share, though it would write: the two files are on different file systems,
/// theirs cannot share, not these two files, not at these places, or nobody may ask in this sandbox.
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

/// Has `bytes` of the image file from `to` on share the blocks of the source from `from` on, and tells whether it could.
pub fn share(source: &File, from: u64, bytes: u64, image: &File, to: u64) -> io::Result<bool> {
    let Some(bytes) = NonZeroU64::new(bytes) else { return Ok(true) };
    loop {
        let shared =
            ReflinkBlockBuilder::new(source, image, bytes).from_offset(from).to_offset(to).reflink_block();
        match shared {
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
    fn only_what_writing_would_not_meet_too_is_a_refusal() {
        for errno in REFUSALS {
            assert!(is_refusal(&errno.into()), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert!(!is_refusal(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn no_bytes_are_shared_everywhere() {
        let [source, image] = [0; 2].map(|_| tempfile::tempfile().unwrap());
        assert!(share(&source, 0, 0, &image, 0).unwrap());
        assert_eq!(image.metadata().unwrap().len(), 0);
    }

    #[test]
    fn what_is_not_there_is_not_shared() {
        let [source, image] = [0; 2].map(|_| tempfile::tempfile().unwrap());
        assert!(!share(&source, 0, 4096, &image, 0).unwrap());
    }
}
