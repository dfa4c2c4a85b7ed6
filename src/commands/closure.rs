//! From the options that name a closure to its registration.

use std::path::{Path, PathBuf};

use imagegen::nix::{Registration, database, references_graph};

use super::store_path::store_path;
use crate::cli::ClosureArgs;
use crate::closure_file;

/// Reads the registration that the options name.
pub fn read(args: &ClosureArgs, store_root: &Path) -> anyhow::Result<Registration> {
    if let Some(file) = &args.registration {
        return Ok(Registration::parse(file, &closure_file::read(file, "registration")?)?);
    }
    if !args.references_graph.is_empty() {
        let read = |file: &PathBuf| -> anyhow::Result<_> {
            Ok((file.clone(), closure_file::read(file, "references graph")?))
        };
        let files = args.references_graph.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        return Ok(references_graph::read(&files)?);
    }
    let paths = args.closure.iter().map(|path| store_path(path, store_root));
    Ok(database::closure(store_root, &paths.collect::<anyhow::Result<Vec<_>>>()?)?)
}

/// What to say of a registration without any path, which can be meant, but seldom is.
pub fn note_on_empty(registration: &Registration, args: &ClosureArgs) -> Option<String> {
    let file = args.registration.as_ref().filter(|_| registration.paths().is_empty())?;
    Some(format!(
        "`{}` is empty: it registers no store path; did the command fail that was to write it?",
        file.display()
    ))
}

/// The files that [`read`] reads, which no output may replace.
pub fn input_files(args: &ClosureArgs, store_root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = args.registration.iter().chain(&args.references_graph).cloned().collect();
    if !args.closure.is_empty() {
        files.push(store_root.join(database::DATABASE_DIRECTORY).join("db.sqlite"));
    }
    files
}
