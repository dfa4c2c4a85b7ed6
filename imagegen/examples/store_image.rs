//! Writes the image of a Nix store: `store_image REGISTRATION OUTPUT [STORE_ROOT]`.
//!
//! REGISTRATION is what `nix-store --dump-db` or `closureInfo` writes; the image is an ext4 file system in a qcow2 file.

use std::error::Error;
use std::path::{Path, PathBuf};

use imagegen::container::{Format, ImageFile};
use imagegen::fixed;
use imagegen::fs::ext4;
use imagegen::image::store_image;
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::nix::closure::scan;
use imagegen::nix::store_path::StoreRoot;
use imagegen::output::OutputFile;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match arguments.as_slice() {
        [registration, output] => write(registration, output, Path::new("/")),
        [registration, output, root] => write(registration, output, root),
        _ => Err("usage: store_image REGISTRATION OUTPUT [STORE_ROOT]".into()),
    }
}

fn write(registration: &Path, target: &Path, root: &Path) -> Result<(), Box<dyn Error>> {
    let job = Job::default();
    let registration = Registration::parse(registration, &std::fs::read(registration)?)?;
    let closure = scan(registration, StoreRoot::new(root), &job)?;
    let options = ext4::Options::new(fixed::STORE_IMAGE_LABEL, fixed::STORE_IMAGE_UUID);
    let plan = store_image::plan(&closure, &options, &job)?;

    let output = OutputFile::create(target)?;
    let image = ImageFile::create(output.file(), Format::Qcow2, plan.size(), &plan.allocated())?;
    let verified = plan.write(&image, &job)?;
    image.finish()?;
    // The file gets its name only now.
    output.finish()?;
    println!("{}: {}, {} store paths verified", target.display(), plan.size(), verified.verified);
    Ok(())
}
