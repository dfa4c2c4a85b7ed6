//! Which files an image may have opened: an image that somebody else made can name any file of this machine as its backing
//! file, and then shows what is in it.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::header::FirstCluster;
use super::{DEPTH_MAX, ReadError, open_file};
use crate::container::{Format, detect_format};
use crate::fixed::STORE_DIR;

/// Which backing files are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// Files in the image's own directory or below it, and in `/nix/store`, where links lead to them too.
    Near,
    /// Whatever the image and its backing files name.
    Anywhere,
}

/// The places of an image's backing files.
#[derive(Debug)]
pub struct Places {
    backing: Backing,
    /// The image's own directory, without links; nothing if it cannot be told.
    directory: Option<PathBuf>,
}

impl Places {
    /// Those of the image at `image`.
    pub fn of(image: &Path, backing: Backing) -> Self {
        let directory = match image.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Self { backing, directory: directory.canonicalize().ok() }
    }

    /// The file to open for the backing file `named` of `by`: the same without links, if that is allowed.
    pub fn find(&self, by: &Path, named: &Path) -> Result<PathBuf, ReadError> {
        if self.backing == Backing::Anywhere {
            return Ok(named.to_owned());
        }
        let io = |source| ReadError::Io { action: "find", path: named.display().to_string(), source };
        let place = named.canonicalize().map_err(io)?;
        let refused = |problem| ReadError::Backing {
            path: by.display().to_string(),
            backing: named.display().to_string(),
            problem,
        };
        if !self.holds(&place) {
            return Err(refused("lies outside of the image's directory"));
        }
        if !place.metadata().map_err(io)?.is_file() {
            return Err(refused("is no regular file"));
        }
        Ok(place)
    }

    fn holds(&self, place: &Path) -> bool {
        let is_near = self.directory.as_deref().is_some_and(|directory| match directory.parent() {
            Some(_) => place.starts_with(directory),
            // All files lie below the root, so this would allow every one.
            None => place.parent() == Some(directory),
        });
        is_near || place.starts_with(STORE_DIR)
    }
}

/// Follows the backing files of an image by their headers alone, for somebody else who will open them, and fails at the
/// first that is not near, or that nobody can tell: of another format than raw or qcow2, or no file at all.
pub fn check_backing(image: &Path) -> Result<(), ReadError> {
    let places = Places::of(image, Backing::Near);
    let mut next = Some((image.to_owned(), image.to_owned(), None));
    for _ in 0..=DEPTH_MAX {
        let Some((path, place, format)) = next else { return Ok(()) };
        next = match header(&path, &place, format)? {
            Some(first) => {
                first.check_data_file(&path)?;
                let named = first.backing(&path)?;
                named
                    .map(|(named, format)| Ok((named.clone(), places.find(&path, &named)?, format)))
                    .transpose()?
            }
            None => None,
        };
    }
    Err(ReadError::TooDeep(image.display().to_string()))
}

/// The first cluster of a qcow2 file; other files name no backing file.
fn header(path: &Path, place: &Path, format: Option<Format>) -> Result<Option<FirstCluster>, ReadError> {
    let io = |source| ReadError::Io { action: "read", path: path.display().to_string(), source };
    let (file, length, _) = open_file(path, place)?;
    let found = |file: &File| detect_format(file).map_err(io);
    match format.map_or_else(|| found(&file), Ok)? {
        Format::Raw => Ok(None),
        Format::Qcow2 => FirstCluster::read_any(path, &file, length).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_directory_and_the_store_hold_backing_files() {
        let places = |directory: &str| Places { backing: Backing::Near, directory: Some(directory.into()) };
        for (directory, place, is_held) in [
            ("/images", "/images/base", true),
            ("/images", "/images/below/base", true),
            ("/images", "/images-of-others/base", false),
            ("/images", "/base", false),
            ("/images", "/nix/store/0000-image/base", true),
            ("/images", "/nix/stores/base", false),
            ("/images", "/nix/var/base", false),
            ("/", "/base", true),
            ("/", "/etc/shadow", false),
        ] {
            assert_eq!(places(directory).holds(Path::new(place)), is_held, "{directory} {place}");
        }
    }
}
