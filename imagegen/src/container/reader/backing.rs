//! Which backing files may be opened: an image that somebody else made can name any file of this machine, and then shows
//! what is in it.

use std::path::{Path, PathBuf};

use super::first_cluster::FirstCluster;
use super::{DEPTH_MAX, ReadError, open_file, too_deep};
use crate::container::{Format, detect_format};

/// Which backing files of an image are opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Backing {
    /// None: an image that names one is an error.
    #[default]
    Refuse,
    /// Those in the image's own directory or below it, and below these directories. What counts is where links lead to.
    Near(Vec<PathBuf>),
    /// Whatever the image and its backing files name.
    Anywhere,
}

impl Backing {
    /// The rule for the image at `image`.
    pub(super) fn of(&self, image: &Path) -> Allowed<'_> {
        let own = match image.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Allowed { backing: self, own: own.canonicalize().ok() }
    }
}

/// The backing files that one image may have.
#[derive(Debug)]
pub struct Allowed<'b> {
    backing: &'b Backing,
    /// The image's own directory, without links; nothing if it cannot be found out.
    own: Option<PathBuf>,
}

/// A backing file: its path, the same without links, and its format if the image names it.
type Named = (PathBuf, PathBuf, Option<Format>);

impl Allowed<'_> {
    /// The backing file of the image file `path`, if it has one.
    pub fn backing(&self, first: &FirstCluster, path: &Path) -> Result<Option<Named>, ReadError> {
        let Some((named, format)) = first.backing(path)? else { return Ok(None) };
        let target = self.find(path, &named)?;
        Ok(Some((named, target, format)))
    }

    /// The file to open for the backing file `named` of `by`: the same without links, if it is allowed.
    fn find(&self, by: &Path, named: &Path) -> Result<PathBuf, ReadError> {
        let refused =
            |problem| Err(ReadError::Backing { path: by.to_owned(), backing: named.to_owned(), problem });
        let also = match self.backing {
            Backing::Refuse => return refused("is not asked for"),
            Backing::Near(also) => also,
            Backing::Anywhere => return Ok(named.to_owned()),
        };
        let target = named.canonicalize().map_err(ReadError::io("find", named))?;
        let own = self.own.as_deref();
        if !own.is_some_and(|own| is_near(&target, own)) && !also.iter().any(|also| target.starts_with(also))
        {
            return refused("lies outside of the image's directory");
        }
        if !target.metadata().map_err(ReadError::io("find", named))?.is_file() {
            return refused("is no regular file");
        }
        Ok(target)
    }
}

/// Whether a file lies below the image's directory. All files lie below the root, which counts for its own files only.
fn is_near(target: &Path, own: &Path) -> bool {
    match own.parent() {
        Some(_) => target.starts_with(own),
        None => target.parent() == Some(own),
    }
}

/// Follows the backing files of an image by their headers alone, for somebody else who will open them. Fails at the first
/// that is not allowed or cannot be examined: of another format than raw or qcow2, or no file at all.
pub fn check_backing(image: &Path, backing: &Backing) -> Result<(), ReadError> {
    let allowed = backing.of(image);
    let mut next = Some((image.to_owned(), image.to_owned(), None));
    for _ in 0..=DEPTH_MAX {
        let Some((path, target, format)) = next else { return Ok(()) };
        let (file, length, _) = open_file(&path, &target)?;
        // Other files name no backing file.
        if format.map_or_else(|| detect_format(&file).map_err(ReadError::io("read", &path)), Ok)?
            == Format::Raw
        {
            return Ok(());
        }
        let first = FirstCluster::read_any(&path, &file, length)?;
        first.check_data_file(&path)?;
        next = allowed.backing(&first, &path)?;
    }
    Err(too_deep(image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_directory_holds_backing_files() {
        for (own, target, expected) in [
            ("/images", "/images/base", true),
            ("/images", "/images/below/base", true),
            ("/images", "/images-of-others/base", false),
            ("/images", "/base", false),
            ("/", "/base", true),
            ("/", "/etc/shadow", false),
        ] {
            assert_eq!(is_near(Path::new(target), Path::new(own)), expected, "{own} {target}");
        }
    }

    #[test]
    fn only_what_the_caller_allows_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().canonicalize().unwrap().join(name);
        for name in ["store", "stores", "images"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("base"), "").unwrap();
        }
        let image = at("images/image");
        let near = Backing::Near(vec![at("store")]);
        for (backing, named, expected) in [
            (&Backing::default(), "images/base", Err("is not asked for")),
            (&near, "images/base", Ok(())),
            (&near, "store/base", Ok(())),
            (&near, "stores/base", Err("lies outside of the image's directory")),
            (&near, "store", Err("is no regular file")),
            (&Backing::Anywhere, "stores/base", Ok(())),
        ] {
            let found = backing.of(&image).find(&image, &at(named));
            match (found, expected) {
                (Ok(target), Ok(())) => assert_eq!(target, at(named)),
                (Err(error), Err(problem)) => assert!(error.to_string().contains(problem), "{error}"),
                (found, _) => panic!("{named}: {found:?}"),
            }
        }
    }
}
