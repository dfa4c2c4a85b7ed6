//! The root disk: an ext4 file system on which a guest's Nix knows its store from the first boot on, and around it, if
//! asked for, all that it takes to boot from the same disk.

mod database;
mod directory;
mod partition_table;
mod skeleton;

use super::boot_parts::{BootParts, BootPartsError};
use super::smallest_disk::smallest;
use crate::boot::grub::BootDirectory;
use crate::boot::{Generation, Generations, Installed, Loader, Loaders};
use crate::container::{Part, Sink, ranges_of_part};
use crate::disk::layout::{Content, Layout};
use crate::error_kind::{ErrorKind, Failure};
use crate::fixed;
use crate::fs::ext4::{self, Ext4Error, FileDataError, SavedByLinks, Size};
use crate::fs::fat::{Contents, Fat};
use crate::fs::file_source::FileSource;
use crate::fs::file_tree::Counts;
use crate::image::store_image::{self, StoreImageError, Verified};
use crate::job::Job;
use crate::nix::closure::Closure;
use crate::nix::store_path::StorePath;
use crate::nix::{Registered, database as source};
use crate::units::{ByteCount, GuestOffset, GuestRange};

pub use database::{DatabaseError, bytes as database};
pub use partition_table::{BOOT_END, PartitionTable};

use directory::Files;
use partition_table::ESP_NUMBER;

/// What the disk holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options<'o> {
    /// The system profile; none without.
    pub profile: Option<Profile<'o>>,
    /// The store itself too, and not only its database.
    pub with_store: bool,
    /// How the disk is divided.
    pub table: PartitionTable,
    /// What it boots by. The files go to the EFI system partition or, where there is none, to the root file system.
    pub loaders: Loaders,
    /// The kind of the EFI system partition's file system; mkfs.fat's choice if none.
    pub fat: Option<Fat>,
    /// The root file system; a fixed size is that of the whole disk.
    pub file_system: ext4::Options,
}

impl Options<'_> {
    /// A disk that is this file system as a whole, without store, profile and boot loaders.
    pub fn new(file_system: ext4::Options) -> Self {
        let (table, loaders) = (PartitionTable::None, Loaders::default());
        Self { profile: None, with_store: false, table, loaders, fat: None, file_system }
    }

    /// Where GRUB's files are on such a disk.
    pub fn boot_directory(&self) -> BootDirectory {
        if self.table.has_esp() {
            BootDirectory::Esp { partition: ESP_NUMBER, volume_id: fixed::ESP_VOLUME_ID }
        } else {
            BootDirectory::Root { uuid: self.file_system.uuid, with_store: self.with_store }
        }
    }
}

/// The systems of a machine, by their numbers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Profile<'o> {
    /// Every generation.
    pub generations: Vec<(u32, &'o StorePath)>,
    /// The number of the one that is in force.
    pub current: u32,
}

impl<'o> Profile<'o> {
    /// A profile of one generation, number 1.
    pub fn of(toplevel: &'o StorePath) -> Self {
        Self { generations: vec![(1, toplevel)], current: 1 }
    }
}

impl<'o> From<&'o Generations> for Profile<'o> {
    fn from(generations: &'o Generations) -> Self {
        let numbered = |generation: &'o Generation| (generation.number, &generation.system.toplevel);
        Self {
            generations: generations.list().iter().map(numbered).collect(),
            current: generations.default().number,
        }
    }
}

