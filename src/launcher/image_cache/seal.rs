//! A small file beside an image in the cache that proves the image whole. It is written when all of the image is on the
//! disk.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

use data_encoding::HEXLOWER;
use imagegen::progress::Progress;
use imagegen::units::ByteCount;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::digest;

/// The version of the file. A file of another version counts as missing.
const VERSION: u32 = 1;
/// How much of an image's beginning and end is compared at every start: the header and tables of qcow2, and what a
/// crash would lose first.
const END: u64 = 64 << 10;
/// More than the file has.
const LENGTH_MAX: u64 = 4096;

/// An image's length and digests, and when the whole image was last compared with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    version: u32,
    length: u64,
    /// Of the whole image.
    sha256: String,
    /// Of its first and last [`END`] bytes.
    ends_sha256: String,
    compared: Compared,
}

/// The state in which an image was compared. In another state it may be another image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compared {
    /// The kernel's random identifier of this boot (random(4)), or nothing. After a crash it is another one.
    boot: String,
    inode: u64,
    /// The time of the inode's last change, in seconds and nanoseconds.
    changed: (i64, i64),
}

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It has no seal: it was cut off before that was written, or comes from somewhere else.
    #[error("nothing says that it is whole")]
    Unknown,
    /// It is a link, a pipe, a directory or somebody else's.
    #[error("it is no file of this user's")]
    NotOwn,
    /// It is shorter or longer.
    #[error("it has {found} bytes in place of {expected}")]
    Length { found: u64, expected: u64 },
    /// Its bytes have another digest.
    #[error("its contents are not those that were written")]
    Digest,
    /// The disk has an error.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl Seal {
    /// Computes the seal of an image, all of which is on the disk.
    pub fn of(image: &File, progress: &dyn Progress) -> io::Result<Self> {
        let length = image.metadata()?.len();
        Ok(Self {
            version: VERSION,
            length,
            sha256: digest(image, ByteCount(length), progress)?,
            ends_sha256: ends(image, length)?,
            compared: Compared::now(image)?,
        })
    }

    /// Reads the file. A file that is damaged or of another version counts as missing.
    pub fn read(file: &File) -> Option<Self> {
        let mut bytes = Vec::new();
        file.take(LENGTH_MAX).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok().filter(|seal: &Self| seal.version == VERSION)
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Compares an image's length and ends. Compares all of it if asked to, or if it is the first time since this machine
    /// was started or the file was touched; then the result is the new seal.
    pub fn check(
        &self,
        image: &File,
        thoroughly: bool,
        progress: &dyn Progress,
    ) -> Result<Option<Self>, Damage> {
        let found = image.metadata()?.len();
        if found != self.length {
            return Err(Damage::Length { found, expected: self.length });
        }
        if ends(image, self.length)? != self.ends_sha256 {
            return Err(Damage::Digest);
        }
        let compared = Compared::now(image)?;
        if !thoroughly && compared == self.compared && !compared.boot.is_empty() {
            return Ok(None);
        }
        if digest(image, ByteCount(self.length), progress)? != self.sha256 {
            return Err(Damage::Digest);
        }
        Ok(Some(Self { compared, ..self.clone() }))
    }
}

impl Compared {
    fn now(image: &File) -> io::Result<Self> {
        let found = image.metadata()?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let changed = (found.ctime(), found.ctime_nsec());
        Ok(Self { boot: boot.trim().to_owned(), inode: found.ino(), changed })
    }
}

/// The digest of an image's beginning and end.
fn ends(image: &File, length: u64) -> io::Result<String> {
    let end = length.min(END);
    let mut block = vec![0; usize::try_from(end).map_err(io::Error::other)?];
    let mut hasher = Sha256::new();
    for offset in [0, length - end] {
        image.read_exact_at(&mut block, offset)?;
        hasher.update(&block);
    }
    Ok(HEXLOWER.encode(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use imagegen::progress::Silent;

    use super::*;

    #[test]
    fn an_image_is_compared_as_far_as_there_is_reason_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let bytes: Vec<u8> = (0..1 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
        std::fs::write(&path, &bytes).unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let written = Seal::of(&open(), &Silent).unwrap();
        std::fs::write(directory.path().join("seal"), written.to_bytes().unwrap()).unwrap();
        let seal = Seal::read(&File::open(directory.path().join("seal")).unwrap()).unwrap();
        assert_eq!(seal, written);
        assert!(seal.check(&open(), false, &Silent).unwrap().is_none());
        assert_eq!(seal.check(&open(), true, &Silent).unwrap().unwrap(), seal);

        // After another start of this machine, all is compared once.
        let mut earlier = seal.clone();
        earlier.compared.boot = "another".to_owned();
        let again = earlier.check(&open(), false, &Silent).unwrap().unwrap();
        assert_eq!(again, seal);

        for offset in [0, 1 << 19, (1 << 20) - 1] {
            open().write_all_at(&[0xa5], offset).unwrap();
            assert!(matches!(seal.check(&open(), false, &Silent), Err(Damage::Digest)), "{offset}");
            open().write_all_at(&bytes[usize::try_from(offset).unwrap()..][..1], offset).unwrap();
        }
        open().set_len(1 << 19).unwrap();
        assert!(matches!(seal.check(&open(), false, &Silent), Err(Damage::Length { .. })));
        open().set_len(0).unwrap();
        assert!(Seal::of(&open(), &Silent).unwrap().check(&open(), true, &Silent).is_ok());
    }

    #[test]
    fn what_is_damaged_counts_as_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal");
        for text in ["", "{}", "\0\0\0\0", "{\"version\":2}"] {
            std::fs::write(&path, text).unwrap();
            assert!(Seal::read(&File::open(&path).unwrap()).is_none());
        }
    }
}
