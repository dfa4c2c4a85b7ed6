//! Disks of a config that are more than it takes them for: one file under two names, and disks that boot by themselves.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use imagegen::container::reader::{Backing, Image as Opened};
use imagegen::fixed::STORE_DIR;
use imagegen::reading::bootable::Bootable;
use imagegen::reading::probe::Contents;

use super::config::DiskImage;
use super::image_cache::Image;
use super::search::Search;

/// Reports a root disk that is one of the `others` too, each with its option; and one that no option names, where the file
/// with the machine's name is a disk that boots by itself.
pub fn check(search: &mut Search<'_>, root_disk: Option<&Path>, others: [(&str, Option<&Image>); 2]) {
    let Some(root_disk) = root_disk.filter(|_| !search.config.of_image) else { return };
    let shown = root_disk.display();
    let same = others.into_iter().find(|(_, image)| {
        image.and_then(Image::path_of_config).is_some_and(|image| is_same(root_disk, image))
    });
    if let Some((option, _)) = same {
        let what = format_args!(
            "`{shown}` is the machine's root disk and its {option}, and what it writes to the one would change the other; name \
             another file as diskImage, or false for none{}",
            by_itself(root_disk).map(|alone| format!("; {alone}")).unwrap_or_default()
        );
        search.problems.add("diskImage", what);
        return;
    }
    let is_named =
        search.config.disk_image != DiskImage::ByName || search.environment.path("NIX_DISK_IMAGE").is_some();
    if let Some(alone) = by_itself(root_disk).filter(|_| !is_named) {
        let what = format_args!(
            "`{shown}` has the name of this machine's own root disk, and is a disk that boots by itself; {alone}, or name \
             another file as diskImage"
        );
        search.problems.add("diskImage", what);
    }
}

/// Warns of a boot disk that is a whole machine's, beside the machine's root disk.
pub fn warning(boot_disk: Option<&Image>, root_disk: Option<&Path>) -> Option<String> {
    let disk = boot_disk?.path_of_config()?;
    let bootable = look(disk)?;
    let partition = bootable.root()??;
    let root = match root_disk {
        Some(root) => format!("`{}`", root.display()),
        None => "a root in memory".to_owned(),
    };
    Some(format!(
        "bootDisk: `{}` has a root file system of its own (partition {partition}), and this machine has {root} besides; what \
         the guest writes to the former is gone when the machine ends; {}",
        disk.display(),
        alone(disk)
    ))
}

/// How to start a disk, if it boots by itself.
fn by_itself(disk: &Path) -> Option<String> {
    let bootable = look(disk).filter(Bootable::boots)?;
    matches!(bootable.contents, Contents::Partitions(_)).then(|| alone(disk))
}

fn alone(disk: &Path) -> String {
    let disk = disk.display().to_string();
    format!("`nix-imagegen run {}` starts it by itself", shell_words::quote(&disk))
}

/// What is on a disk; nothing if it cannot be read, which QEMU will tell.
fn look(disk: &Path) -> Option<Bootable> {
    let image = Opened::open(disk, None, &Backing::Near(vec![STORE_DIR.into()])).ok()?;
    Bootable::of(&image).ok()
}

fn is_same(one: &Path, other: &Path) -> bool {
    let numbers = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).ok();
    numbers(one).is_some_and(|found| numbers(other) == Some(found))
}
