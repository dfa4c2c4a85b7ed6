//! What is measured: a closure or a system, brought where every contender finds it.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use imagegen::boot::toplevel;
use imagegen::fs::file_source::FileSource;
use imagegen::nix::Registration;
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::units::ByteCount;
use schemars::JsonSchema;
use serde::Serialize;

use super::measure;
use super::scratch::Scratch;
use super::setup::Temporary;
use super::shape::{self, Shape};
use super::survey::Survey;
use crate::cli::{BenchArgs, ShapeArg};
use crate::hints::STORE_ROOT;
use crate::progress::Reporter;

/// What is measured.
#[derive(Debug)]
pub struct Subject {
    /// For a heading: `Store image of 2.0 GiB in 60,000 files`.
    pub title: String,
    /// What it consists of, for JSON.
    pub description: Description,
    /// What the commands of contenders refer to.
    pub variables: Vec<(&'static str, OsString)>,
    /// What is read before the first round, so that all of it is in memory.
    pub warm_up: String,
    /// How much room the largest outputs take.
    pub room: u64,
    /// What was made for it.
    pub temporary: Option<Temporary>,
}

/// What a subject consists of.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Description {
    /// A closure for store images.
    StoreImage {
        /// How it was made, if it was.
        shape: Option<String>,
        /// What is in it.
        #[serde(flatten)]
        survey: Survey,
    },
    /// A system for boot disks.
    BootDisk {
        /// The system.
        toplevel: String,
        /// The length of kernel, initrd and boot loader.
        source_bytes: u64,
    },
}

impl Subject {
    /// Finds or makes what the command line asks for.
    pub fn prepare(args: &BenchArgs, scratch: &Scratch, reporter: &Reporter) -> anyhow::Result<Self> {
        match (&args.store_root, &args.toplevel, &args.registration) {
            (Some(root), Some(system), _) => boot_disk(root, system),
            (Some(root), None, Some(registration)) => given_closure(root, registration, scratch, reporter),
            _ => made_closure(args, scratch, reporter),
        }
    }
}

/// The shape that the command line asks for.
pub fn shape(args: &BenchArgs) -> Shape {
    let files = args.files.map(|files| files.get().into());
    Shape::new(args.shape, files, args.total.map(|total| total.0))
}

fn made_closure(args: &BenchArgs, scratch: &Scratch, reporter: &Reporter) -> anyhow::Result<Subject> {
    let directory = scratch.path("closure");
    let name = shape_name(args.shape);
    reporter.note(&format!("making the closure ({name})"));
    // Another process does it, which takes the memory that it used with it: see `survey`.
    let files = args.files.map(|files| format!("--files={files}"));
    let total = args.total.map(|total| format!("--total={}", total.0));
    let options: Vec<_> = [format!("--shape={name}")].into_iter().chain(files).chain(total).collect();
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args(["bench", "--quiet"]).args(&options).arg("--make").arg(&directory);
    let (used, complaint) = measure::finish(&mut command, scratch)?;
    ensure!(used.status.success(), "cannot make the closure: {}", complaint.join("; "));
    let subject = store_image(&directory.join("root"), &directory.join("registration"), Some(name))?;
    Ok(Subject { temporary: Some(Temporary { directory, options }), ..subject })
}

fn shape_name(shape: ShapeArg) -> String {
    shape.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// A closure in a store, or a copy of it where the store has other things too: tools that know nothing of
/// registrations would take them along.
fn given_closure(
    root: &Path,
    registration: &Path,
    scratch: &Scratch,
    reporter: &Reporter,
) -> anyhow::Result<Subject> {
    let parsed = read_registration(registration)?;
    let paths = store_paths(&parsed, root)?;
    if holds_only(&StoreRoot::new(root).directory(), &paths)? {
        return store_image(root, registration, None);
    }
    reporter.note("copying the closure, since its store holds other things too");
    let directory = scratch.path("closure");
    copy_paths(&paths, root, &directory, |command| {
        let (used, complaint) = measure::finish(command, scratch)?;
        ensure!(used.status.success(), "cannot copy the closure: {}", complaint.join("; "));
        Ok(())
    })?;
    let words = ["--store-root".into(), absolute(root)?, "--registration".into(), absolute(registration)?];
    let options = words.iter().map(|word| word.display().to_string()).collect();
    let subject = store_image(&directory.join(shape::ROOT), registration, None)?;
    Ok(Subject { temporary: Some(Temporary { directory, options }), ..subject })
}

/// Makes what is measured, for a later measurement or for a command that is run by hand: the closure of a shape, or a copy
/// of the given one without what else is in its store.
pub fn make(args: &BenchArgs, directory: &Path) -> anyhow::Result<()> {
    let (Some(root), Some(registration)) = (&args.store_root, &args.registration) else {
        return shape::make(shape(args), directory);
    };
    let parsed = read_registration(registration)?;
    let paths = store_paths(&parsed, root)?;
    shape::check_free(directory)?;
    copy_paths(&paths, root, directory, |command| {
        let status = command.status().context("cannot start cp")?;
        ensure!(status.success(), "cannot copy the closure: cp ended with {status}");
        Ok(())
    })?;
    shape::write_registration(&parsed, directory)
}

fn read_registration(file: &Path) -> anyhow::Result<Registration> {
    let bytes = std::fs::read(file);
    let bytes = bytes.with_context(|| format!("cannot read the registration `{}`", file.display()))?;
    let parsed = Registration::parse(file, &bytes)?;
    ensure!(!parsed.paths().is_empty(), "`{}` registers nothing", file.display());
    Ok(parsed)
}

/// The registered paths, all of which are there.
fn store_paths<'r>(registration: &'r Registration, root: &Path) -> anyhow::Result<Vec<&'r StorePath>> {
    let paths: Vec<_> = registration.paths().iter().map(|registered| &registered.path).collect();
    let store = StoreRoot::new(root);
    for path in &paths {
        let physical = store.physical(path);
        ensure!(
            physical.symlink_metadata().is_ok(),
            "{path} is registered but missing: there is no `{}`{STORE_ROOT}",
            physical.display()
        );
    }
    Ok(paths)
}

