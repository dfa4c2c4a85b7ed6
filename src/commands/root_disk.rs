//! `root-disk`: a guest's root file system with the database of its store, and the store if asked for.

use imagegen::closure::{self as library, Closure};
use imagegen::container::Format;
use imagegen::ext4;
use imagegen::output;
use imagegen::root_disk::{self, Options, Plan};
use imagegen::store_image::Verified;
use imagegen::store_path::StoreRoot;
use imagegen::units::ByteCount;

use super::boot_disk::store_path;
use super::closure;
use crate::cli::RootDiskArgs;
use crate::progress::Reporter;
use crate::target::Target;

/// Writes the disk.
pub fn run(args: &RootDiskArgs, reporter: &Reporter) -> anyhow::Result<()> {
    for input in closure::input_files(&args.closure, &args.store.store_root) {
        output::check_apart(&args.output, [input.as_path()])?;
    }
    let threads = super::store_image::thread_pool(args.jobs)?;
    let closure = threads.install(|| read_closure(args, reporter))?;
    let toplevel =
        args.toplevel.as_deref().map(|path| store_path(path, &args.store.store_root)).transpose()?;
    let options = Options { toplevel: toplevel.as_ref(), with_store: args.with_store };
    let files = root_disk::files(&closure, options)?;
    let plan = root_disk::plan(&closure, &files, &file_system_options(args), !args.no_verify, reporter)?;

    let output = Target::create(&args.output, args.format.into(), args.force)?;
    let verified = threads.install(|| write(&plan, args, &output, reporter))?;
    let image_bytes = output.length(plan.size())?;
    output.finish()?;
    reporter.note(&summary(args, &plan, &closure, verified, image_bytes, reporter));
    Ok(())
}

/// Reads the closure; every path must be there, and gets a hash if it has none, since the database needs one.
fn read_closure(args: &RootDiskArgs, reporter: &Reporter) -> anyhow::Result<Closure> {
    let registration = closure::read(&args.closure, &args.store.store_root)?;
    let mut closure = library::scan(registration, StoreRoot::new(&args.store.store_root), reporter)?;
    library::fill_in_hashes(&mut closure, reporter)?;
    Ok(closure)
}

fn file_system_options(args: &RootDiskArgs) -> ext4::Options {
    ext4::Options {
        journal: true,
        size: args.size.of_file_system(args.additional_space),
        ..ext4::Options::new(&args.label, args.uuid)
    }
}

fn write(
    plan: &Plan<'_>,
    args: &RootDiskArgs,
    output: &Target,
    reporter: &Reporter,
) -> anyhow::Result<Verified> {
    let image = output.image(plan.size(), &plan.allocated(), None)?;
    let verified = plan.write(&image, !args.no_verify, reporter)?;
    image.finish()?;
    Ok(verified)
}

fn summary(
    args: &RootDiskArgs,
    plan: &Plan<'_>,
    closure: &Closure,
    verified: Verified,
    image_bytes: ByteCount,
    reporter: &Reporter,
) -> String {
    let store = if args.with_store {
        format!("with them in it, {} verified", verified.verified)
    } else {
        "without a store".to_owned()
    };
    format!(
        "{}: {} of {} ({image_bytes} on disk) that knows {} store paths, {store}; {:.1} s",
        args.output.display(),
        Format::from(args.format).name(),
        plan.size(),
        closure.registration.paths().len(),
        reporter.elapsed().as_secs_f64(),
    )
}
