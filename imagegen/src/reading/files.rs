//! The files of an ext4 or FAT file system, in the same words for both: names, kinds, permissions, times and contents.
//! Nothing on disk is trusted, and nothing but the file system itself is read.

use crate::container::reader::{ReadError, Source};
use crate::error_kind::ErrorKind;
use crate::fixed::STORE_DIR;
use crate::fs::FileOnDisk;
use crate::fs::ext4::reader as ext4;
use crate::fs::fat::reader as fat;
use crate::host_file::LINKS_MAX;
use crate::reading::probe::Contents;
use crate::text::shown;

pub use crate::fs::ext4::reader::Type;

/// Why files cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The image cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is no file system of these kinds.
    #[error("there is neither an ext4 nor a FAT file system")]
    NoFileSystem,
    /// A path that leads nowhere.
    #[error("there is no `{path}`: `{directory}` has no `{name}`")]
    Missing {
        /// The path, fit for a terminal.
        path: String,
        /// How far it leads.
        directory: String,
        /// The name that is not there.
        name: String,
    },
    /// A path through a file.
    #[error("there is no `{path}`: `{file}` is no directory")]
    NotADirectory {
        /// The path, fit for a terminal.
        path: String,
        /// The file on its way.
        file: String,
    },
    /// Symbolic links that lead in a circle, as far as one can tell.
    #[error("`{0}` leads through more than {LINKS_MAX} symbolic links")]
    Links(String),
    /// A name that no file of a Unix system can have.
    #[error("a directory has the impossible entry `{0}`")]
    Name(String),
    /// Contents are asked of something else than a file.
    #[error("`{path}` is a {kind}, not a regular file")]
    NotAFile {
        /// The path, fit for a terminal.
        path: String,
        /// What it is.
        kind: &'static str,
    },
}

impl FilesError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::NoFileSystem => ErrorKind::Unsupported,
            Self::Missing { .. } => ErrorKind::NotFound,
            _ => ErrorKind::InvalidInput,
        }
    }
}

/// The files of a file system.
pub struct Files<'s>(FileSystem<'s>);

enum FileSystem<'s> {
    Ext4(Box<ext4::FileSystem<'s>>),
    Fat(Box<fat::FileSystem<'s>>),
}

/// Something with a name in a directory, as the directory tells of it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name's bytes. They are never empty, `.` or `..`, and have no `/` and no zero.
    pub name: Vec<u8>,
    handle: Handle,
}

#[derive(Debug, Clone)]
enum Handle {
    Inode(u32),
    Fat(Box<fat::Entry>),
}

/// A file, directory, symbolic link or special file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Node {
    /// What it is.
    pub kind: Type,
    /// The length in bytes of a file or link.
    pub size: u64,
    /// The twelve lower bits of its mode. FAT knows only whether a file may be written.
    pub permissions: u16,
    /// The numbers of its owner and group; zeros in FAT.
    pub owner: (u32, u32),
    /// When its contents changed last, in seconds since 1970. FAT knows no time zone; UTC is assumed.
    pub modified: i64,
    /// What all names of the same file share, where a file may have several.
    pub shared: Option<u32>,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Ext4(Box<ext4::Inode>),
    FatRoot,
    Fat(Box<fat::Entry>),
}

impl Node {
    /// What it is, in words.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Type::Directory => "directory",
            Type::File => "regular file",
            Type::Symlink => "symbolic link",
            Type::Special => "device, pipe or socket",
        }
    }

    /// What tells a directory from all others; a directory that is met twice makes a tree without end.
    pub fn directory_id(&self) -> u64 {
        match &self.place {
            Place::Ext4(inode) => inode.number.into(),
            Place::FatRoot => 0,
            Place::Fat(entry) => entry.first_cluster().into(),
        }
    }
}

impl<'s> Files<'s> {
    /// Opens the file system in a disk or partition.
    pub fn open(source: &'s dyn Source) -> Result<Self, FilesError> {
        match Contents::detect(source)? {
            Contents::Ext4 => Ok(Self(FileSystem::Ext4(Box::new(ext4::FileSystem::open(source)?)))),
            Contents::Fat => Ok(Self(FileSystem::Fat(Box::new(fat::FileSystem::open(source)?)))),
            _ => Err(FilesError::NoFileSystem),
        }
    }

    /// The root directory.
    pub fn root(&self) -> Result<Node, FilesError> {
        match &self.0 {
            FileSystem::Ext4(file_system) => Ok(Node::of_inode(file_system.inode(ext4::ROOT)?)),
            FileSystem::Fat(_) => Ok(Node::fat_root()),
        }
    }