/// Copies store paths to a root of their own within a directory, by commands that `run` carries out.
fn copy_paths(
    paths: &[&StorePath],
    root: &Path,
    directory: &Path,
    mut run: impl FnMut(&mut Command) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let store = StoreRoot::new(root);
    let target = StoreRoot::new(directory.join(shape::ROOT)).directory();
    std::fs::create_dir_all(&target).with_context(|| format!("cannot create `{}`", target.display()))?;
    // As few processes as there may be arguments.
    for some in paths.chunks(1000) {
        let mut command = Command::new("cp");
        run(command.arg("-a").arg("--").args(some.iter().map(|path| store.physical(path))).arg(&target))?;
    }
    Ok(())
}

/// Whether a store has no more than these paths. Empty hidden directories, as Nix makes one, do not count.
fn holds_only(store: &Path, paths: &[&StorePath]) -> anyhow::Result<bool> {
    let context = || format!("cannot read `{}`", store.display());
    let names: HashSet<&OsStr> = paths.iter().map(|path| OsStr::new(path.base_name())).collect();
    for entry in store.read_dir().with_context(context)? {
        let entry = entry.with_context(context)?;
        let is_empty = || entry.path().read_dir().is_ok_and(|mut entries| entries.next().is_none());
        if !names.contains(entry.file_name().as_os_str()) && !is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn store_image(root: &Path, registration: &Path, shape: Option<String>) -> anyhow::Result<Subject> {
    let root = absolute(root)?;
    let store = StoreRoot::new(&root).directory();
    let survey = Survey::of(&store)?;
    let file_system = survey.file_system_bytes();
    let source = ByteCount(survey.source_bytes);
    Ok(Subject {
        title: format!("Store image of {source} in {} files", grouped(survey.files)),
        description: Description::StoreImage { shape, survey },
        variables: vec![
            ("ROOT", root.into()),
            ("REGISTRATION", absolute(registration)?.into()),
            ("STORE", store.into()),
            ("INODES", survey.inodes().to_string().into()),
            ("KIBIBYTES", file_system.div_ceil(1024).to_string().into()),
        ],
        warm_up: r#"find "$STORE" -type f -print0 | xargs -0 cat > /dev/null"#.to_owned(),
        // A raw image and what is converted from it; a sparse one takes no more than the files.
        room: 2 * file_system,
        temporary: None,
    })
}

fn boot_disk(root: &Path, system: &Path) -> anyhow::Result<Subject> {
    let store = StoreRoot::new(root);
    let text = system.to_string_lossy();
    let path = StorePath::parse(&text)?;
    let system = toplevel::read(&store, &path)?;
    let program = if system.system.starts_with("aarch64") { "aa64" } else { "x64" };
    let loader = format!("{path}/systemd/lib/systemd/boot/efi/systemd-boot{program}.efi");
    let loader = store.resolve(Path::new(&loader)).context("cannot find systemd-boot")?.physical;
    let kernel = on_this_machine(&system.boot.kernel.content)?;
    let initrd = system.boot.initrd.as_ref().context("the system has no initrd")?;
    let initrd = on_this_machine(&initrd.content)?;
    let mut source_bytes = 0;
    for file in [&kernel, &initrd, &loader] {
        source_bytes += file.metadata().with_context(|| format!("cannot read `{}`", file.display()))?.len();
    }
    Ok(Subject {
        title: format!("Boot disk with kernel, initrd and systemd-boot of {}", ByteCount(source_bytes)),
        description: Description::BootDisk { toplevel: path.to_string(), source_bytes },
        variables: vec![
            ("ROOT", absolute(root)?.into()),
            ("TOPLEVEL", path.to_string().into()),
            ("KERNEL", absolute(&kernel)?.into()),
            ("INITRD", absolute(&initrd)?.into()),
            ("LOADER", absolute(&loader)?.into()),
        ],
        warm_up: r#"cat "$KERNEL" "$INITRD" "$LOADER" > /dev/null"#.to_owned(),
        room: 256 << 20,
        temporary: None,
    })
}

/// A number with a comma before every three digits: `52,578`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn on_this_machine(content: &FileSource) -> anyhow::Result<PathBuf> {
    match content {
        FileSource::File { physical, .. } => Ok(physical.clone()),
        _ => anyhow::bail!("a kernel or initrd is not a file of the store"),
    }
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot find `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped() {
        let grouped = [0, 60, 999, 1000, 52_578, 1_234_567].map(super::grouped);
        assert_eq!(grouped, ["0", "60", "999", "1,000", "52,578", "1,234,567"]);
    }
}
