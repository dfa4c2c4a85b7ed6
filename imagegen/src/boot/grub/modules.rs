//! A GRUB package's directory `lib/grub/i386-pc`: its files, and which module needs which.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::GrubError;
use crate::depth_first::depth_first;
use crate::fs::file_source::FileSource;

/// The list of modules and what they need, in the directory of modules.
const DEPENDENCY_LIST: &str = "moddep.lst";
/// GRUB's files are far smaller; a larger one is not read into memory.
const FILE_LIMIT: u64 = 16 << 20;

/// GRUB's files for BIOS, opened.
#[derive(Debug, Clone)]
pub struct GrubDirectory {
    path: PathBuf,
    /// Each module's direct dependencies, in the order of `moddep.lst`.
    dependencies: BTreeMap<String, Vec<String>>,
}

impl GrubDirectory {
    /// Opens the directory `lib/grub/i386-pc` of a GRUB package, at `path` on this machine.
    pub fn open(path: &Path) -> Result<Self, GrubError> {
        let list = path.join(DEPENDENCY_LIST);
        let dependencies = parse_dependencies(&list, &read_file(&list)?)?;
        Ok(Self { path: path.to_owned(), dependencies })
    }

    /// Reads one of its files; the error names it.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, GrubError> {
        read_file(&self.file(name))
    }

    /// Reads a module.
    pub fn read_module(&self, module: &str) -> Result<Vec<u8>, GrubError> {
        self.read(&format!("{module}.mod"))
    }

    /// Where one of its files is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// `modules` and all that they need, each module once and after everything that it needs.
    ///
    /// GRUB links modules in the order in which they lie in the core image. Among the orders that work this is
    /// `grub-mkimage`'s: depth first from the modules as they were asked for, a module's dependencies in the
    /// reverse of their order in `moddep.lst`.
    pub fn closure(&self, modules: &[&str]) -> Result<Vec<String>, GrubError> {
        let needs = |module| self.needs(module).map(|modules| modules.iter().rev().map(String::as_str));
        let circle = |module: &str, needed: &str| {
            let list = self.list();
            GrubError::Damaged(format!(
                "`{list}`: the module `{needed}` depends on itself, through `{module}`"
            ))
        };
        let ordered = depth_first(modules.iter().copied(), needs, circle)?;
        Ok(ordered.into_iter().map(str::to_owned).collect())
    }

    /// What belongs in `i386-pc` of GRUB's directory on the disk, by name: every module (`*.mod`), and the lists
    /// (`*.lst`) by which GRUB finds the module of a command or file system.
    pub fn files_to_copy(&self) -> Result<BTreeMap<String, FileSource>, GrubError> {
        let error = read_error(&self.path);
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&self.path).map_err(&error)? {
            let entry = entry.map_err(&error)?;
            let Some(name) = name_to_copy(entry.file_name()) else { continue };
            let physical = entry.path();
            let size = regular_file_size(&physical)?;
            files.insert(name, FileSource::File { physical, size });
        }
        Ok(files)
    }

    fn needs(&self, module: &str) -> Result<&[String], GrubError> {
        self.dependencies.get(module).map(Vec::as_slice).ok_or_else(|| {
            let list = self.list();
            GrubError::Damaged(format!(
                "`{list}` has no module `{module}`; a module is named without `.mod`, as in `part_gpt`"
            ))
        })
    }

    fn list(&self) -> String {
        self.file(DEPENDENCY_LIST).display().to_string()
    }
}

/// Reads `moddep.lst`: in each line a module, a colon and the modules that it needs, separated by spaces.
fn parse_dependencies(file: &Path, text: &[u8]) -> Result<BTreeMap<String, Vec<String>>, GrubError> {
    let mut all = BTreeMap::new();
    for (number, line) in text.split(|&b| b == b'\n').enumerate() {
        let error =
            |problem| GrubError::Damaged(format!("`{}`, line {}: {problem}", file.display(), number + 1));
        let line = str::from_utf8(line).map_err(|_| error("the text is not UTF-8"))?;
        if line.trim().is_empty() {
            continue;
        }
        let (module, needs) = line.split_once(':').ok_or_else(|| error("no colon after the module"))?;
        let needs: Vec<&str> = needs.split_whitespace().collect();
        let names = || std::iter::once(module).chain(needs.iter().copied());
        // A name becomes a file name: it must not lead out of the directory.
        if !names().all(is_module_name) {
            return Err(error("a module's name is made of letters, digits, `_`, `-` and `+`"));
        }
        let needs = needs.into_iter().map(str::to_owned).collect();
        if all.insert(module.to_owned(), needs).is_some() {
            return Err(error("the module has a line already"));
        }
    }
    Ok(all)
}

