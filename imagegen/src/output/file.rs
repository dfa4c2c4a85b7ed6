//! Output files that appear whole or not at all.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::magic::leads_to_open_file;
use super::temporary_name::{forget, lock, remove_abandoned, with_hidden_name};
use super::{Access, OutputError, directory_of};

/// A file that gets its name when it is finished.
///
/// While it is written it has no name at all (`O_TMPFILE`), so that even a killed process leaves nothing behind.
/// Where the file system cannot do that, it is a hidden file beside the target, removed on drop and by
/// [`super::remove_unfinished`]. To replace an earlier file it needs a hidden name too, for as long as two system calls
/// take. If the process is killed in between, the next one that writes the target removes the hidden file.
#[derive(Debug)]
#[must_use = "the file appears only after `finish`"]
pub struct OutputFile {
    /// Locked, so that no other process takes the hidden file for an abandoned one.
    file: File,
    target: PathBuf,
    /// The hidden name, if it has one.
    hidden: Option<PathBuf>,
    access: Access,
    /// Whether it is on the disk, name and all, when it is finished.
    durable: bool,
}

impl OutputFile {
    /// Starts a file that will be `target`. Nothing is visible there until [`OutputFile::finish`].
    pub fn create(target: &Path) -> Result<Self, OutputError> {
        Self::create_for(target, Access::Usual)
    }

    /// The same, with a rule for who may read it.
    pub fn create_for(target: &Path, access: Access) -> Result<Self, OutputError> {
        check_target(target)?;
        remove_abandoned(target);
        let directory = directory_of(target);
        let error = |source| OutputError::not_created(target, source);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match retry_on_intr(|| rustix::fs::open(directory, flags, access.mode())) {
            Ok(fd) => {
                let file = File::from(fd);
                lock(&file);
                Ok(Self { file, target: target.to_owned(), hidden: None, access, durable: false })
            }
            // What kernels and file systems without O_TMPFILE answer (open(2)).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                Self::create_hidden(target, access).map_err(error)
            }
            Err(errno) => Err(error(errno.into())),
        }
    }

    /// Whether success is to mean that a crash of the machine leaves the whole file: its contents are flushed to the
    /// disk before it gets its name, and its directory after (fsync(2)).
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// The file to write and read.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name, in the place of any earlier file of that name.
    pub fn finish(mut self) -> Result<(), OutputError> {
        self.flush(|output| output.file.sync_all())?;
        self.put_in_place().map_err(|source| OutputError::not_in_place(&self.target, source))?;
        self.flush(|output| File::open(directory_of(&output.target))?.sync_all())
    }

    fn flush(&self, sync: impl FnOnce(&Self) -> io::Result<()>) -> Result<(), OutputError> {
        if !self.durable {
            return Ok(());
        }
        sync(self).map_err(|source| {
            let problem = format!("cannot flush `{}` to the disk", self.target.display());
            OutputError::io(&self.target, problem, source)
        })
    }

    fn put_in_place(&mut self) -> io::Result<()> {
        self.access.keep(&self.file, &self.target)?;
        if self.hidden.is_none() {
            match link_open_file(&self.file, &self.target) {
                // A link cannot replace a file; a rename can.
                Err(Errno::EXIST) => {}
                result => return Ok(result?),
            }
            let (hidden, ()) =
                with_hidden_name(&self.target, |hidden| Ok(link_open_file(&self.file, hidden)?))?;
            self.hidden = Some(hidden);
        }
        if let Some(hidden) = &self.hidden {
            std::fs::rename(hidden, &self.target)?;
            forget(hidden);
            self.hidden = None;
        }
        Ok(())
    }

    /// Gives the file its name, unless there is a file of that name by now; says whether it did.
    pub fn finish_if_new(mut self) -> Result<bool, OutputError> {
        let placed = match self.hidden.clone() {
            None => link_open_file(&self.file, &self.target),
            Some(hidden) => rename_if_new(&hidden, &self.target).inspect(|()| {
                forget(&hidden);
                self.hidden = None;
            }),
        };
        match placed {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(OutputError::not_in_place(&self.target, errno.into())),
        }
    }

    fn create_hidden(target: &Path, access: Access) -> io::Result<Self> {
        loop {
            let (hidden, file) = with_hidden_name(target, |hidden| {
                let mode = access.mode().bits();
                File::options().read(true).write(true).create_new(true).mode(mode).open(hidden)
            })?;
            lock(&file);
            // Another process may have found it before it was locked.
            if file.metadata()?.nlink() > 0 {
                let target = target.to_owned();
                let output = Self { file, target, hidden: Some(hidden), access, durable: false };
                // Before it has contents, since it has a name already.
                access.keep(&output.file, &output.target)?;
                return Ok(output);
            }
            forget(&hidden);
        }
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(hidden) = self.hidden.take() {
            // The write has already failed; a failure to clean up would not be heard.
            let _ = std::fs::remove_file(&hidden);
            forget(&hidden);
        }
    }
}

