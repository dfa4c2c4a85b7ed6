//! `store-image`: from a registration to an image of its store paths.

use imagegen::container::Format;
use imagegen::fs::ext4;
use imagegen::fs::file_tree::Counts;
use imagegen::image::store_image::{self, Verified};

use schemars::Schema;

use super::{closure, decided, fixed_values};
use crate::cli::StoreImageArgs;
use crate::image_output::ImageOutput;
use crate::json;
use crate::progress::Reporter;
use crate::report;

/// Writes the image and, if asked to, its report.
pub fn run(args: &StoreImageArgs, reporter: &Reporter) -> anyhow::Result<()> {
    let from = &args.from;
    let registration = closure::read(&from.closure, &from.store.store_root)?;
    if let Some(note) = closure::note_on_empty(&registration, &from.closure) {
        anyhow::bail!("{note}");
    }
    closure::check_outputs(from, &registration, "the image", &args.image, &args.report)?;
    if args.compress.is_some() && args.image.format == Format::Raw {
        anyhow::bail!(
            "a raw image cannot be compressed; leave out --compress, or make it qcow2, by --format or by its name"
        );
    }
    let mut output = ImageOutput::begin(&args.image, Some(&args.report))?;
    closure::decide(&from.closure, &mut output);
    decided::closure(from, &registration, reporter);
    let job = closure::job(from, reporter);
    let closure = closure::files(from, registration, false, &job)?;
    let options = ext4::Options {
        journal: args.journal,
        size: from.file_system_size(args.additional_space),
        ..ext4::Options::new(&args.label, args.uuid)
    };
    let plan = store_image::plan(&closure, &options, &job)?;
    decided::file_system(from, plan.size(), args.journal, reporter);
    reporter.decided(|| match args.compress {
        Some(method) => {
            format!("container: {}, compressed by {method:?}", args.image.format.name())
        }
        None => format!("container: {}, not compressed", args.image.format.name()),
    });
    let counted =
        output.write(plan.size(), &plan.allocated(), args.compress, |image| Ok(plan.write(image, &job)?))?;

    let contents = closure::Contents::new(&closure, plan.counts(), plan.saved_by_links(), counted)?;
    let finished =
        output.finish_with_report(plan.size(), contents, fixed_values::of_ext4(&options), reporter)?;
    let Verified { verified, unverified, .. } = counted;
    let store_paths = verified + unverified;
    if unverified > 0 && !from.no_verify {
        reporter.note(&format!(
            "warning: {unverified} of {store_paths} store paths were not checked: the registration has no hash or \
             size for them"
        ));
    }
    let Counts { files, source_bytes, .. } = plan.counts();
    closure::tell_of_links(from, plan.saved_by_links(), files, reporter);
    reporter.note(&format!(
        "{}: {} of {} holding {store_paths} store paths, {files} files, {}; {verified} paths verified; {:.1} s",
        args.image.name(),
        args.image.format.name(),
        finished.image_bytes,
        imagegen::units::ByteCount(source_bytes),
        reporter.elapsed().as_secs_f64(),
    ));
    Ok(())
}

/// The schema of `store-image --report`.
pub fn schema() -> Schema {
    json::versioned_schema::<report::Report<closure::Contents>>("nix-imagegen store-image --report")
}
