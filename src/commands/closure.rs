//! From the options that name a closure to its registration.

use std::path::{Path, PathBuf};

use anyhow::Context;
use imagegen::closure::{Registration, database, references_graph};

use super::store_path::store_path;
use crate::cli::ClosureArgs;

/// Reads the registration that the options name.
pub fn read(args: &ClosureArgs, store_root: &Path) -> anyhow::Result<Registration> {
    if let Some(file) = &args.registration {
        let bytes = std::fs::read(file)
            .with_context(|| format!("cannot read the registration `{}`", file.display()))?;
        return Ok(Registration::parse(file, &bytes)?);
    }
    if !args.references_graph.is_empty() {
        let read = |file: &PathBuf| -> anyhow::Result<_> {
            let bytes = std::fs::read(file)
                .with_context(|| format!("cannot read the references graph `{}`", file.display()))?;
            Ok((file.clone(), bytes))
        };
        let files = args.references_graph.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        return Ok(references_graph::read(&files)?);
    }
    let paths = args.closure.iter().map(|path| store_path(path, store_root));
    Ok(database::closure(store_root, &paths.collect::<anyhow::Result<Vec<_>>>()?)?)
}

/// The files that [`read`] reads, which no output may replace.
pub fn input_files(args: &ClosureArgs, store_root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = args.registration.iter().chain(&args.references_graph).cloned().collect();
    if !args.closure.is_empty() {
        files.push(store_root.join(database::DATABASE_DIRECTORY).join("db.sqlite"));
    }
    files
}
