//! Block devices, which can only be overwritten where they are.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::OFlags;

use super::OutputError;
use crate::units::ByteCount;

/// A block device that this process alone has open for writing.
///
/// Unlike a file it has its old contents until they are overwritten, and keeps them behind the image's end. A failure
/// between [`OutputDevice::begin`] and [`OutputDevice::finish`] leaves a part of the image on it.
#[derive(Debug)]
#[must_use = "the device is complete only after `finish`"]
pub struct OutputDevice {
    file: File,
    target: PathBuf,
    size: ByteCount,
}

/// Devices with a part of an image on them, for [`half_written`].
static HALF_WRITTEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl OutputDevice {
    /// Whether the name is that of a block device, itself or by a link.
    pub fn is_at(target: &Path) -> bool {
        target.metadata().is_ok_and(|found| found.file_type().is_block_device())
    }

    /// Opens the device. The kernel refuses one that is mounted, swapped to or part of another (`O_EXCL` in open(2)).
    pub fn open(target: &Path) -> Result<Self, OutputError> {
        let open = || {
            let flags = OFlags::EXCL.bits().try_into().map_err(io::Error::other)?;
            let mut file = File::options().read(true).write(true).custom_flags(flags).open(target)?;
            // It may be another file by now.
            if !file.metadata()?.file_type().is_block_device() {
                return Err(io::Error::other("it is no block device any more"));
            }
            let size = ByteCount(file.seek(SeekFrom::End(0))?);
            Ok(Self { file, target: target.to_owned(), size })
        };
        open().map_err(|source| {
            let advice = match source.kind() {
                io::ErrorKind::ResourceBusy => {
                    "; unmount it, and take it out of any swap or other device that it is a part of"
                }
                _ => "",
            };
            let problem = format!("cannot open the block device `{}`{advice}", target.display());
            OutputError::io(target, problem, source)
        })
    }

    /// The device to write and read.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// How much the device holds.
    pub fn size(&self) -> ByteCount {
        self.size
    }

    /// The bytes of a sector as the device counts them, which its partition table has to count in too.
    pub fn sector(&self) -> io::Result<u64> {
        Ok(rustix::fs::ioctl_blksszget(&self.file)?.into())
    }

    /// Makes sure that `size` bytes fit. From now on the device counts as half written.
    pub fn begin(&self, size: ByteCount) -> Result<(), OutputError> {
        if size > self.size {
            let target = self.target.clone();
            return Err(OutputError::DeviceTooSmall { target, size, available: self.size });
        }
        HALF_WRITTEN.lock().push(self.target.clone());
        Ok(())
    }

    /// Waits until everything is on the device; the image is complete after it.
    pub fn finish(self) -> Result<(), OutputError> {
        self.file.sync_all().map_err(|source| {
            let shown = self.target.display();
            let problem = format!("the device `{shown}` did not take all that was written to it");
            OutputError::io(&self.target, problem, source)
        })?;
        HALF_WRITTEN.lock().retain(|target| target != &self.target);
        Ok(())
    }
}

/// The devices that hold only a part of an image. For a program that fails or is stopped.
pub fn half_written() -> Vec<PathBuf> {
    HALF_WRITTEN.lock().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_device_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "old").unwrap();
        assert!(!OutputDevice::is_at(&file) && !OutputDevice::is_at(&directory.path().join("none")));
        let error = OutputDevice::open(&file).unwrap_err().to_string();
        assert!(error.contains("cannot open the block device"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
        assert!(OutputDevice::open(&directory.path().join("none")).is_err());
        assert!(half_written().is_empty());
    }
}
