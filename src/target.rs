//! Where an image goes: a file that appears whole, or a block device if that is allowed.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use imagegen::container::{Compression, Format, ImageFile};
use imagegen::output::{OutputDevice, OutputFile};
use imagegen::units::{ByteCount, GuestRange, SECTOR};

use crate::cli::ImageArgs;
use crate::digest::digest;
use crate::progress::Reporter;

/// The unit of `st_blocks` (stat(3type)), whatever the file system's blocks are.
const STAT_BLOCK: u64 = 512;

/// What an image is written to.
pub struct Target {
    place: Place,
    path: PathBuf,
    format: Format,
}

enum Place {
    File(OutputFile),
    Device(OutputDevice),
}

impl Target {
    /// Begins a file, or opens the device. Nothing is changed yet.
    pub fn create(args: &ImageArgs) -> anyhow::Result<Self> {
        let (path, format) = (&args.output, args.format);
        if !OutputDevice::is_at(path) {
            let output = OutputFile::create(path)?.durable(args.sync.sync);
            return Ok(Self { place: Place::File(output), path: path.to_owned(), format });
        }
        let shown = path.display();
        ensure!(
            args.force,
            "`{shown}` is a block device, and all on it would be lost; give --force and --format raw to overwrite it"
        );
        ensure!(
            format == Format::Raw,
            "`{shown}` is a block device, which takes no {} image; give --format raw",
            format.name()
        );
        Ok(Self { place: Place::Device(OutputDevice::open(path)?), path: path.to_owned(), format })
    }

    /// Lays out the image; see [`ImageFile::create`].
    pub fn image(
        &self,
        size: ByteCount,
        allocated: &[GuestRange],
        compression: Option<Compression>,
    ) -> anyhow::Result<ImageFile<'_>> {
        let image = match (&self.place, compression) {
            (Place::File(output), None) => ImageFile::create(output.file(), self.format, size, allocated),
            (Place::File(output), Some(compression)) => {
                ImageFile::create_compressed(output.file(), compression, size, allocated)
            }
            (Place::Device(device), _) => {
                device.begin(size)?;
                ImageFile::overwrite(device.file(), size, allocated)
            }
        };
        image.with_context(|| format!("cannot write `{}`", self.path.display()))
    }

    /// Refuses a device whose sectors are not those that partition tables of this program count in.
    pub fn check_for_partition_table(&self) -> anyhow::Result<()> {
        if let Place::Device(device) = &self.place {
            let sector = device.sector().context("cannot find the size of the device's sectors")?;
            if sector != SECTOR {
                bail!(
                    "the device has sectors of {sector} bytes, and the partition table is for sectors of {SECTOR}"
                );
            }
        }
        Ok(())
    }

    /// The file or device.
    pub fn file(&self) -> &File {
        match &self.place {
            Place::File(output) => output.file(),
            Place::Device(device) => device.file(),
        }
    }

    /// The length of a finished image of `size`, its holes included.
    pub fn length(&self, size: ByteCount) -> anyhow::Result<ByteCount> {
        match &self.place {
            Place::File(output) => {
                let metadata = output.file().metadata().context("cannot examine the finished image")?;
                Ok(ByteCount(metadata.len()))
            }
            Place::Device(_) => Ok(size),
        }
    }

    /// What a finished image takes of the file system that it is in, as du(1) counts it; a device has no such figure.
    pub fn on_disk(&self) -> anyhow::Result<Option<ByteCount>> {
        let Place::File(output) = &self.place else { return Ok(None) };
        let metadata = output.file().metadata().context("cannot examine the finished image")?;
        Ok(Some(ByteCount(metadata.blocks().saturating_mul(STAT_BLOCK))))
    }

    /// The SHA-256 of a finished image of `length` bytes.
    pub fn digest(&self, length: ByteCount, reporter: &Reporter) -> anyhow::Result<String> {
        digest(self.file(), length, reporter).context("cannot read the finished image back")
    }

    /// What there is to know about a GPT whose disk of `size` is smaller than the device.
    pub fn note_on_gpt(&self, size: ByteCount) -> Option<String> {
        let Place::Device(device) = &self.place else { return None };
        let rest = device.size().0.checked_sub(size.0).filter(|&rest| rest > 0).map(ByteCount)?;
        Some(format!(
            "the backup of the partition table is at the image's end, {rest} before the device's; \
             `sgdisk --move-second-header {0}` moves it, or give a --size that fills the device",
            self.path.display()
        ))
    }

    /// Gives the file its name, or waits until all is on the device.
    pub fn finish(self) -> anyhow::Result<()> {
        match self.place {
            Place::File(output) => Ok(output.finish()?),
            Place::Device(device) => Ok(device.finish()?),
        }
    }
}