    /// What is in a directory, sorted by the bytes of the names.
    pub fn entries(&self, directory: &Node) -> Result<Vec<Entry>, FilesError> {
        let mut entries: Vec<Entry> = match (&self.0, &directory.place) {
            (FileSystem::Ext4(file_system), Place::Ext4(inode)) => file_system
                .entries(inode)?
                .into_iter()
                .map(|entry| Entry { name: entry.name, handle: Handle::Inode(entry.inode) })
                .collect(),
            (FileSystem::Fat(file_system), place) => {
                let directory = if let Place::Fat(entry) = place { Some(&**entry) } else { None };
                let entries = file_system.entries(directory)?.into_iter();
                let with_name = |entry: fat::Entry| Entry {
                    name: entry.file_name.clone(),
                    handle: Handle::Fat(Box::new(entry)),
                };
                entries.map(with_name).collect()
            }
            _ => return Err(FilesError::NoFileSystem),
        };
        for Entry { name, .. } in &entries {
            if matches!(name.as_slice(), b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
                return Err(FilesError::Name(shown(name)));
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// What has a name.
    pub fn node(&self, entry: &Entry) -> Result<Node, FilesError> {
        match (&self.0, &entry.handle) {
            (FileSystem::Ext4(file_system), Handle::Inode(number)) => {
                Ok(Node::of_inode(file_system.inode(*number)?))
            }
            (FileSystem::Fat(_), Handle::Fat(entry)) => {
                let (kind, permissions) = match entry.is_directory() {
                    true => (Type::Directory, 0o755),
                    false if entry.is_read_only() => (Type::File, 0o444),
                    false => (Type::File, 0o644),
                };
                Ok(Node {
                    kind,
                    size: entry.size(),
                    permissions,
                    modified: entry.modified(),
                    place: Place::Fat(entry.clone()),
                    ..Node::fat_root()
                })
            }
            _ => Err(FilesError::NoFileSystem),
        }
    }

    /// Where a symbolic link points to.
    pub fn link_target(&self, link: &Node) -> Result<Vec<u8>, FilesError> {
        match (&self.0, &link.place) {
            (FileSystem::Ext4(file_system), Place::Ext4(inode)) => Ok(file_system.link_target(inode)?),
            _ => Err(FilesError::NoFileSystem),
        }
    }

    /// The contents of a regular file; `path` is for errors.
    pub fn file(&self, node: &Node, path: &[u8]) -> Result<FileOnDisk<'s>, FilesError> {
        if node.kind != Type::File {
            return Err(FilesError::NotAFile { path: shown(path), kind: node.kind_name() });
        }
        match (&self.0, &node.place) {
            (FileSystem::Ext4(file_system), Place::Ext4(inode)) => Ok(file_system.file(inode)?),
            (FileSystem::Fat(file_system), Place::Fat(entry)) => {
                let (path, entry) = (shown(path), (**entry).clone());
                Ok(file_system.file(&fat::Found { path, entry, guest_offset: None })?)
            }
            _ => Err(FilesError::NoFileSystem),
        }
    }

    /// Finds what a path leads to, from the root on and through symbolic links, as a process would whose root directory
    /// is that of the file system; the last name's link is followed only if that is asked for. Also gives the path
    /// without links, each name after a `/`; that of the root is empty.
    ///
    /// A store image has its store paths in the root directory. There, `/nix/store/…` leads to them.
    pub fn find(&self, path: &[u8], follow_last: bool) -> Result<(Node, Vec<u8>), FilesError> {
        let root = self.root()?;
        let mut ways: Vec<(Vec<u8>, Node)> = Vec::new();
        let mut rest = self.names(&root, path)?;
        rest.reverse();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            let (here, way) = ways.last().map_or((&root, &[][..]), |(way, node)| (node, way.as_slice()));
            if here.kind != Type::Directory {
                return Err(FilesError::NotADirectory { path: shown(path), file: shown(way) });
            }
            if name == b".." {
                ways.pop();
                continue;
            }
            let entry = self.entries(here)?.into_iter().find(|entry| self.has_name(entry, &name));
            let entry = entry.ok_or_else(|| FilesError::Missing {
                path: shown(path),
                directory: if way.is_empty() { "/".to_owned() } else { shown(way) },
                name: shown(&name),
            })?;
            let node = self.node(&entry)?;
            if node.kind == Type::Symlink && (follow_last || !rest.is_empty()) {
                links += 1;
                if links > LINKS_MAX {
                    return Err(FilesError::Links(shown(path)));
                }
                let target = self.link_target(&node)?;
                if target.starts_with(b"/") {
                    ways.clear();
                }
                rest.extend(self.names(&root, &target)?.into_iter().rev());
                continue;
            }
            let way = [way, b"/", &entry.name].concat();
            ways.push((way, node));
        }
        Ok(ways.pop().map_or((root, Vec::new()), |(way, node)| (node, way)))
    }

    /// The names of a path, without those that stay where they are.
    fn names(&self, root: &Node, path: &[u8]) -> Result<Vec<Vec<u8>>, FilesError> {
        let stays = |name: &&[u8]| !name.is_empty() && *name != b".";
        let names: Vec<Vec<u8>> =
            path.split(|&byte| byte == b'/').filter(stays).map(<[u8]>::to_vec).collect();
        let store: Vec<&[u8]> = STORE_DIR.split('/').map(str::as_bytes).filter(stays).collect();
        let in_store = path.starts_with(b"/")
            && names.len() >= store.len()
            && names.iter().zip(&store).all(|(name, expected)| name == expected);
        if in_store && !self.entries(root)?.iter().any(|entry| entry.name == store[0]) {
            return Ok(names[store.len()..].to_vec());
        }
        Ok(names)
    }

    /// FAT's names are the same in upper and lower case.
    fn has_name(&self, entry: &Entry, name: &[u8]) -> bool {
        match &self.0 {
            FileSystem::Ext4(_) => entry.name == name,
            FileSystem::Fat(_) => entry.name.eq_ignore_ascii_case(name),
        }
    }
}

impl Node {
    fn of_inode(inode: ext4::Inode) -> Self {
        Self {
            kind: inode.kind(),
            size: inode.size(),
            permissions: inode.permissions(),
            owner: (inode.uid(), inode.gid()),
            modified: inode.modified(),
            shared: (inode.raw.i_links_count.get() > 1).then_some(inode.number),
            place: Place::Ext4(Box::new(inode)),
        }
    }

    fn fat_root() -> Self {
        Self {
            kind: Type::Directory,
            size: 0,
            permissions: 0o755,
            owner: (0, 0),
            modified: 0,
            shared: None,
            place: Place::FatRoot,
        }
    }
}
