//! `registration`: what the store says of a closure, in Nix's own format.

use std::io::Write;

use anyhow::Context;
use imagegen::output::OutputFile;

use super::closure;
use crate::cli::RegistrationArgs;

/// Prints the registration or writes it to a file.
pub fn run(args: &RegistrationArgs) -> anyhow::Result<()> {
    let text = closure::read(&args.closure, &args.store.store_root)?.to_string();
    let Some(target) = &args.output else {
        return std::io::stdout().write_all(text.as_bytes()).context("cannot print the registration");
    };
    let output = OutputFile::create(target)?;
    output
        .file()
        .write_all(text.as_bytes())
        .with_context(|| format!("cannot write `{}`", target.display()))?;
    Ok(output.finish()?)
}
