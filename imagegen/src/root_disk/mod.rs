//! The root disk: an ext4 file system on which a guest's Nix knows its store from the first boot on.

mod database;
mod directory;
mod skeleton;

use crate::closure::{Closure, Registered, database as source};
use crate::container::Sink;
use crate::content::Content;
use crate::ext4::{self, ContentError, Ext4Error};
use crate::progress::Progress;
use crate::store_image::{self, StoreImageError, Verified};
use crate::store_path::StorePath;
use crate::tree::TreeError;
use crate::units::{ByteCount, GuestRange};

pub use database::DatabaseError;
pub use directory::Files;

/// What the disk holds.
#[derive(Debug, Clone, Copy)]
pub struct Options<'o> {
    /// What the system profile leads to; no profile without.
    pub toplevel: Option<&'o StorePath>,
    /// The store itself too, and not only its database.
    pub with_store: bool,
}

/// Why a root disk cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RootDiskError {
    /// The profile would lead nowhere.
    #[error("the toplevel {0} is not in the closure; name it with --closure, or register its closure")]
    Toplevel(StorePath),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Too many files.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The file system.
    #[error("cannot lay out the file system")]
    FileSystem(#[from] Ext4Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreImageError),
    /// The other files.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Puts together all files of the disk. Every path of the closure must have its hash
/// ([`crate::closure::fill_in_hashes`]).
pub fn files(closure: &Closure, options: Options<'_>) -> Result<Files, RootDiskError> {
    let paths = closure.registration.paths();
    if let Some(toplevel) = options.toplevel
        && !paths.iter().any(|Registered { path, .. }| path == toplevel)
    {
        return Err(RootDiskError::Toplevel(toplevel.clone()));
    }
    let mut root = skeleton::root(options.toplevel, !options.with_store);
    skeleton::add_database(&mut root, source::SCHEMA, database::bytes(paths)?);
    if options.with_store {
        root.store("nix/store", 0o1775, &closure.tree);
    }
    Ok(root.into_files()?)
}

/// A root disk, laid out to the last block.
pub struct Plan<'f> {
    files: &'f Files,
    file_system: FileSystem<'f>,
}

enum FileSystem<'f> {
    Plain(ext4::Plan<'f>),
    WithStore(store_image::Plan<'f>),
}

/// Lays out the file system for `files`, made of `closure`; if `verify`, the sizes of the store's paths are compared
/// with their registration.
pub fn plan<'f>(
    closure: &'f Closure,
    files: &'f Files,
    options: &ext4::Options,
    verify: bool,
    progress: &dyn Progress,
) -> Result<Plan<'f>, RootDiskError> {
    let file_system = match files.store {
        None => FileSystem::Plain(ext4::plan(&files.tree, options)?),
        Some(store) => FileSystem::WithStore(store_image::plan_within(
            closure,
            &files.tree,
            store,
            options,
            verify,
            progress,
        )?),
    };
    Ok(Plan { files, file_system })
}

impl Plan<'_> {
    /// The size of the file system.
    pub fn size(&self) -> ByteCount {
        self.ext4().size()
    }

    /// Where bytes other than zeros may come to lie.
    pub fn allocated(&self) -> Vec<GuestRange> {
        self.ext4().allocated()
    }

    /// Writes the file system; if `verify`, the store's paths are compared with their hashes on the way.
    pub fn write(
        &self,
        sink: &impl Sink,
        verify: bool,
        progress: &dyn Progress,
    ) -> Result<Verified, RootDiskError> {
        let verified = match &self.file_system {
            FileSystem::WithStore(plan) => plan.write(sink, verify, progress)?,
            FileSystem::Plain(plan) => {
                plan.write_metadata(sink).map_err(StoreImageError::Metadata)?;
                Verified::default()
            }
        };
        progress.begin("write", self.files.contents.iter().map(|(_, content)| Content::size(content)).sum());
        for (node, content) in &self.files.contents {
            self.ext4().write_content(*node, content, sink, progress)?;
        }
        progress.end();
        Ok(verified)
    }

    fn ext4(&self) -> &ext4::Plan<'_> {
        match &self.file_system {
            FileSystem::Plain(plan) => plan,
            FileSystem::WithStore(plan) => plan.file_system(),
        }
    }
}
