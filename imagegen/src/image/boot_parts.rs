//! What a disk boots by: its partition table, GRUB's core image and the EFI system partition.

use std::io;

use crate::boot::Installed;
use crate::boot::grub::{self, GrubError, Installation};
use crate::container::Sink;
use crate::disk::layout::{Content, Layout, LayoutError, Table};
use crate::error_kind::{ErrorKind, InternalError};
use crate::fs::fat::{self, Contents, Fat, FatError};
use crate::job::Job;
use crate::units::{GuestOffset, GuestRange, length};

/// What does not fit on a disk that is to boot, or cannot be written to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum BootPartsError {
    /// The partitions.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The EFI system partition.
    #[error(transparent)]
    Esp(#[from] FatError),
    /// GRUB does not fit, or has not the files that it should have.
    #[error(transparent)]
    Grub(#[from] GrubError),
    /// The partition table cannot be made.
    #[error(transparent)]
    Internal(#[from] InternalError),
    /// The image cannot be written.
    #[error("cannot write the {part} of the disk")]
    Write { part: &'static str, source: io::Error },
}

impl BootPartsError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Layout(error) => error.kind(),
            Self::Write { source, .. } => ErrorKind::of(source),
            Self::Esp(error) => error.kind(),
            Self::Grub(error) => error.kind(),
            Self::Internal(error) => error.kind(),
        }
    }

    /// Whether more room may help.
    pub(super) fn is_lack_of_room(&self) -> bool {
        matches!(self, Self::Layout(LayoutError::NoRoom { .. })) || self.is_full()
    }

    /// Whether a larger EFI system partition may help.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Esp(FatError::TooSmall { .. } | FatError::Full { .. }))
    }
}

/// All of it, laid out.
#[derive(Debug, Clone)]
pub(super) struct BootParts {
    layout: Layout,
    table: Table,
    grub: Option<Installation>,
    esp: Option<fat::Plan>,
}

impl BootParts {
    /// Lays out what loaders put there. The EFI system partition has the `contents`, and is of the kind `fat`, or of
    /// mkfs.fat's choice.
    pub(super) fn plan(
        layout: Layout,
        installed: &Installed,
        contents: &Contents,
        fat: Option<Fat>,
    ) -> Result<Self, BootPartsError> {
        let esp = layout.part(Content::Fat).map(|part| fat::plan(part, contents, fat)).transpose()?;
        let mut table = layout.table()?;
        let mut grub = None;
        if let Some((directory, core)) = &installed.grub {
            let (Some(gap), Some(mbr)) = (layout.part(Content::GrubCore), table.mbr()) else {
                return Err(InternalError::new("the disk has no part for GRUB's core image").into());
            };
            let installation = grub::install(directory, core, &(gap.first..=gap.last), mbr)?;
            table.set_boot_sector(&installation.boot_sector);
            grub = Some(installation);
        }
        Ok(Self { layout, table, grub, esp })
    }

    /// Where everything lies.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The files and directories of the EFI system partition.
    pub(super) fn contents(&self) -> Option<&Contents> {
        self.esp.as_ref().map(fat::Plan::contents)
    }

    /// What [`BootParts::write`] writes, each with its name and offset, but for the EFI system partition.
    fn pieces(&self) -> impl Iterator<Item = (&'static str, GuestOffset, &[u8])> {
        let core = self
            .grub
            .as_ref()
            .map_or((GuestOffset(0), &[][..]), |grub| (grub.core_start.offset(), grub.core.as_slice()));
        let all = [
            ("partition table", GuestOffset(0), self.table.head.as_slice()),
            ("core image of GRUB", core.0, core.1),
            ("backup of the partition table", self.layout.tail_start(), self.table.tail.as_slice()),
        ];
        all.into_iter().filter(|(.., bytes)| !bytes.is_empty())
    }

    /// The ranges that it writes, sorted and disjoint, with the `others` in their places.
    pub(super) fn allocated(&self, others: impl IntoIterator<Item = GuestRange>) -> Vec<GuestRange> {
        let pieces = self.pieces().map(|(_, start, bytes)| start..start.advanced(length(bytes.len())));
        let mut ranges: Vec<GuestRange> = pieces.chain(others).collect();
        ranges.extend(self.esp.iter().flat_map(fat::Plan::allocated));
        ranges.retain(|range| !range.is_empty());
        ranges.sort_by_key(|range| range.start);
        ranges
    }

    /// Writes all of it, as the phase of this name; nothing on a disk without a partition table.
    pub(super) fn write(
        &self,
        phase: &'static str,
        sink: &dyn Sink,
        job: &Job<'_>,
    ) -> Result<(), BootPartsError> {
        if self.table.head.is_empty() {
            return Ok(());
        }
        job.progress.begin(phase, self.contents().map_or(0, Contents::file_bytes));
        for (part, start, bytes) in self.pieces() {
            sink.data(start, bytes).map_err(|source| BootPartsError::Write { part, source })?;
        }
        if let Some(esp) = &self.esp {
            esp.write(sink, job)?;
        }
        job.progress.end();
        Ok(())
    }
}
