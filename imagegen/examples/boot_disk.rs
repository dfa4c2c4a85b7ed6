//! Writes the boot disk of a NixOS system: `boot_disk TOPLEVEL OUTPUT [STORE_ROOT]`.
//!
//! TOPLEVEL is the store path of the system, `/nix/store/…-nixos-system-…`. The disk has a GPT, an EFI system partition
//! and systemd-boot, in a raw file.

use std::error::Error;
use std::path::Path;

use imagegen::boot::{Generations, Loaders, Menu, toplevel};
use imagegen::container::{Format, ImageFile};
use imagegen::image::boot_disk;
use imagegen::job::Job;
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::output::OutputFile;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [toplevel, output] => write(toplevel, output, "/"),
        [toplevel, output, root] => write(toplevel, output, root),
        _ => Err("usage: boot_disk TOPLEVEL OUTPUT [STORE_ROOT]".into()),
    }
}

fn write(toplevel: &str, target: &str, root: &str) -> Result<(), Box<dyn Error>> {
    let store = StoreRoot::new(root);
    let system = toplevel::read(&store, &StorePath::parse(toplevel)?)?;
    let generations = Generations::new(system, vec![], None)?;
    let mut loaders = Loaders::default();
    loaders.add_systemd_boot(&store, None, &generations, &Menu::default())?;
    let plan = boot_disk::plan(boot_disk::DEFAULT_SIZE, &loaders, None)?;

    let output = OutputFile::create(Path::new(target))?;
    let image = ImageFile::create(output.file(), Format::Raw, plan.size(), &plan.allocated())?;
    plan.write(&image, &Job::default())?;
    image.finish()?;
    output.finish()?;
    println!("{target}: {}", plan.size());
    Ok(())
}