/// Why a root disk cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum RootDiskError {
    /// The profile would lead nowhere.
    #[error("the toplevel {0} is not in the closure")]
    Toplevel(StorePath),
    /// GRUB would look for the files of a system where nothing is.
    #[error("{0}, which a system starts, is not in the closure")]
    NotInClosure(StorePath),
    /// A loader that such a disk does not boot by.
    #[error("{loader} has no place on a disk with {table}")]
    Loader { loader: Loader, table: PartitionTable },
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Too many files.
    #[error(transparent)]
    Tree(#[from] Failure),
    /// The file system.
    #[error("cannot lay out the file system")]
    FileSystem(#[from] Ext4Error),
    /// The size was given and is not enough for a disk with this partition table.
    #[error("the files need a disk of {needed} bytes, {} more than {asked}", .needed - .asked)]
    TooSmall { asked: u64, needed: u64 },
    /// What the disk boots by does not fit, or cannot be written.
    #[error(transparent)]
    Parts(#[from] BootPartsError),
    /// What does not fit would on a larger EFI system partition.
    #[error("the EFI system partition is too small")]
    BootSize {
        /// The first end of the partition, in whole MiB, with which it would work.
        enough: ByteCount,
        source: BootPartsError,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreImageError),
    /// The other files.
    #[error(transparent)]
    FileSource(#[from] FileDataError),
}

impl RootDiskError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Toplevel(_) | Self::NotInClosure(_) | Self::Loader { .. } => ErrorKind::InvalidInput,
            Self::TooSmall { .. } | Self::BootSize { .. } => ErrorKind::TooLarge,
            Self::Database(error) => error.kind(),
            Self::Tree(error) => error.kind(),
            Self::FileSystem(error) => error.kind(),
            Self::Parts(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::FileSource(error) => error.kind(),
        }
    }
}

/// A root disk whose files are known. It takes its options once, so that its files are those that it is laid out for.
///
/// ```compile_fail
/// # use imagegen::image::root_disk::{Options, RootDisk};
/// # use imagegen::job::Job;
/// fn lay_out(disk: &RootDisk<'_>, other: &Options<'_>) {
///     disk.plan(other, &Job::default());
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct RootDisk<'o> {
    closure: &'o Closure,
    options: Options<'o>,
    installed: Installed,
    files: Files,
}

impl<'o> RootDisk<'o> {
    /// Puts together all files of the root file system. Every path of the closure must have its hash
    /// ([`crate::nix::closure::fill_in_hashes`]).
    pub fn new(closure: &'o Closure, options: Options<'o>) -> Result<Self, RootDiskError> {
        let (table, loaders) = (options.table, &options.loaders);
        if let Some(loader) = loaders.iter().find(|loader| !table.loaders().contains(loader)) {
            return Err(RootDiskError::Loader { loader, table });
        }
        let paths = closure.registration.paths();
        let known = |wanted: &StorePath| paths.iter().any(|Registered { path, .. }| path == wanted);
        let directory = options.boot_directory();
        if !directory.copies_kernels()
            && let Some(path) = loaders.paths_for_grub().find(|path| !known(path))
        {
            return Err(RootDiskError::NotInClosure(path.clone()));
        }
        let installed = loaders.install(directory).map_err(BootPartsError::from)?;
        let mut systems = options.profile.iter().flat_map(|profile| &profile.generations);
        if let Some((_, toplevel)) = systems.find(|(_, toplevel)| !known(toplevel)) {
            return Err(RootDiskError::Toplevel((*toplevel).clone()));
        }
        let mut root = skeleton::root(options.profile.as_ref(), !options.with_store);
        skeleton::add_database(&mut root, source::SCHEMA, database::bytes(&closure.registration)?);
        if !table.has_esp() {
            skeleton::add_boot_files(&mut root, &installed.files);
        }
        if options.with_store {
            root.store("nix/store", 0o1775, &closure.tree);
        }
        let files = root.into_files()?;
        Ok(Self { closure, options, installed, files })
    }

    /// Lays out the disk; if the job verifies, the sizes of the store's paths are compared with their registration.
    pub fn plan(&self, job: &Job<'_>) -> Result<Plan<'_>, RootDiskError> {
        let Self { closure, options, installed, files } = self;
        let file_system =
            plan_file_system(closure, files, options, job).map_err(|error| too_small(error, options))?;
        let boot = self.plan_boot(file_system.ext4().size())?;
        Ok(Plan { files, file_system, boot, missing_initrds: &installed.missing_initrds })
    }

    fn plan_boot(&self, file_system: ByteCount) -> Result<BootParts, RootDiskError> {
        let Self { options: Options { table, fat, .. }, installed, .. } = self;
        let esp_files = if table.has_esp() { installed.files.clone() } else { Vec::new() };
        let contents =
            Contents::new(esp_files).map_err(BootPartsError::from)?.labelled(fixed::ROOT_DISK_ESP_LABEL);
        let layout = table.layout(file_system).map_err(BootPartsError::from)?;
        BootParts::plan(layout, installed, &contents, *fat).map_err(|source| {
            let with_end = |end| table.with_boot_end(end).layout(file_system);
            match smallest(1, &contents, *fat, with_end) {
                Some(enough) if source.is_full() => RootDiskError::BootSize { enough, source },
                _ => source.into(),
            }
        })
    }

    /// What it was made of.
    pub fn options(&self) -> &Options<'o> {
        &self.options
    }
}

