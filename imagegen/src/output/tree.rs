//! File trees that appear whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use super::file::rename_if_new;
use super::temporary_name::{discard, forget, with_hidden_name};
use super::{OutputError, directory_of};

/// A file, directory or link that is made under a hidden name beside its target, and gets its name when it is finished.
/// It is removed on drop, and by [`super::remove_unfinished`]. A process that is killed leaves it behind.
#[derive(Debug)]
#[must_use = "the tree appears only after `finish`"]
pub struct OutputTree {
    hidden: PathBuf,
    target: PathBuf,
}

impl OutputTree {
    /// Finds a hidden name. The target must be new, or an empty directory that a directory takes the place of.
    pub fn create(target: &Path) -> Result<Self, OutputError> {
        if target.file_name().is_none() {
            return Err(OutputError::target(target, format!("`{}` has no file name", target.display())));
        }
        let create = |source| OutputError::not_created(target, source);
        if !is_free(target).map_err(create)? {
            let shown = target.display();
            let problem = format!("`{shown}` exists already; name a new directory or an empty one");
            return Err(OutputError::target(target, problem));
        }
        directory_of(target).metadata().map_err(create)?;
        let find = |hidden: &Path| match hidden.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        let (hidden, ()) = with_hidden_name(target, find).map_err(create)?;
        Ok(Self { hidden, target: target.to_owned() })
    }

    /// Where to make it.
    pub fn path(&self) -> &Path {
        &self.hidden
    }

    /// Gives it its name.
    pub fn finish(self) -> Result<(), OutputError> {
        // A directory takes the place of an empty one, and of nothing else; the system sees to that.
        let placed = if self.hidden.is_dir() && !self.hidden.is_symlink() {
            std::fs::rename(&self.hidden, &self.target)
        } else {
            rename_if_new(&self.hidden, &self.target).map_err(io::Error::from)
        };
        placed.map_err(|source| OutputError::not_in_place(&self.target, source))
    }
}

impl Drop for OutputTree {
    fn drop(&mut self) {
        // Where it has its name by now, nothing is there.
        discard(&self.hidden);
        forget(&self.hidden);
    }
}

/// Whether nothing is there, or an empty directory.
fn is_free(target: &Path) -> io::Result<bool> {
    match target.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
        Ok(found) => Ok(found.is_dir() && std::fs::read_dir(target)?.next().is_none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_tree_appears_whole_and_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let names = || fs::read_dir(directory.path()).unwrap().count();
        for there in [false, true] {
            if there {
                fs::create_dir(at("empty")).unwrap();
            }
            let output = OutputTree::create(&at("empty")).unwrap();
            fs::create_dir_all(output.path().join("a/b")).unwrap();
            fs::set_permissions(output.path().join("a"), Permissions::from_mode(0o555)).unwrap();
            output.finish().unwrap();
            assert!(at("empty/a/b").is_dir());
            assert_eq!(names(), 1);
            let error = OutputTree::create(&at("empty")).unwrap_err().to_string();
            assert!(error.contains("exists already"), "{error}");
            discard(&at("empty"));
            assert_eq!(names(), 0);
        }
        let output = OutputTree::create(&at("late")).unwrap();
        fs::write(output.path(), "new").unwrap();
        fs::create_dir(at("late")).unwrap();
        output.finish().unwrap_err();
        assert_eq!(names(), 1);
        // Nor does a file or link replace a file that came meanwhile.
        for make in
            [|path: &Path| fs::write(path, "new"), |path: &Path| std::os::unix::fs::symlink(".", path)]
        {
            let output = OutputTree::create(&at("file")).unwrap();
            make(output.path()).unwrap();
            fs::write(at("file"), "old").unwrap();
            output.finish().unwrap_err();
            assert_eq!(fs::read(at("file")).unwrap(), b"old");
            fs::remove_file(at("file")).unwrap();
        }
        assert_eq!(names(), 1);
        assert!(OutputTree::create(&at("missing/target")).is_err());
    }
}