fn is_module_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
}

fn name_to_copy(name: OsString) -> Option<String> {
    let name = name.into_string().ok()?;
    let (stem, extension) = name.rsplit_once('.')?;
    (is_module_name(stem) && matches!(extension, "mod" | "lst")).then_some(name)
}

fn read_file(path: &Path) -> Result<Vec<u8>, GrubError> {
    let size = regular_file_size(path)?;
    if size > FILE_LIMIT {
        let file = path.display();
        return Err(GrubError::Damaged(format!(
            "`{file}` has {size} bytes, and a file of GRUB at most {FILE_LIMIT}; is it GRUB's?"
        )));
    }
    fs::read(path).map_err(read_error(path))
}

/// The size of a file, in bytes. A link could lead out of the store, and a pipe would never end.
fn regular_file_size(path: &Path) -> Result<u64, GrubError> {
    let metadata = fs::symlink_metadata(path).map_err(read_error(path))?;
    if !metadata.is_file() {
        let file = path.display();
        return Err(GrubError::Damaged(format!(
            "`{file}` is not a regular file, as it must be in a GRUB package"
        )));
    }
    Ok(metadata.len())
}

fn read_error(path: &Path) -> impl Fn(io::Error) -> GrubError {
    move |source| GrubError::Read { file: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(list: &str) -> Result<GrubDirectory, GrubError> {
        let guard = tempfile::tempdir().unwrap();
        fs::write(guard.path().join(DEPENDENCY_LIST), list).unwrap();
        GrubDirectory::open(guard.path())
    }

    #[test]
    fn a_module_stands_once_and_after_what_it_needs() {
        let grub = directory("normal: boot net\nnet: boot\nboot:\nfat: fshelp\nfshelp:\n").unwrap();
        assert_eq!(
            grub.closure(&["fat", "normal", "fat"]).unwrap(),
            ["fshelp", "fat", "boot", "net", "normal"]
        );
        assert!(grub.closure(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_deep_chain_needs_no_stack() {
        let lines: Vec<_> = (1..200_000).map(|i| format!("m{i}: m{}\n", i - 1)).collect();
        let list = format!("m0:\n{}", lines.concat());
        assert_eq!(directory(&list).unwrap().closure(&["m199999"]).unwrap().len(), 200_000);
    }

    #[test]
    fn mistakes_are_named() {
        let grub = directory("a: b\nb: c\nc: a\nd: e\n").unwrap();
        for (module, what) in
            [("a", "`a` depends on itself, through `c`"), ("d", "no module `e`"), ("x.mod", "`x.mod`")]
        {
            let error = grub.closure(&[module]).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        for (list, what) in [
            ("fat: fshelp\nfat\n", "line 2: no colon"),
            ("fat:\nfat: fshelp\n", "line 2: the module has a line"),
            ("../fat:\n", "line 1: a module's name"),
            ("fat: ../../x\n", "line 1: a module's name"),
            (":\n", "line 1: a module's name"),
        ] {
            let error = directory(list).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn only_modules_and_lists_are_copied() {
        let guard = tempfile::tempdir().unwrap();
        for name in ["moddep.lst", "fat.mod", "boot.img", "modinfo.sh", "a.b.mod", ".mod"] {
            fs::write(guard.path().join(name), "").unwrap();
        }
        let grub = GrubDirectory::open(guard.path()).unwrap();
        let files = grub.files_to_copy().unwrap();
        let names: Vec<_> = files.keys().collect();
        assert_eq!(names, ["fat.mod", "moddep.lst"]);

        // What is neither copied as it is nor followed is told.
        std::os::unix::fs::symlink("fat.mod", guard.path().join("link.mod")).unwrap();
        let error = grub.files_to_copy().unwrap_err().to_string();
        assert!(error.contains("link.mod` is not a regular file"), "{error}");
        assert!(grub.read_module("link").is_err());
    }
}
