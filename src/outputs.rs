//! Outputs stay apart from inputs and from each other.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use imagegen::output::directory_of;

/// Refuses outputs, each with its name for people, that would destroy an input or one another.
pub fn check_apart<'p>(
    outputs: impl IntoIterator<Item = (&'static str, Option<&'p Path>)>,
    inputs: &[PathBuf],
) -> anyhow::Result<()> {
    let mut before: Vec<(&str, Option<PathBuf>)> = Vec::new();
    for (what, output) in outputs {
        let Some(output) = output else { continue };
        inputs.iter().try_for_each(|input| check_input(output, input))?;
        let place = place_of(output);
        if let Some((other, _)) = before.iter().find(|(_, other)| *other == place) {
            bail!("{other} and {what} cannot both be `{}`", output.display());
        }
        before.push((what, place));
    }
    Ok(())
}

/// Refuses an output that is an input, or lies in one that is a directory.
pub fn check_input(output: &Path, input: &Path) -> anyhow::Result<()> {
    // Where the directory cannot be found, nothing can be created either.
    let Some(place) = place_of(output) else { return Ok(()) };
    let is_inside = |input: Option<PathBuf>| input.is_some_and(|input| place.starts_with(input));
    // The name, and what a link of that name leads to.
    ensure!(
        !is_inside(place_of(input)) && !is_inside(input.canonicalize().ok()),
        "`{}` is, or lies in, the input `{}`; name another file for the output",
        output.display(),
        input.display()
    );
    Ok(())
}

/// The absolute path of a file that need not exist: its directory without links, and its own name.
pub fn place_of(file: &Path) -> Option<PathBuf> {
    Some(directory_of(file).canonicalize().ok()?.join(file.file_name()?))
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
            let error = check_input(&at(target), &at(input)).unwrap_err().to_string();
            assert!(error.contains("is, or lies in, the input"), "{error}");
        }
        for target in ["new", "sources", "missing/file"] {
            check_apart([("the file", Some(&*at(target)))], &[at("source"), at("file"), at("none")]).unwrap();
        }
    }
}
