//! Store paths and the physical store they are read from.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use crate::error_kind::ErrorKind;
use crate::host_file::LINKS_MAX;
use crate::text::excerpt;

pub use crate::fixed::STORE_DIR;

/// The number of digits of the hash part.
const HASH_DIGITS: usize = 32;
/// Nix's own limit on what follows the dash (`checkName` in the Nix manual's "Store path" chapter).
const NAME_MAX: usize = 211;

/// The path of a store object, `/nix/store/<32 base-32 digits>-<name>`, checked against Nix's rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath {
    /// What follows `/nix/store/`.
    base_name: String,
}

/// What is wrong with a store path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum StorePathError {
    /// It is no path that Nix would take.
    #[error("`{}` {problem}", excerpt(.path))]
    Invalid { path: String, problem: String },
    /// It is a path of a store that lies elsewhere for its programs too.
    #[error(
        "`{}` is not directly in {STORE_DIR} but in the store directory `{}`; only stores in {STORE_DIR} are supported, \
         wherever they lie on this machine",
        excerpt(.path), excerpt(.directory)
    )]
    OtherStore { path: String, directory: String },
}

impl FromStr for StorePath {
    type Err = StorePathError;

    /// Reads a full path, as [`StorePath::parse`] does.
    fn from_str(path: &str) -> Result<Self, StorePathError> {
        Self::parse(path)
    }
}

impl StorePath {
    /// Reads a full path such as `/nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-hello-2.12`.
    pub fn parse(path: &str) -> Result<Self, StorePathError> {
        let base_name = path
            .strip_prefix(STORE_DIR)
            .and_then(|rest| rest.strip_prefix('/'))
            .filter(|base_name| !base_name.contains('/'))
            .ok_or_else(|| not_in_store(path))?;
        Self::parse_base_name(base_name, path)
    }

    /// `whole` is what stands in messages.
    fn parse_base_name(base_name: &str, whole: &str) -> Result<Self, StorePathError> {
        match check_base_name(base_name) {
            Ok(()) => Ok(Self { base_name: base_name.to_owned() }),
            Err(problem) => Err(StorePathError::Invalid { path: whole.to_owned(), problem }),
        }
    }

    /// Reads a full path, or only what follows `/nix/store/` in it, as Nix writes it where a store directory goes without
    /// saying.
    pub fn parse_any(text: &str) -> Result<Self, StorePathError> {
        if text.contains('/') { Self::parse(text) } else { Self::parse_base_name(text, text) }
    }

    /// What follows `/nix/store/`: hash, dash and name.
    pub fn base_name(&self) -> &str {
        &self.base_name
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE_DIR}/{}", self.base_name)
    }
}

/// Says what is wrong with a base name.
fn check_base_name(base_name: &str) -> Result<(), String> {
    let name = base_name
        .split_at_checked(HASH_DIGITS)
        .filter(|(hash, _)| hash.bytes().all(is_base32_digit))
        .and_then(|(_, rest)| rest.strip_prefix('-'));
    let Some(name) = name else {
        return Err(format!(
            "does not begin with {HASH_DIGITS} base-32 digits (0-9 and a-z without e, o, t, u) and a dash"
        ));
    };
    if name.is_empty() {
        return Err("has no name after the hash".to_owned());
    }
    if name.len() > NAME_MAX {
        return Err(format!("has a name of more than {NAME_MAX} characters"));
    }
    if let Some(character) = name.chars().find(|c| !is_name_character(*c)) {
        return Err(format!(
            "has the character {character:?} in its name; Nix allows letters, digits and `+-._?=`"
        ));
    }
    if matches!(name, "." | "..") || name.starts_with(".-") || name.starts_with("..-") {
        return Err(
            "has a name that Nix does not allow (`.`, `..`, or one of these before a dash)".to_owned()
        );
    }
    Ok(())
}

/// Tells a path of another store from what is no store path at all.
fn not_in_store(path: &str) -> StorePathError {
    let other = path.rsplit_once('/').filter(|(directory, base_name)| {
        directory.starts_with('/')
            && !Path::new(directory).starts_with(STORE_DIR)
            && check_base_name(base_name).is_ok()
    });
    let directory = other.map(|(directory, _)| directory.to_owned());
    let path = path.to_owned();
    match directory {
        Some(directory) => StorePathError::OtherStore { path, directory },
        None => StorePathError::Invalid { path, problem: format!("is not directly in {STORE_DIR}") },
    }
}

