//! What can go wrong between a GRUB package and a disk that boots by it.

use std::io;
use std::path::PathBuf;

use super::package::PLATFORM;
use crate::boot::toplevel::{EXTRA_INITRD, ToplevelError};
use crate::error_kind::ErrorKind;
use crate::nix::store_path::{ResolveError, StorePath};
use crate::units::Lba;

/// GRUB cannot be installed as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum GrubError {
    /// A file or directory of the GRUB package could not be read.
    #[error("cannot read `{file}` of GRUB; the GRUB package must hold the BIOS platform, lib/grub/i386-pc")]
    Read { file: PathBuf, source: io::Error },
    /// A link, directory or pipe has the name of a file of the GRUB package.
    #[error("`{file}` is not a regular file, as it must be in a GRUB package")]
    NotAFile { file: PathBuf },
    /// A file of the GRUB package is far larger than any of GRUB's.
    #[error("`{file}` has {size} bytes, and a file of GRUB at most {limit}; is it GRUB's?")]
    FileTooLarge {
        file: PathBuf,
        size: u64,
        /// The largest that is read, in bytes.
        limit: u64,
    },
    /// `moddep.lst` has a line that is not `module: module…`.
    #[error("`{file}`, line {line}: {problem}")]
    Dependencies { file: PathBuf, line: usize, problem: &'static str },
    /// A module that `moddep.lst` does not name.
    #[error("`{file}` has no module `{module}`; a module is named without `.mod`, as in `part_gpt`")]
    UnknownModule {
        file: PathBuf,
        /// The module asked for, by the caller or by another module.
        module: String,
    },
    /// A module that needs itself could never be loaded.
    #[error("`{file}`: the module `{module}` depends on itself, through `{through}`")]
    DependencyCycle {
        file: PathBuf,
        module: String,
        /// The module whose line closes the circle.
        through: String,
    },
    /// A file is not the image that its name says.
    #[error("`{file}` is not GRUB's image of that name: {problem}")]
    NotAnImage { file: PathBuf, problem: String },
    /// The prefix cannot be embedded.
    #[error("the GRUB prefix {0:?} holds a NUL character, which would cut it short")]
    Prefix(String),
    /// Something does not fit a 32-bit length.
    #[error("{0} is larger than GRUB's 32-bit lengths allow")]
    TooLargeToEmbed(String),
    /// The encoder failed.
    #[error("cannot compress the core image of GRUB")]
    Compress(#[source] io::Error),
    /// The core image would run into memory that the BIOS uses.
    #[error(
        "the core image of GRUB has {sectors} sectors, and only {limit} fit into the memory that a BIOS \
         leaves free below 512 KiB; embed fewer modules"
    )]
    CoreTooLargeForMemory {
        sectors: u64,
        /// The sectors that can be loaded.
        limit: u64,
    },
    /// The core image is larger than the BIOS boot partition, or than the gap before the first partition.
    #[error(
        "the core image of GRUB has {sectors} sectors, and the place for it only {available}; embed fewer modules"
    )]
    CoreTooLargeForPartition { sectors: u64, available: u64 },
    /// The sectors of a partition that GRUB cannot be put on.
    #[error("the BIOS boot partition cannot start at sector {}", .0.0)]
    PartitionStart(Lba),
    /// A text that would end a line of `grub.cfg`, or show as garbage.
    #[error("the {what} {text:?} holds the control character {character:?}, which a GRUB menu cannot have")]
    ControlCharacter { what: &'static str, text: String, character: char },
    /// A kernel parameter that GRUB would change on the way to the kernel.
    #[error("GRUB cannot hand over the kernel parameter `{parameter}` unchanged: {problem}")]
    Parameter { parameter: String, problem: &'static str },
    /// A quotation mark without its partner.
    #[error("the kernel parameters of `{entry}` hold an odd number of double quotes, from `{parameter}` on")]
    UnbalancedQuote {
        /// The title of the menu entry.
        entry: String,
        /// The parameter with the last quote.
        parameter: String,
    },
    /// More parameters than a kernel takes.
    #[error(
        "the command line of `{entry}` has {length} bytes, {in_front} of them `BOOT_IMAGE=…`, which GRUB puts in front; \
         {kernel} takes at most {limit} and GRUB drops the rest, so give it fewer parameters"
    )]
    CommandLineTooLong {
        /// The title of the menu entry.
        entry: String,
        /// The length of the command line.
        length: usize,
        /// How much of it is not the system's.
        in_front: usize,
        kernel: PathBuf,
        limit: usize,
    },
    /// GRUB would not start the kernel.
    #[error("the kernel `{kernel}` cannot be started by GRUB: {problem}; name the kernel's bzImage")]
    Kernel { kernel: PathBuf, problem: String },
    /// There is nowhere to read it from.
    #[error(
        "`{EXTRA_INITRD}` of `{entry}` names {path} on the EFI system partition, and this disk has none; \
         use a partition table with one"
    )]
    NoEsp {
        /// The title of the menu entry.
        entry: String,
        /// The path of the initial RAM disk from the partition's root.
        path: String,
    },
    /// GRUB for BIOS runs on one kind of machine.
    #[error("GRUB for BIOS boots x86_64 and i686 systems, and {toplevel} is for {system}")]
    System { toplevel: StorePath, system: String },
    /// The toplevel leads to no GRUB.
    #[error("{toplevel} refers to no GRUB for BIOS")]
    NotReferredTo { toplevel: StorePath },
    /// The toplevel leads to several.
    #[error("{toplevel} refers to {first} and to {second}")]
    Ambiguous { toplevel: StorePath, first: StorePath, second: StorePath },
    /// The store path that was named has no GRUB for BIOS.
    #[error("`{grub}` is not a GRUB for BIOS, with `{PLATFORM}`")]
    NotGrub { grub: StorePath, source: ResolveError },
    /// A menu in graphics needs a font.
    #[error("cannot find a font for a menu in graphics")]
    Font { source: ResolveError },
    /// What may lead to a GRUB cannot be read.
    #[error(transparent)]
    Toplevel(#[from] ToplevelError),
}

impl GrubError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Compress(source) => ErrorKind::of(source),
            Self::TooLargeToEmbed(_)
            | Self::CoreTooLargeForMemory { .. }
            | Self::CoreTooLargeForPartition { .. }
            | Self::CommandLineTooLong { .. } => ErrorKind::TooLarge,
            Self::System { .. } | Self::Parameter { .. } => ErrorKind::Unsupported,
            Self::NotReferredTo { .. } | Self::NotGrub { .. } | Self::Font { .. } => ErrorKind::NotFound,
            Self::Toplevel(error) => error.kind(),
            _ => ErrorKind::InvalidInput,
        }
    }
}
