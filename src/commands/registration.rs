//! `registration`: what the store says of a closure, in Nix's own format.

use std::io::Write;

use anyhow::Context;
use imagegen::output::OutputFile;

use super::closure;
use crate::cli::RegistrationArgs;
use crate::streams;

/// Prints the registration or writes it to a file.
pub fn run(args: &RegistrationArgs) -> anyhow::Result<()> {
    let text = closure::read(&args.closure, &args.store.store_root)?.to_string();
    let Some(target) = args.output.as_deref().filter(|target| !streams::is_standard_output(target)) else {
        return streams::print(text.as_bytes());
    };
    let output = OutputFile::create(target)?;
    output
        .file()
        .write_all(text.as_bytes())
        .with_context(|| format!("cannot write `{}`", target.display()))?;
    Ok(output.finish()?)
}
