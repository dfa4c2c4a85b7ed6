//! `disk create`: empty disks, and overlays on other images.

use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use imagegen::container::{self, Foreign, Format};
use imagegen::units::ByteCount;

use crate::cli::{DiskCreateArgs, ImageArgs};
use crate::image_output::ImageOutput;
use crate::outputs;
use crate::progress::Reporter;

/// Writes the disk.
pub fn create(args: &DiskCreateArgs, reporter: &Reporter) -> anyhow::Result<()> {
    let ImageArgs { output, format, .. } = &args.image;
    let backing = args.backing.as_deref().zip(args.backing_format);
    let (size, on) = if let Some((backing, backing_format)) = backing {
        ensure!(
            *format == Format::Qcow2,
            "only a qcow2 disk can have a backing file; leave out --format raw, or name it `.qcow2`"
        );
        let path = as_qemu_finds_it(output, backing);
        let backing_size = backing_size(&path, backing_format)?;
        let size = args.size.unwrap_or(backing_size);
        ensure!(
            size >= backing_size,
            "an overlay of {size} would cut off the end of `{}`, which has {backing_size}; leave --size out, or give at \
             least --size {}",
            path.display(),
            backing_size.0
        );
        args.image.file().map_or(Ok(()), |output| outputs::check_input(output, &path))?;
        let image = ImageOutput::begin(&args.image, None)?;
        container::create_overlay(image.file(), backing, backing_format, size)
            .with_context(|| format!("cannot write `{}`", args.image.name()))?;
        image.finish(size, reporter)?;
        (size, format!(" on {}", backing.display()))
    } else {
        let size = args.size.context("give the size of the disk with --size")?;
        let image = ImageOutput::begin(&args.image, None)?;
        image.write(size, &[], None, |_| Ok(()))?;
        image.finish(size, reporter)?;
        (size, String::new())
    };
    reporter.note(&format!("{}: {} of {size}{on}", args.image.name(), format.name()));
    Ok(())
}

/// The virtual size of the backing file, which must be there and of the given format: QEMU would notice only when
/// the machine starts.
fn backing_size(path: &Path, format: Format) -> anyhow::Result<ByteCount> {
    let shown = path.display();
    let cannot_open = || format!("cannot open the backing file `{shown}`");
    // A pipe would be waited for.
    let kind = path.metadata().with_context(cannot_open)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        bail!("the backing file `{shown}` is neither a file nor a block device");
    }
    let file = File::open(path).with_context(cannot_open)?;
    let cannot_read = || format!("cannot read the backing file `{shown}`");
    let length = container::virtual_size(&file, Format::Raw).with_context(cannot_read)?.0;
    let found = container::detect_format(&file).with_context(cannot_read)?;
    if let Some(foreign) = Foreign::of(&file, length).with_context(cannot_read)? {
        bail!("the backing file `{shown}` {}", foreign.described(path));
    }
    if format == Format::Raw && found == Format::Qcow2 {
        bail!("the backing file `{shown}` is a qcow2 image; give --backing-format qcow2");
    }
    container::virtual_size(&file, format).with_context(|| format!("cannot use the backing file `{shown}`"))
}

/// QEMU takes a relative name from the directory of the overlay, not from the current one.
fn as_qemu_finds_it(output: &Path, backing: &Path) -> PathBuf {
    output.parent().unwrap_or(Path::new("")).join(backing)
}
