//! `registration`: what the store says of a closure, in Nix's own format.

use anyhow::Context;
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::nix::closure::{check_order, hash_missing};
use imagegen::nix::store_path::StoreRoot;

use super::closure;
use crate::cli::{RegistrationArgs, SyncArg};
use crate::progress::Reporter;
use crate::small_file;
use crate::streams;

/// Prints the registration or writes it to a file.
pub fn run(args: &RegistrationArgs, reporter: &Reporter) -> anyhow::Result<()> {
    let mut registration = closure::read(&args.closure, &args.store.store_root)?;
    if let Some(note) = closure::note_on_empty(&registration, &args.closure) {
        reporter.note(&format!("warning: {note}"));
    }
    // What is printed is for `nix-store --load-db`, which takes neither.
    check_order(registration.paths())?;
    fill_in_hashes(&mut registration, args, reporter)?;
    let text = registration.to_string();
    let Some(target) = args.output.as_deref().filter(|target| !streams::is_standard_output(target)) else {
        return streams::print(text);
    };
    small_file::write(target, text.as_bytes(), SyncArg::default())
}

/// Computes the hashes that nobody told.
fn fill_in_hashes(
    registration: &mut Registration,
    args: &RegistrationArgs,
    reporter: &Reporter,
) -> anyhow::Result<()> {
    let missing = registration.paths().iter().filter(|registered| registered.nar.is_none()).count();
    if missing == 0 {
        return Ok(());
    }
    let store = StoreRoot::new(&args.store.store_root);
    let hashed = hash_missing(registration, store, &Job::default().progress(reporter));
    hashed.with_context(|| {
        format!("{missing} paths have no hash, which a registration must have, and it is computed from their files")
    })?;
    Ok(())
}