fn check_target(target: &Path) -> Result<(), OutputError> {
    let error = |problem: String| Err(OutputError::target(target, problem));
    let shown = target.display();
    if target.file_name().is_none() {
        return error(format!("`{shown}` has no file name"));
    }
    if target == Path::new("-") {
        let advice = "`./-` is a file of that name";
        return error(format!("`-` stands for standard output, where this cannot be written; {advice}"));
    }
    if leads_to_open_file(target) {
        return error(format!(
            "`{shown}` leads to a file that is open already; name a regular file or a new one"
        ));
    }
    // What cannot be examined will fail on creation, with the system's own reason.
    let Ok(found) = target.metadata() else { return Ok(()) };
    let kind = match found.file_type() {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_block_device() => "block device",
        kind if kind.is_dir() => "directory",
        _ => "character device, pipe or socket",
    };
    error(format!("`{shown}` is a {kind}; name a regular file or a new one"))
}

fn link_open_file(file: &File, name: &Path) -> Result<(), Errno> {
    // linkat(2) by descriptor alone needs CAP_DAC_READ_SEARCH; by /proc it needs nothing.
    let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
    retry_on_intr(|| rustix::fs::linkat(CWD, &magic, CWD, name, AtFlags::SYMLINK_FOLLOW))
}

pub(super) fn rename_if_new(from: &Path, to: &Path) -> Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that has only the plain call.
        Err(Errno::INVAL) if to.symlink_metadata().is_ok() => Err(Errno::EXIST),
        Err(Errno::INVAL) => rustix::fs::rename(from, to),
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::FileType;

    fn entries(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn create_hidden(target: &Path) -> OutputFile {
        OutputFile::create_hidden(target, Access::Usual).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn what_replaces_a_file_keeps_its_mode_unless_it_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("disk.img");
        let begin = |hidden: bool, access| {
            if hidden {
                OutputFile::create_hidden(&target, access).unwrap()
            } else {
                OutputFile::create_for(&target, access).unwrap()
            }
        };
        for hidden in [false, true] {
            for old in [0o600, 0o640, 0o666, 0o444] {
                begin(hidden, Access::Usual).finish().unwrap();
                std::fs::set_permissions(&target, Permissions::from_mode(old)).unwrap();
                begin(hidden, Access::Usual).durable(true).finish().unwrap();
                assert_eq!(mode(&target), old);
                begin(hidden, Access::Private).finish().unwrap();
                assert_eq!(mode(&target), 0o600);
                std::fs::remove_file(&target).unwrap();
            }
        }
        // A link is replaced by a file that no more people can read than what it led to.
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "").unwrap();
        std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&secret, &target).unwrap();
        OutputFile::create(&target).unwrap().finish().unwrap();
        assert!(target.symlink_metadata().unwrap().is_file());
        assert_eq!(mode(&target), 0o600);
    }

    #[test]
    fn a_file_appears_whole_and_replaces_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("disk.img");
        for content in ["first", "second"] {
            let output = OutputFile::create(&target).unwrap();
            output.file().write_all(content.as_bytes()).unwrap();
            output.finish().unwrap();
            assert_eq!(std::fs::read_to_string(&target).unwrap(), content);
        }
        assert_eq!(entries(directory.path()), ["disk.img"]);
    }

    #[test]
    fn a_file_that_is_there_can_be_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("disk.img");
        for create in [OutputFile::create, |path: &Path| Ok(create_hidden(path))] {
            for (content, is_new) in [("first", true), ("second", false)] {
                let output = create(&target).unwrap();
                output.file().write_all(content.as_bytes()).unwrap();
                assert_eq!(output.finish_if_new().unwrap(), is_new);
                assert_eq!(std::fs::read_to_string(&target).unwrap(), "first");
            }
            assert_eq!(entries(directory.path()), ["disk.img"]);
            std::fs::remove_file(&target).unwrap();
        }
    }

    #[test]
    fn an_abandoned_file_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("disk.img");
        drop(OutputFile::create(&target).unwrap());
        let hidden = create_hidden(&target);
        assert_eq!(entries(directory.path()).len(), 1);
        drop(hidden);
        assert!(entries(directory.path()).is_empty());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_another_writes_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("disk.img");
        let at = |name: &str| directory.path().join(name);
        let abandoned = at(".disk.img.nix-imagegen-unfinished-4194999-0.part");
        let others = [".disk.img.1-0.part", ".disk.img.2026-11-27.part", ".disk.img.backup.part"];
        std::fs::write(&abandoned, "left").unwrap();
        for name in others {
            std::fs::write(at(name), "left").unwrap();
        }
        // What is no file is not waited for.
        let pipe = at(".disk.img.nix-imagegen-unfinished-1-0.part");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, 0o600.into(), 0).unwrap();
        let first = create_hidden(&target);
        let second = create_hidden(&target);
        drop(OutputFile::create(&target).unwrap());
        assert!(!abandoned.exists() && others.iter().all(|name| at(name).exists()) && pipe.exists());
        std::fs::remove_file(pipe).unwrap();
        first.file().write_all(b"first").unwrap();
        first.finish().unwrap();
        second.finish().unwrap();
        let [a, b, c] = others;
        assert_eq!(entries(directory.path()), [a, b, c, "disk.img"]);
    }

    #[test]
    fn the_longest_name_can_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("n".repeat(255));
        for _ in 0..2 {
            OutputFile::create(&target).unwrap().finish().unwrap();
            create_hidden(&target).finish().unwrap();
        }
        assert_eq!(entries(directory.path()).len(), 1);
    }

    #[test]
    fn a_target_that_changed_meanwhile_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("below");
        std::fs::create_dir(&below).unwrap();
        let target = below.join("disk.img");
        let output = OutputFile::create(&target).unwrap();
        std::fs::create_dir(&target).unwrap();
        let error = output.finish().unwrap_err().to_string();
        assert!(error.contains("cannot put") && error.contains("below/disk.img"), "{error}");
        assert_eq!(entries(&below), ["disk.img"]);

        std::fs::remove_dir(&target).unwrap();
        let output = OutputFile::create(&target).unwrap();
        std::fs::remove_dir(&below).unwrap();
        assert!(output.finish().unwrap_err().to_string().contains("below/disk.img"));
        assert!(entries(directory.path()).is_empty());
    }

    #[test]
    fn impossible_targets_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| OutputFile::create(&directory.path().join(name)).unwrap_err().to_string();
        assert!(at("missing/disk.img").contains("missing"));
        assert!(at("").contains("is a directory"), "an empty name is the directory itself");
        assert!(OutputFile::create(Path::new("/dev/null")).unwrap_err().to_string().contains("device"));
        assert!(OutputFile::create(Path::new("/")).unwrap_err().to_string().contains("no file name"));
    }
}
