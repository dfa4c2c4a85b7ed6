//! What has to be there before QEMU starts: the root disk, writable layers over the images, EFI variables.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use imagegen::container::{self, Format};
use imagegen::output::OutputFile;
use imagegen::store_path::{StorePath, StoreRoot};
use imagegen::units::ByteCount;

use super::command_line::DirectBoot;
use super::config::Config;
use super::firmware::{self, Flash};
use super::{Environment, absolute};

const MIB: u64 = 1 << 20;

/// The files that the command line names, all absolute.
#[derive(Debug)]
pub struct Files {
    /// QEMU's directory, for what lasts as long as the machine runs.
    pub directory: PathBuf,
    /// The root disk.
    pub root_disk: PathBuf,
    /// The layer over the store image.
    pub store_image: Option<PathBuf>,
    /// The layer over the boot disk.
    pub boot_disk: Option<PathBuf>,
    /// Disks that began empty.
    pub empty_disks: Vec<PathBuf>,
    /// UEFI's flash.
    pub flash: Option<Flash>,
    /// The directory shared as `xchg`.
    pub exchange: PathBuf,
    /// The directory shared as `shared`.
    pub shared: PathBuf,
    /// The directory shared as `nix-store`.
    pub store_directory: PathBuf,
}

/// Makes whatever is missing.
pub fn prepare(config: &Config, environment: &Environment, store: &StoreRoot) -> anyhow::Result<Files> {
    // What can be wrong with the config is found before anything is made.
    let store_image =
        images(config.store_image.as_deref().filter(|_| config.use_nix_store_image), "nixos.qcow2")
            .context("storeImage")?;
    let boot_disk = images(config.boot_disk.as_deref().filter(|_| config.use_boot_loader), "disk.img")
        .context("bootDisk")?;

    let root_disk = root_disk(config, environment)?;
    let beside_disk = boot_disk.as_ref().map(|disk| disk.path.with_file_name("efi-vars.fd"));
    let flash = if config.use_boot_loader && config.use_efi_boot {
        let template = beside_disk.as_deref().filter(|file| file.is_file());
        Some(firmware::flash(config, environment, template)?)
    } else {
        None
    };

    let directory = working_directory(environment)?;
    let layer = |image: Option<Image>, name: &str| {
        image.map(|image| overlay(&image, directory.join(name))).transpose()
    };
    let store_image = layer(store_image, "store.img")?;
    let boot_disk = layer(boot_disk, "disk.img")?;
    let exchange = directory.join("xchg");
    fs::create_dir_all(&exchange).with_context(|| format!("cannot create `{}`", exchange.display()))?;
    let empty_disks = empty_disks(config, &directory)?;
    let shared = match &environment.shared_dir {
        Some(shared) => absolute(shared)?,
        None => exchange.clone(),
    };
    let store_directory = absolute(&store.directory())?;
    Ok(Files {
        directory,
        root_disk,
        store_image,
        boot_disk,
        empty_disks,
        flash,
        exchange,
        shared,
        store_directory,
    })
}

/// What QEMU loads itself, from the toplevel's links; nothing where a boot loader does it.
pub fn direct_boot(config: &Config, store: &StoreRoot) -> anyhow::Result<Option<DirectBoot>> {
    let Some(toplevel) = config.toplevel.as_deref().filter(|_| !config.use_boot_loader) else {
        return Ok(None);
    };
    let toplevel = StorePath::parse(toplevel).context("toplevel")?.to_string();
    let resolve = |name: &str| store.resolve(&Path::new(&toplevel).join(name)).context("toplevel");
    let params = resolve("kernel-params")?.physical;
    let kernel_params =
        fs::read_to_string(&params).with_context(|| format!("cannot read `{}`", params.display()))?;
    let kernel = absolute(&resolve("kernel")?.physical)?;
    let initrd = absolute(&resolve("initrd")?.physical)?;
    Ok(Some(DirectBoot { kernel, initrd, kernel_params, toplevel }))
}

/// An image to put a layer over.
struct Image {
    path: PathBuf,
    format: Format,
    size: ByteCount,
}

/// Looks at an image, or at the one of a name in a directory.
fn images(path: Option<&Path>, name_in_directory: &str) -> anyhow::Result<Option<Image>> {
    let Some(path) = path else { return Ok(None) };
    let path = absolute(path)?;
    let path = if path.is_dir() { path.join(name_in_directory) } else { path };
    let context = || format!("cannot use the image `{}`", path.display());
    let file = File::open(&path).with_context(context)?;
    let format = container::detect_format(&file).with_context(context)?;
    let size = container::virtual_size(&file, format).with_context(context)?;
    Ok(Some(Image { path, format, size }))
}

fn root_disk(config: &Config, environment: &Environment) -> anyhow::Result<PathBuf> {
    let default = PathBuf::from(format!("./{}.qcow2", config.name));
    let path = environment.disk_image.as_ref().or(config.disk_image.as_ref()).unwrap_or(&default);
    let path = absolute(path)?;
    if !path.exists() {
        let size = config.disk_size.checked_mul(MIB).context("diskSize is more than a disk can have")?;
        empty(&path, size).context("cannot create the root disk")?;
    }
    Ok(path)
}

fn empty_disks(config: &Config, directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut disks = Vec::new();
    for (i, size) in config.empty_disk_images.iter().enumerate() {
        let path = directory.join(format!("empty{i}.qcow2"));
        if !path.exists() {
            let size = size.checked_mul(MIB).context("emptyDiskImages: that is more than a disk can have")?;
            empty(&path, size).context("cannot create an empty disk")?;
        }
        disks.push(path);
    }
    Ok(disks)
}

fn empty(path: &Path, size: u64) -> anyhow::Result<()> {
    let output = OutputFile::create(path)?;
    container::create_empty(output.file(), Format::Qcow2, ByteCount(size))?;
    output.finish()?;
    Ok(())
}

fn overlay(image: &Image, path: PathBuf) -> anyhow::Result<PathBuf> {
    let context = || format!("cannot put a writable layer over `{}`", image.path.display());
    let output = OutputFile::create(&path).with_context(context)?;
    container::create_overlay(output.file(), &image.path, image.format, image.size).with_context(context)?;
    output.finish().with_context(context)?;
    Ok(path)
}

/// `TMPDIR` itself where `USE_TMPDIR` says so, or a new directory in it.
fn working_directory(environment: &Environment) -> anyhow::Result<PathBuf> {
    if let Some(directory) = environment.tmpdir.as_deref().filter(|_| environment.use_tmpdir) {
        let directory = absolute(directory)?;
        if !directory.is_dir() {
            bail!("TMPDIR: there is no directory `{}`", directory.display());
        }
        return Ok(directory);
    }
    let parent = environment.tmpdir.clone().unwrap_or_else(|| PathBuf::from("/tmp"));
    let directory = tempfile::Builder::new()
        .prefix("nix-vm.")
        .tempdir_in(absolute(&parent)?)
        .with_context(|| format!("cannot create a directory in `{}`", parent.display()))?;
    // QEMU takes this process's place and needs it to the end.
    Ok(directory.keep())
}
