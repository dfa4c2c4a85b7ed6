//! Outputs: files that appear whole or not at all, and block devices.

mod access;
mod device;
mod file;
mod magic;
mod temporary_name;

use std::io;
use std::path::{Path, PathBuf};

use crate::error_kind::ErrorKind;
use crate::units::ByteCount;

pub use access::Access;
pub use device::{OutputDevice, half_written};
pub use file::OutputFile;
pub use temporary_name::remove_unfinished;

/// The target could not be opened, or not be put in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum OutputError {
    /// The directory is missing or cannot be written.
    #[error("cannot create `{target}` in `{directory}`; the directory must exist and be writable")]
    Create { target: PathBuf, directory: PathBuf, source: io::Error },
    /// Something other than a regular file has the name.
    #[error("`{target}` is a {kind}; name a regular file or a new one")]
    NotAFile { target: PathBuf, kind: &'static str },
    /// The device cannot be had, or not alone.
    #[error("cannot open the block device `{target}`{}", in_use(.source))]
    OpenDevice { target: PathBuf, source: io::Error },
    /// The image is larger than the device.
    #[error("`{target}` is too small: it has {available} ({} bytes), and the image {size} ({} bytes)", .available.0, .size.0)]
    DeviceTooSmall { target: PathBuf, size: ByteCount, available: ByteCount },
    /// What was written is not all on the device.
    #[error("the device `{target}` did not take all that was written to it")]
    FlushDevice { target: PathBuf, source: io::Error },
    /// A link to what is open already, such as standard output.
    #[error("`{}` leads to a file that is open already; name a regular file or a new one", .0.display())]
    OpenFile(PathBuf),
    /// The word for standard output.
    #[error("`-` stands for standard output, where this cannot be written; `./-` is a file of that name")]
    StandardOutput,
    /// What was written is perhaps not all on the disk.
    #[error("cannot flush `{target}` to the disk")]
    Flush { target: PathBuf, source: io::Error },
    /// The path ends in `/`, `..` or nothing.
    #[error("`{}` has no file name", .0.display())]
    NoName(PathBuf),
    /// The output would destroy what it is made from.
    #[error("`{target}` is, or lies in, the input `{input}`; name another file for the output")]
    Input { target: PathBuf, input: PathBuf },
    /// The finished file could not be given its name.
    #[error("cannot put the finished file in place as `{target}`")]
    Finish { target: PathBuf, source: io::Error },
}

impl OutputError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Create { source, .. }
            | Self::OpenDevice { source, .. }
            | Self::FlushDevice { source, .. }
            | Self::Flush { source, .. }
            | Self::Finish { source, .. } => ErrorKind::of(source),
            Self::DeviceTooSmall { .. } => ErrorKind::TooLarge,
            Self::NotAFile { .. }
            | Self::OpenFile(_)
            | Self::StandardOutput
            | Self::NoName(_)
            | Self::Input { .. } => ErrorKind::InvalidInput,
        }
    }
}

/// Refuses a target that is one of `inputs`, or lies in a directory among them.
pub fn check_apart<'p>(target: &Path, inputs: impl IntoIterator<Item = &'p Path>) -> Result<(), OutputError> {
    // Where the directory cannot be found, nothing can be created either.
    let Some(place) = place_of(target) else { return Ok(()) };
    for input in inputs {
        let is_inside = |input: Option<PathBuf>| input.is_some_and(|input| place.starts_with(input));
        // The name, and what a link of that name leads to.
        if is_inside(place_of(input)) || is_inside(input.canonicalize().ok()) {
            return Err(OutputError::Input { target: target.to_owned(), input: input.to_owned() });
        }
    }
    Ok(())
}

/// The absolute path of a file that need not exist: its directory without links, and its own name.
pub fn place_of(file: &Path) -> Option<PathBuf> {
    Some(directory_of(file).canonicalize().ok()?.join(file.file_name()?))
}

/// What helps against a device that is in use.
fn in_use(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ResourceBusy => {
            "; unmount it, and take it out of any swap or other device that it is a part of"
        }
        _ => "",
    }
}

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("source")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink("source", at("way")).unwrap();
        for (target, input) in [
            ("file", "file"),
            ("link", "link"),
            ("file", "link"),
            ("source/new", "source"),
            ("way/new", "source"),
            ("source/../file", "file"),
        ] {
            let error = check_apart(&at(target), [at(input).as_path()]).unwrap_err().to_string();
            assert!(error.contains("is, or lies in, the input"), "{error}");
        }
        for target in ["new", "sources", "missing/file"] {
            check_apart(&at(target), [at("source").as_path(), &at("file"), &at("none")]).unwrap();
        }
    }
}
