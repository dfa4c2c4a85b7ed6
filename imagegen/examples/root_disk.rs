//! Writes a disk with a NixOS system that boots by itself: `root_disk REGISTRATION TOPLEVEL OUTPUT [STORE_ROOT]`.
//!
//! The disk has a GPT, an EFI system partition with systemd-boot, and an ext4 root file system that holds the whole store of
//! the registration and the database by which Nix knows it.

use std::error::Error;
use std::path::Path;

use imagegen::boot::{Generations, Loaders, Menu, toplevel};
use imagegen::container::{Format, ImageFile};
use imagegen::fixed;
use imagegen::fs::ext4::{self, Size};
use imagegen::image::root_disk::{self, PartitionTable, Profile, RootDisk};
use imagegen::job::Job;
use imagegen::nix::Registration;
use imagegen::nix::closure::{fill_in_hashes, scan};
use imagegen::nix::store_path::{StorePath, StoreRoot};
use imagegen::output::OutputFile;
use imagegen::units::ByteCount;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [registration, toplevel, output] => write(registration, toplevel, output, "/"),
        [registration, toplevel, output, root] => write(registration, toplevel, output, root),
        _ => Err("usage: root_disk REGISTRATION TOPLEVEL OUTPUT [STORE_ROOT]".into()),
    }
}

fn write(registration: &str, toplevel: &str, target: &str, root: &str) -> Result<(), Box<dyn Error>> {
    let job = Job::default();
    let store = StoreRoot::new(root);
    let registration = Registration::parse(Path::new(registration), &std::fs::read(registration)?)?;
    let mut closure = scan(registration, store.clone(), &job)?;
    // A registration may leave hashes out; the disk's database must have all of them.
    fill_in_hashes(&mut closure, &job)?;

    let system = toplevel::read(&store, &StorePath::parse(toplevel)?)?;
    let generations = Generations::new(system, vec![], None)?;
    let mut loaders = Loaders::default();
    loaders.add_systemd_boot(&store, None, &generations, &Menu::default())?;

    let size = Size::Auto { additional: ByteCount(512 << 20) };
    let file_system = ext4::Options::writable(fixed::ROOT_DISK_LABEL, fixed::ROOT_DISK_UUID, size);
    let mut options = root_disk::Options::new(file_system);
    options.with_store = true;
    options.profile = Some(Profile::from(&generations));
    options.table = PartitionTable::Efi { boot_end: root_disk::BOOT_END };
    options.loaders = loaders;
    let disk = RootDisk::new(&closure, options)?;
    let plan = disk.plan(&job)?;

    let output = OutputFile::create(Path::new(target))?;
    let image = ImageFile::create(output.file(), Format::Qcow2, plan.size(), &plan.allocated())?;
    plan.write(&image, &job)?;
    image.finish()?;
    output.finish()?;
    println!("{target}: {}", plan.size());
    Ok(())
}