fn is_base32_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'd' | b'f'..=b'n' | b'p'..=b's' | b'v'..=b'z')
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_' | '?' | '=')
}

/// The directory below which the store physically lies: `DIR/nix/store/...` holds `/nix/store/...`.
#[derive(Debug, Clone)]
pub struct StoreRoot {
    directory: PathBuf,
}

/// A file in the store, after all links: where it is for the guest and where it is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The store object it lies in.
    pub store_path: StorePath,
    /// The rest of its path inside that object; empty for the object itself.
    pub inner: PathBuf,
    /// Where it is on this machine. No component is a symbolic link.
    pub physical: PathBuf,
}

/// Why a path in the store leads nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ResolveError {
    /// A link, or the path itself, leads out of the store.
    #[error("`{}` leads out of the store: {}", path.display(), end.display())]
    OutsideStore { path: PathBuf, end: PathBuf },
    /// Too many links, most likely a loop.
    #[error(
        "`{}` leads through more than {LINKS_MAX} symbolic links; the last one was `{}`",
        path.display(), link.display()
    )]
    Loop { path: PathBuf, link: PathBuf },
    /// The file system said no.
    #[error("cannot follow `{}`: `{}`", path.display(), component.display())]
    Io { path: PathBuf, component: PathBuf, source: io::Error },
}

impl StorePathError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OtherStore { .. } => ErrorKind::Unsupported,
            Self::Invalid { .. } => ErrorKind::InvalidInput,
        }
    }
}

impl ResolveError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OutsideStore { .. } | Self::Loop { .. } => ErrorKind::InvalidInput,
            Self::Io { source, .. } => ErrorKind::of(source),
        }
    }
}

impl Resolved {
    /// Where it is for the guest.
    pub fn logical(&self) -> PathBuf {
        Path::new(STORE_DIR).join(self.store_path.base_name()).join(&self.inner)
    }
}

impl StoreRoot {
    /// The store whose objects are in `directory/nix/store`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where the store directory is on this machine.
    pub fn directory(&self) -> PathBuf {
        self.on_disk(Path::new(STORE_DIR))
    }

    /// Where a store object is on this machine.
    pub fn physical(&self, path: &StorePath) -> PathBuf {
        self.directory().join(path.base_name())
    }

    /// Follows a logical path such as `/nix/store/…-toplevel/kernel` through its links, absolute ones taken
    /// relative to this root, up to the file itself. A path that leaves the store on the way is an error.
    pub fn resolve(&self, path: &Path) -> Result<Resolved, ResolveError> {
        let asked = || path.to_owned();
        let outside = |end: &Path| ResolveError::OutsideStore { path: asked(), end: end.to_owned() };

        let mut links = 0;
        let mut done = PathBuf::from("/");
        let mut todo: Vec<std::ffi::OsString> = components_reversed(path);
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(&part);
            if !is_in_or_above_store(&done) {
                return Err(outside(&done));
            }
            let physical = self.on_disk(&done);
            let io = |source| ResolveError::Io { path: asked(), component: physical.clone(), source };
            // `/nix` and `/nix/store` themselves may be links or mount points of the machine.
            if !done.starts_with(STORE_DIR) || done == Path::new(STORE_DIR) {
                continue;
            }
            if !physical.symlink_metadata().map_err(io)?.is_symlink() {
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(ResolveError::Loop { path: asked(), link: done });
            }
            let target = physical.read_link().map_err(io)?;
            done.pop();
            if target.is_absolute() {
                done = PathBuf::from("/");
            }
            todo.extend(components_reversed(&target));
        }

