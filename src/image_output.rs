//! What every command does that writes an image: it keeps outputs apart from inputs, writes, reads back for the report,
//! and lets all outputs appear together.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use imagegen::container::{Compression, ImageFile};
use imagegen::output::{self, OutputFile};
use imagegen::text::shown;
use imagegen::units::{ByteCount, GuestRange};
use serde::Serialize;

use crate::cli::{ImageArgs, ReportArg};
use crate::progress::Reporter;
use crate::report::{Program, Report, ReportFile};
use crate::target::Target;

/// Refuses outputs, each with its name for people, that would destroy an input or one another.
pub fn check_apart<'p>(
    outputs: impl IntoIterator<Item = (&'static str, Option<&'p Path>)>,
    inputs: &[impl AsRef<Path>],
) -> anyhow::Result<()> {
    let mut before: Vec<(&str, &Path)> = Vec::new();
    for (what, output) in outputs {
        let Some(output) = output else { continue };
        output::check_apart(output, inputs.iter().map(AsRef::as_ref))?;
        let place = output::place_of(output);
        if let Some((other, _)) = before.iter().find(|(_, other)| output::place_of(other) == place) {
            bail!("{other} and {what} cannot both be `{}`", output.display());
        }
        before.push((what, output));
    }
    Ok(())
}

/// An image that is being written.
pub struct ImageJob<'a> {
    args: &'a ImageArgs,
    reporter: &'a Reporter,
    target: Target,
    report: Option<ReportFile>,
    /// Files that appear with it.
    beside: Vec<OutputFile>,
}

impl<'a> ImageJob<'a> {
    /// Begins the image and its report, so that what cannot be written is told before the work. Nothing appears yet.
    pub fn begin(
        args: &'a ImageArgs,
        report: Option<&ReportArg>,
        reporter: &'a Reporter,
    ) -> anyhow::Result<Self> {
        let target = Target::create(args)?;
        let report = report.and_then(|arg| arg.report.as_deref());
        let report = report.map(|path| ReportFile::create(path, args.sync)).transpose()?;
        Ok(Self { args, reporter, target, report, beside: Vec::new() })
    }

    /// Where it goes.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Lets a file appear with the image.
    pub fn add(&mut self, file: Option<OutputFile>) {
        self.beside.extend(file);
    }

    /// Lays the image out and has it filled.
    pub fn write<R>(
        &self,
        size: ByteCount,
        allocated: &[GuestRange],
        compression: Option<Compression>,
        fill: impl FnOnce(&ImageFile<'_>) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        let image = self.target.image(size, allocated, compression)?;
        let filled = fill(&image)?;
        image.finish()?;
        Ok(filled)
    }

    /// Lets all outputs appear, the report last.
    pub fn finish<C: Serialize>(
        self,
        size: ByteCount,
        contents: C,
        fixed: BTreeMap<&'static str, String>,
    ) -> anyhow::Result<Finished> {
        let image_bytes = self.target.length(size)?;
        let on_disk = self.target.on_disk()?.map(|bytes| format!(" ({bytes} on disk)")).unwrap_or_default();
        let (output, format) = (&self.args.output, self.args.format.name());
        let summary = format!("{}: {format} of {size}{on_disk}", output.display());
        let note_on_gpt = self.target.note_on_gpt(size);
        let sha256 =
            self.report.as_ref().map(|_| self.target.digest(image_bytes, self.reporter)).transpose()?;
        self.beside.into_iter().try_for_each(OutputFile::finish)?;
        self.target.finish()?;
        if let (Some(report), Some(sha256)) = (self.report, sha256) {
            report.finish(&Report {
                program: Program::current(self.reporter.arguments())?,
                image: shown(output.as_os_str().as_encoded_bytes()),
                format,
                image_bytes: image_bytes.0,
                virtual_bytes: size.0,
                contents,
                sha256,
                phases: self.reporter.phases(),
                fixed,
            })?;
        }
        Ok(Finished { image_bytes, summary, note_on_gpt })
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
