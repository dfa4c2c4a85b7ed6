//! What `--verbose` tells of the decisions that several commands make.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use imagegen::boot::{Generations, Loaders};
use imagegen::disk::layout::{Content, Layout};
use imagegen::nix::Registration;
use imagegen::nix::store_path::StoreRoot;
use imagegen::units::{ByteCount, SECTOR};

use crate::cli::{ClosureArgs, FromStoreArgs};
use crate::progress::Reporter;

/// Which closure is read, from where, and what is checked.
pub fn closure(from: &FromStoreArgs, registration: &Registration, reporter: &Reporter) {
    reporter.decided(|| {
        let count = registration.paths().len();
        format!("closure: {count} store paths, told by {}", source(&from.closure))
    });
    reporter.decided(|| {
        format!(
            "store: /nix/store is read from `{}`",
            StoreRoot::new(&from.store.store_root).directory().display()
        )
    });
    reporter.decided(|| {
        let hashed = registration.paths().iter().filter(|path| path.nar.is_some()).count();
        let compared = if from.no_verify { "not compared (--no-verify)" } else { "compared with the files" };
        format!("hashes: {hashed} of {} store paths have one, {compared}", registration.paths().len())
    });
    threads(from.jobs, reporter);
}

fn source(args: &ClosureArgs) -> String {
    match (&args.registration, args.references_graph.len()) {
        (Some(file), _) => format!("`{}`", file.display()),
        (None, 0) => "the store's database".to_owned(),
        (None, 1) => "a references graph".to_owned(),
        (None, count) => format!("{count} references graphs"),
    }
}

/// How many threads may work.
pub fn threads(jobs: Option<NonZeroUsize>, reporter: &Reporter) {
    reporter.decided(|| {
        let processors = || available_parallelism().map_or(1, NonZeroUsize::get);
        let of_processors = || format!("threads: at most {}, one for each processor", processors());
        jobs.map_or_else(of_processors, |jobs| format!("threads: at most {jobs} (--jobs)"))
    });
}

/// How large a file system is, and why.
pub fn file_system(from: &FromStoreArgs, size: ByteCount, journal: bool, reporter: &Reporter) {
    reporter.decided(|| {
        let why = if from.size.is_some() { "as --size says" } else { "as large as its files need" };
        let journal = if journal { "with a journal" } else { "without a journal" };
        format!("file system: ext4 of {size}, {why}, {journal}")
    });
}

/// Where everything on a disk lies.
pub fn layout(layout: &Layout, reporter: &Reporter) {
    for (content, name) in [
        (Content::GrubCore, "GRUB's core image"),
        (Content::Fat, "EFI system partition"),
        (Content::Ext4, "root file system"),
    ] {
        if let Some(part) = layout.part(content) {
            reporter.decided(|| {
                let size = ByteCount(part.sectors().saturating_mul(SECTOR));
                format!("{name}: {size} at sectors {} to {}", part.first.0, part.last.0)
            });
        }
    }
    reporter.decided(|| {
        let table = if layout.has_gpt() { "with a GPT" } else { "without a GPT" };
        format!("disk: {}, {table}", layout.size())
    });
}

/// Which systems the menu offers, and where the loaders' files come from.
pub fn boot(generations: &Generations, loaders: &Loaders, reporter: &Reporter) {
    for generation in generations.list() {
        reporter.decided(|| {
            let default =
                if generation.number == generations.default().number { ", the default" } else { "" };
            format!("generation {}{default}: {}", generation.number, generation.system.toplevel)
        });
    }
    reporter.decided(|| {
        let names = loaders.iter().map(|loader| loader.to_string()).collect::<Vec<_>>();
        let sources = loaders.sources().iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("boot loaders: {}, with files of {}", names.join(" and "), sources.join(", "))
    });
}
