//! Where an image goes, with its report and whatever else appears together with it: a file that appears whole, or a block
//! device if that is allowed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, ensure};
use imagegen::container::{Compression, Format, ImageFile};
use imagegen::output::{OutputDevice, OutputFile};
use imagegen::text::shown;
use imagegen::units::{ByteCount, GuestRange, SECTOR};
use serde::Serialize;

use crate::cli::{ImageArgs, ReportArg};
use crate::digest::digest;
use crate::progress::Reporter;
use crate::report::{Program, Report, ReportFile};

/// The unit of `st_blocks` (stat(3type)), whatever the file system's blocks are.
const STAT_BLOCK: u64 = 512;

/// An image that is being written.
pub struct ImageOutput<'a> {
    args: &'a ImageArgs,
    place: Place,
    report: Option<ReportFile>,
    /// Files that appear with it.
    beside: Vec<OutputFile>,
}

enum Place {
    File(OutputFile),
    Device(OutputDevice),
}

impl<'a> ImageOutput<'a> {
    /// Begins the image and its report, so that what cannot be written is told before the work. Nothing is changed yet.
    pub fn begin(args: &'a ImageArgs, report: Option<&ReportArg>) -> anyhow::Result<Self> {
        let place = Place::of(args)?;
        let report = report.and_then(|arg| arg.report.as_deref());
        let report = report.map(|path| ReportFile::create(path, args.sync)).transpose()?;
        Ok(Self { args, place, report, beside: Vec::new() })
    }

    /// Refuses a device whose sectors are not those that partition tables of this program count in.
    pub fn check_for_partition_table(&self) -> anyhow::Result<()> {
        if let Place::Device(device) = &self.place {
            let sector = device.sector().context("cannot find the size of the device's sectors")?;
            ensure!(
                sector == SECTOR,
                "the device has sectors of {sector} bytes, and the partition table is for sectors of {SECTOR}"
            );
        }
        Ok(())
    }

    /// Lets a file appear with the image.
    pub fn add(&mut self, file: Option<OutputFile>) {
        self.beside.extend(file);
    }

    /// The file or device.
    pub fn file(&self) -> &File {
        match &self.place {
            Place::File(output) => output.file(),
            Place::Device(device) => device.file(),
        }
    }

    /// Lays the image out and has it filled.
    pub fn write<R>(
        &self,
        size: ByteCount,
        allocated: &[GuestRange],
        compression: Option<Compression>,
        fill: impl FnOnce(&ImageFile<'_>) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        let image = match (&self.place, compression) {
            (Place::File(output), None) => {
                ImageFile::create(output.file(), self.args.format, size, allocated)
            }
            (Place::File(output), Some(compression)) => {
                ImageFile::create_compressed(output.file(), compression, size, allocated)
            }
            (Place::Device(device), _) => {
                device.begin(size)?;
                ImageFile::overwrite(device.file(), size, allocated)
            }
        };
        let image = image.with_context(|| format!("cannot write `{}`", self.args.output.display()))?;
        let filled = fill(&image).map_err(|error| self.named(error, allocated))?;
        image.finish().map_err(|error| self.named(error.into(), allocated))?;
        Ok(filled)
    }

    /// Names the image in a failure of the system, since the library has only an open file. On a full disk it matters how
    /// much has to be written too.
    fn named(&self, error: anyhow::Error, allocated: &[GuestRange]) -> anyhow::Error {
        let of_system = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
        let Some(kind) = of_system.map(io::Error::kind) else { return error };
        let shown = self.args.output.display();
        let bytes = ByteCount(allocated.iter().map(|range| range.end.0.saturating_sub(range.start.0)).sum());
        // An empty disk takes no more than its tables.
        if kind != io::ErrorKind::StorageFull || bytes.0 == 0 {
            return error.context(format!("cannot write `{shown}`"));
        }
        error.context(format!("cannot write `{shown}`, which takes up to {bytes}"))
    }

    /// Lets the image appear with what is beside it, or waits until all is on the device.
    pub fn finish(self) -> anyhow::Result<()> {
        self.beside.into_iter().try_for_each(OutputFile::finish)?;
        match self.place {
            Place::File(output) => Ok(output.finish()?),
            Place::Device(device) => Ok(device.finish()?),
        }
    }

    /// Reads the image back for the report, if there is to be one, and lets all outputs appear, the report last.
    pub fn finish_with_report<C: Serialize>(
        mut self,
        size: ByteCount,
        contents: C,
        fixed: BTreeMap<&'static str, String>,
        reporter: &Reporter,
    ) -> anyhow::Result<Finished> {
        let (output, format) = (&self.args.output, self.args.format.name());
        let (image_bytes, on_disk) = match &self.place {
            Place::File(output) => {
                let metadata = output.file().metadata();
                let metadata = metadata.with_context(|| {
                    format!("cannot examine the finished image `{}`", self.args.output.display())
                })?;
                let on_disk = ByteCount(metadata.blocks().saturating_mul(STAT_BLOCK));
                (ByteCount(metadata.len()), format!(" ({on_disk} on disk)"))
            }
            Place::Device(_) => (size, String::new()),
        };
        let summary = format!("{}: {format} of {size}{on_disk}", output.display());
        let note_on_gpt = self.note_on_gpt(size);
        let Some(file) = self.report.take() else {
            self.finish()?;
            return Ok(Finished { image_bytes, summary, note_on_gpt });
        };
        let sha256 = digest(self.file(), image_bytes, reporter).with_context(|| {
            format!("cannot read the finished image `{}` back", self.args.output.display())
        })?;
        self.finish()?;
        file.finish(&Report {
            program: Program::current(reporter.arguments())?,
            image: shown(output.as_os_str().as_encoded_bytes()),
            format,
            image_bytes: image_bytes.0,
            virtual_bytes: size.0,
            contents,
            sha256,
            phases: reporter.phases(),
            fixed,
        })?;
        Ok(Finished { image_bytes, summary, note_on_gpt })
    }

    /// What there is to know about a GPT whose disk of `size` is smaller than the device.
    fn note_on_gpt(&self, size: ByteCount) -> Option<String> {
        let Place::Device(device) = &self.place else { return None };
        let rest = device.size().0.checked_sub(size.0).filter(|&rest| rest > 0).map(ByteCount)?;
        Some(format!(
            "the backup of the partition table is at the image's end, {rest} before the device's; \
             `sgdisk --move-second-header {0}` moves it, or give a --size that fills the device",
            self.args.output.display()
        ))
    }
}

impl Place {
    /// Begins a file, or opens the device.
    fn of(args: &ImageArgs) -> anyhow::Result<Self> {
        let path = &args.output;
        if !OutputDevice::is_at(path) {
            return Ok(Self::File(OutputFile::create(path)?.durable(args.sync.sync)));
        }
        let shown = path.display();
        ensure!(
            args.force,
            "`{shown}` is a block device, and all on it would be lost; give --force and --format raw to overwrite it"
        );
        ensure!(
            args.format == Format::Raw,
            "`{shown}` is a block device, which takes no {} image; give --format raw",
            args.format.name()
        );
        Ok(Self::Device(OutputDevice::open(path)?))
    }
}

/// What there is to say of a finished image.
pub struct Finished {
    /// The length of the file.
    pub image_bytes: ByteCount,
    /// Where it is, its container and size, and what it takes of its file system; a device has no such figure.
    pub summary: String,
    /// What to do where it has a GPT and is smaller than its device.
    pub note_on_gpt: Option<String>,
}