/// A root disk, laid out to the last block.
#[must_use]
pub struct Plan<'f> {
    files: &'f Files,
    file_system: FileSystem<'f>,
    boot: BootParts,
    missing_initrds: &'f [String],
}

enum FileSystem<'f> {
    Plain(ext4::Plan<'f>),
    WithStore(store_image::Plan<'f>),
}

fn plan_file_system<'f>(
    closure: &'f Closure,
    files: &'f Files,
    options: &Options<'_>,
    job: &Job<'_>,
) -> Result<FileSystem<'f>, RootDiskError> {
    let size = options.table.file_system_size(options.file_system.size).map_err(BootPartsError::from)?;
    let options = ext4::Options { size, ..options.file_system.clone() };
    Ok(match files.store {
        None => FileSystem::Plain(ext4::plan(&files.tree, &options)?),
        Some(store) => {
            let tree = &files.tree;
            let plan = store_image::plan_within(closure, tree, store, &options, job)?;
            FileSystem::WithStore(plan)
        }
    })
}

/// The sizes in such an error are the file system's; whoever gave one means the disk.
fn too_small(error: RootDiskError, options: &Options<'_>) -> RootDiskError {
    let (
        RootDiskError::FileSystem(Ext4Error::TooSmall { needed, .. })
        | RootDiskError::Store(StoreImageError::FileSystem(Ext4Error::TooSmall { needed, .. })),
        Size::Fixed(asked),
        false,
    ) = (&error, options.file_system.size, options.table == PartitionTable::None)
    else {
        return error;
    };
    match options.table.besides() {
        Ok(besides) => RootDiskError::TooSmall { asked: asked.0, needed: needed.saturating_add(besides.0) },
        Err(error) => BootPartsError::from(error).into(),
    }
}

impl Plan<'_> {
    /// The size of the disk.
    pub fn size(&self) -> ByteCount {
        self.layout().size()
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        self.boot.layout()
    }

    /// The initial RAM disks that systems name on the EFI system partition and that nobody puts there.
    pub fn missing_initrds(&self) -> &[String] {
        self.missing_initrds
    }

    /// What is in the root file system, the root directory and the store included.
    pub fn counts(&self) -> Counts {
        self.files.tree.counts(self.files.tree.nodes())
    }

    /// What hard links save in it.
    pub fn saved_by_links(&self) -> SavedByLinks {
        ext4::saved_by_links(&self.files.tree)
    }

    /// Where bytes other than zeros may come to lie, sorted and disjoint.
    pub fn allocated(&self) -> Vec<GuestRange> {
        self.boot.allocated(ranges_of_part(self.root_start(), self.file_system.ext4().allocated()))
    }

    /// Writes the disk; if the job verifies, the store's paths are compared with their hashes on the way.
    pub fn write(&self, sink: &impl Sink, job: &Job<'_>) -> Result<Verified, RootDiskError> {
        self.boot.write("boot", sink, job)?;
        let root = Part::new(sink, self.root_start());
        let verified = match &self.file_system {
            FileSystem::WithStore(plan) => plan.write(&root, job)?,
            FileSystem::Plain(plan) => {
                plan.write_metadata(&root).map_err(StoreImageError::Metadata)?;
                Verified::default()
            }
        };
        job.progress
            .begin("write", self.files.contents.iter().map(|(_, content)| FileSource::size(content)).sum());
        for (node, content) in &self.files.contents {
            self.file_system.ext4().write_content(*node, content, &root, job)?;
        }
        job.progress.end();
        Ok(verified)
    }

    /// Where the root file system begins.
    pub fn root_start(&self) -> GuestOffset {
        // The layout of every root disk has the part.
        self.layout().part(Content::Ext4).map_or(GuestOffset(0), |root| root.first.offset())
    }
}

impl FileSystem<'_> {
    fn ext4(&self) -> &ext4::Plan<'_> {
        match self {
            Self::Plain(plan) => plan,
            Self::WithStore(plan) => plan.file_system(),
        }
    }
}
