//! Where an image goes, with its report and whatever else appears together with it: a file that appears whole, or a block
//! device if that is allowed.

use std::collections::BTreeMap;
use std::env::temp_dir;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, ensure};
use imagegen::container::{Compression, Format, ImageFile};
use imagegen::output::{OutputDevice, OutputFile};
use imagegen::text::shown;
use imagegen::units::{ByteCount, GuestRange, SECTOR};
use serde::Serialize;

use crate::cli::{ImageArgs, ReportArg};
use crate::digest::{digest, digest_while_writing, line};
use crate::progress::Reporter;
use crate::report::{Decided, Program, Report, ReportFile};
use crate::streams::{for_bytes, print, printed, say};

/// The unit of `st_blocks` (stat(3type)), whatever the file system's blocks are.
const STAT_BLOCK: u64 = 512;

/// An image that is being written.
pub struct ImageOutput<'a> {
    args: &'a ImageArgs,
    place: Place,
    report: Option<ReportFile>,
    /// Files that appear with it.
    beside: Vec<OutputFile>,
    decided: Vec<Decided>,
}

enum Place {
    File(OutputFile),
    Device(OutputDevice),
    /// Standard output, and the file without a name in which the image is put together (docs/adr/0141).
    Stream(File, File),
}

impl<'a> ImageOutput<'a> {
    /// Begins the image and its report, so that what cannot be written is told before the work. Nothing is changed yet.
    pub fn begin(args: &'a ImageArgs, report: Option<&ReportArg>) -> anyhow::Result<Self> {
        let place = Place::of(args)?;
        let report = report.and_then(|arg| arg.report.as_deref());
        let report = report.map(|path| ReportFile::create(path, args.sync)).transpose()?;
        Ok(Self { args, place, report, beside: Vec::new(), decided: Vec::new() })
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

    /// Notes for the report which values an option has that other options or the inputs decided.
    pub fn decide(&mut self, option: &'static str, values: impl IntoIterator<Item = impl Display>) {
        let values = values.into_iter().map(|value| format!("={value}")).collect();
        self.decided.push(Decided { option, values });
    }

    /// The same for an option that takes paths.
    pub fn decide_paths(&mut self, option: &'static str, paths: impl IntoIterator<Item = impl AsRef<Path>>) {
        let paths = paths.into_iter().map(|path| shown(path.as_ref().as_os_str().as_encoded_bytes()));
        self.decide(option, paths);
    }

    /// The same for an option that takes no value.
    pub fn decide_flag(&mut self, option: &'static str) {
        self.decided.push(Decided { option, values: vec![String::new()] });
    }

    /// The file or device.
    pub fn file(&self) -> &File {
        match &self.place {
            Place::File(output) => output.file(),
            Place::Device(device) => device.file(),
            Place::Stream(_, file) => file,
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
            (Place::Device(device), _) => {
                device.begin(size)?;
                ImageFile::overwrite(device.file(), size, allocated)
            }
            (_, None) => ImageFile::create(self.file(), self.args.format, size, allocated),
            (_, Some(compression)) => ImageFile::create_compressed(self.file(), compression, size, allocated),
        };
        let image = image.with_context(|| self.failure())?;
        let filled = fill(&image).map_err(|error| self.named(error, allocated))?;
        image.finish().map_err(|error| self.named(error.into(), allocated))?;
        Ok(filled)
    }

    /// Names the image in a failure of the system, since the library has only an open file. On a full disk it matters how
    /// much has to be written too.
    fn named(&self, error: anyhow::Error, allocated: &[GuestRange]) -> anyhow::Error {
        let of_system = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
        let Some(kind) = of_system.map(io::Error::kind) else { return error };
        let failure = self.failure();
        let bytes = ByteCount(allocated.iter().map(|range| range.end.0.saturating_sub(range.start.0)).sum());
        // An empty disk takes no more than its tables.
        if kind != io::ErrorKind::StorageFull || bytes.0 == 0 {
            return error.context(failure);
        }
        error.context(format!("{failure}, which takes up to {bytes}"))
    }

    /// What has failed if the image cannot be written.
    fn failure(&self) -> String {
        match self.place {
            Place::Stream(..) => format!(
                "cannot put the image for standard output together in `{}` (TMPDIR names another directory)",
                temp_dir().display()
            ),
            _ => format!("cannot write `{}`", self.args.name()),
        }
    }

    /// Lets the image appear, and tells its digest if that is asked for.
    pub fn finish(self, size: ByteCount, reporter: &Reporter) -> anyhow::Result<()> {
        let (args, (length, _)) = (self.args, self.length_and_blocks(size)?);
        let sha256 = self.appear(length, args.digest, reporter)?;
        tell_digest(args, sha256.as_deref())
    }

    /// The length of the finished image, and what it takes on disk if that is known.
    fn length_and_blocks(&self, size: ByteCount) -> anyhow::Result<(ByteCount, Option<ByteCount>)> {
        if let Place::Device(_) = self.place {
            return Ok((size, None));
        }
        let metadata = self
            .file()
            .metadata()
            .with_context(|| format!("cannot examine the finished image `{}`", self.args.name()))?;
        let blocks = match self.place {
            Place::File(_) => Some(ByteCount(metadata.blocks().saturating_mul(STAT_BLOCK))),
            _ => None,
        };
        Ok((ByteCount(metadata.len()), blocks))
    }

    /// Lets the image appear with what is beside it, or waits until all is on the device, or copies it to standard output.
    /// Gives its digest if that is wanted.
    fn appear(
        self,
        length: ByteCount,
        is_wanted: bool,
        reporter: &Reporter,
    ) -> anyhow::Result<Option<String>> {
        let cannot_read = format!("cannot read the finished image `{}` back", self.args.name());
        let sha256 = match &self.place {
            Place::Stream(stream, file) => {
                let copied = digest_while_writing(file, length, &mut &*stream, is_wanted, reporter);
                let (sha256, written) = copied.context(cannot_read)?;
                printed(written)?;
                sha256
            }
            _ if is_wanted => Some(digest(self.file(), length, reporter).context(cannot_read)?),
            _ => None,
        };
        self.beside.into_iter().try_for_each(OutputFile::finish)?;
        match self.place {
            Place::File(output) => output.finish()?,
            Place::Device(device) => device.finish()?,
            Place::Stream(..) => {}
        }
        Ok(sha256)
    }

    /// Reads the image back for the report, if there is to be one, and lets all outputs appear, the report last.
    pub fn finish_with_report<C: Serialize>(
        mut self,
        size: ByteCount,
        contents: C,
        fixed: BTreeMap<&'static str, String>,
        reporter: &Reporter,
    ) -> anyhow::Result<Finished> {
        let (args, format) = (self.args, self.args.format.name());
        let (image_bytes, blocks) = self.length_and_blocks(size)?;
        let on_disk = blocks.map(|blocks| format!(" ({blocks} on disk)")).unwrap_or_default();
        let summary = format!("{}: {format} of {size}{on_disk}", args.name());
        let note_on_gpt = self.note_on_gpt(size);
        let (report, decided) = (self.report.take(), std::mem::take(&mut self.decided));
        let sha256 = self.appear(image_bytes, report.is_some() || args.digest, reporter)?;
        if let Some((file, sha256)) = report.zip(sha256.clone()) {
            file.finish(&Report {
                program: Program::current(reporter.arguments(), &decided)?,
                image: shown(args.output.as_os_str().as_encoded_bytes()),
                format,
                image_bytes: image_bytes.0,
                virtual_bytes: size.0,
                contents,
                sha256,
                phases: reporter.phases(),
                fixed,
            })?;
        }
        tell_digest(args, sha256.as_deref())?;
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
        if args.file().is_none() {
            let stream = for_bytes("`-o -`")?;
            let file = tempfile::tempfile().with_context(|| {
                format!(
                    "cannot create a temporary file in `{}`, where the image for standard output is put together; set \
                     TMPDIR to another directory",
                    temp_dir().display()
                )
            })?;
            return Ok(Self::Stream(stream, file));
        }
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

/// Prints the digest for `sha256sum --check`: where the image itself is printed, on stderr.
fn tell_digest(args: &ImageArgs, sha256: Option<&str>) -> anyhow::Result<()> {
    match sha256.filter(|_| args.digest) {
        None => Ok(()),
        Some(sha256) if args.file().is_some() => print(line(sha256, &args.output)),
        Some(sha256) => {
            say(&format!("{sha256}  -"));
            Ok(())
        }
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