        let in_store = done.strip_prefix(STORE_DIR).map_err(|_| outside(&done))?;
        let mut parts = in_store.components();
        let object = parts.next().ok_or_else(|| outside(&done))?;
        let store_path = std::str::from_utf8(object.as_os_str().as_bytes())
            .ok()
            .and_then(|name| StorePath::parse(&format!("{STORE_DIR}/{name}")).ok())
            .ok_or_else(|| outside(&done))?;
        Ok(Resolved { store_path, inner: parts.as_path().to_owned(), physical: self.on_disk(&done) })
    }

    fn on_disk(&self, logical: &Path) -> PathBuf {
        // `join` would drop the root in favour of an absolute path.
        self.directory.join(logical.strip_prefix("/").unwrap_or(logical))
    }
}

/// The components of a path, last first, without roots and single dots.
fn components_reversed(path: &Path) -> Vec<std::ffi::OsString> {
    path.components()
        .rev()
        .filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir))
        .map(|c| c.as_os_str().to_owned())
        .collect()
}

fn is_in_or_above_store(path: &Path) -> bool {
    path.starts_with(STORE_DIR) || Path::new(STORE_DIR).starts_with(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const HASH: &str = "s66mzxpvicwk07gjbjfw9izjfa797vsw";

    #[test]
    fn nix_rules_for_names() {
        assert!(StorePath::parse(&format!("/nix/store/{HASH}-hello-2.12+x_?=")).is_ok());
        assert!(StorePath::parse(&format!("/nix/store/{HASH}-{}", "n".repeat(211))).is_ok());
        let bad = [
            (format!("/nix/store/{HASH}"), "base-32"),
            (format!("/nix/store/{HASH}-"), "no name"),
            (format!("/nix/store/{HASH}-a b"), "' '"),
            (format!("/nix/store/{HASH}-é"), "'é'"),
            (format!("/nix/store/{HASH}-.."), "does not allow"),
            (format!("/nix/store/{HASH}-..-x"), "does not allow"),
            (format!("/nix/store/{HASH}-{}", "n".repeat(212)), "211"),
            (format!("/nix/store/e{}-x", &HASH[1..]), "base-32"),
            (format!("/nix/store/{HASH}-a/b"), "not directly"),
            (format!("/gnu/store/{HASH}-a"), "in the store directory `/gnu/store`"),
            (format!("/nix/store/{HASH}-a/{HASH}-b"), "not directly"),
            (format!("/nix/store/é{}-x", &HASH[2..]), "base-32"),
        ];
        for (path, what) in bad {
            let error = StorePath::parse(&path).unwrap_err().to_string();
            assert!(error.contains(what), "{path}: {error}");
        }
    }

    fn store() -> (tempfile::TempDir, StoreRoot, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("nix/store");
        fs::create_dir_all(store.join(format!("{HASH}-kernel/dir"))).unwrap();
        fs::write(store.join(format!("{HASH}-kernel/bzImage")), "k").unwrap();
        fs::create_dir(store.join(format!("{HASH}-top"))).unwrap();
        let store_root = StoreRoot::new(root.path());
        (root, store_root, store)
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        let (_guard, root, store) = store();
        let top = store.join(format!("{HASH}-top"));
        symlink(format!("/nix/store/{HASH}-kernel/dir/../bzImage"), top.join("kernel")).unwrap();
        symlink("kernel", top.join("again")).unwrap();
        for name in ["kernel", "again"] {
            let found = root.resolve(Path::new(&format!("/nix/store/{HASH}-top/{name}"))).unwrap();
            assert_eq!(found.store_path.base_name(), format!("{HASH}-kernel"));
            assert_eq!(found.inner, Path::new("bzImage"));
            assert_eq!(fs::read(found.physical).unwrap(), b"k");
        }
    }

    #[test]
    fn a_link_that_leaves_loops_or_dangles_is_named() {
        let (_guard, root, store) = store();
        let top = store.join(format!("{HASH}-top"));
        for (name, target, what) in [
            ("abs", "/etc/passwd", "out of the store: /etc"),
            ("rel", "../../../etc/passwd", "out of the store: /etc"),
            ("loop", "loop", "more than 40"),
            ("gone", "nothing", "top/nothing"),
            ("store", "..", "out of the store: /nix/store"),
        ] {
            symlink(target, top.join(name)).unwrap();
            let error = root.resolve(Path::new(&format!("/nix/store/{HASH}-top/{name}"))).unwrap_err();
            assert!(error.to_string().contains(what), "{name}: {error}");
        }
    }
}
