//! A GRUB package in the store, and how it is found where none is named.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::{BootDirectory, CoreImage, GrubDirectory, GrubError, plan_core};
use crate::boot::toplevel::{System, ToplevelError, read_small};
use crate::fs::file_source::FileSource;
use crate::nix::store_path::{STORE_DIR, StorePath, StoreRoot};

/// Where a package has the files for BIOS.
pub(super) const PLATFORM: &str = "lib/grub/i386-pc";
/// Where a package has a font for menus.
const FONT: &str = "share/grub/unicode.pf2";
/// NixOS's installer and its settings: the one names the other, which names GRUB.
const INSTALLERS: [&str; 2] = ["-install-grub.sh", "-grub-config.xml"];

/// A GRUB package with the files for BIOS.
#[derive(Debug, Clone)]
pub struct Package {
    store: StoreRoot,
    pub(in crate::boot) store_path: StorePath,
    /// The files for BIOS.
    pub(in crate::boot) directory: GrubDirectory,
}

impl Package {
    /// Opens the GRUB at `grub`, or the one that the system's toplevel refers to: in its links and files and those of
    /// its `bin`, directly or through the script that NixOS installs GRUB with. None, or several, are an error; so is a
    /// system that no BIOS boots.
    pub fn find(store: &StoreRoot, grub: Option<&StorePath>, system: &System) -> Result<Self, GrubError> {
        check_architecture(system)?;
        let store_path = match grub {
            Some(grub) => grub.clone(),
            None => referred_to(store, &system.toplevel)?,
        };
        let found = store
            .resolve(&Path::new(&store_path.to_string()).join(PLATFORM))
            .map_err(|source| GrubError::NotGrub { grub: store_path.clone(), source })?;
        let directory = GrubDirectory::open(&found.physical)?;
        Ok(Self { store: store.clone(), store_path, directory })
    }

    /// The core image that finds the file system of GRUB's files by itself.
    pub fn core_image(&self, boot: BootDirectory) -> Result<CoreImage, GrubError> {
        plan_core(&self.directory, boot.core_modules(), &boot.prefix(), None)
    }

    /// The font of menus in graphics.
    pub(super) fn font(&self) -> Result<FileSource, GrubError> {
        let path = Path::new(&self.store_path.to_string()).join(FONT);
        let found = self.store.resolve(&path).map_err(|source| GrubError::Font { source })?;
        Ok(FileSource::bytes(read_small("font", &found.physical)?))
    }
}

fn check_architecture(system: &System) -> Result<(), GrubError> {
    match system.system.as_str() {
        "x86_64-linux" | "i686-linux" => Ok(()),
        other => Err(GrubError::Unsupported(format!(
            "GRUB for BIOS boots x86_64 and i686 systems, and {} is for {other}",
            system.toplevel
        ))),
    }
}

/// The one GRUB that a toplevel refers to.
fn referred_to(store: &StoreRoot, toplevel: &StorePath) -> Result<StorePath, GrubError> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut todo = references_of_toplevel(store, toplevel)?;
    while let Some(path) = todo.pop_first() {
        let logical = PathBuf::from(path.to_string());
        if INSTALLERS.iter().any(|name| path.base_name().ends_with(name)) {
            if let Ok(script) = store.resolve(&logical) {
                todo.extend(references(&read_small("installer", &script.physical)?));
                todo.retain(|path| !seen.contains(path));
            }
        } else if store.resolve(&logical.join(PLATFORM)).is_ok() {
            found.insert(path.clone());
        }
        seen.insert(path);
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Err(GrubError::NotReferredTo { toplevel: toplevel.clone() }),
        (Some(grub), None) => Ok(grub),
        (Some(first), Some(second)) => {
            Err(GrubError::Ambiguous { toplevel: toplevel.clone(), first, second })
        }
    }
}

/// The store paths in the links and files of a toplevel and of its directory `bin`.
fn references_of_toplevel(
    store: &StoreRoot,
    toplevel: &StorePath,
) -> Result<BTreeSet<StorePath>, ToplevelError> {
    let directory = store.physical(toplevel);
    let mut all = BTreeSet::new();
    for directory in [directory.clone(), directory.join("bin")] {
        let io = |source| ToplevelError::Io { path: directory.clone(), source };
        let entries = match directory.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(io)?,
        };
        for entry in entries {
            let entry = entry.map_err(io)?;
            let kind = entry.file_type().map_err(io)?;
            if kind.is_symlink() {
                let target = entry.path().read_link().map_err(io)?;
                all.extend(references(target.as_os_str().as_encoded_bytes()));
            } else if kind.is_file() {
                all.extend(references(&read_small("file", &entry.path())?));
            }
        }
    }
    Ok(all)
}

/// Every store path that stands in some bytes, as Nix finds references.
fn references(bytes: &[u8]) -> BTreeSet<StorePath> {
    let prefix = format!("{STORE_DIR}/");
    let text = String::from_utf8_lossy(bytes);
    let ends = |c: char| !(c.is_ascii_alphanumeric() || "+-._?=".contains(c));
    text.match_indices(&prefix)
        .filter_map(|(at, _)| {
            let base_name = text[at + prefix.len()..].split(ends).next().unwrap_or_default();
            StorePath::parse(&format!("{prefix}{base_name}")).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_paths_are_found_wherever_they_stand() {
        let path = |digit: &str, name: &str| format!("/nix/store/{}-{name}", digit.repeat(32));
        let (a, b) = (path("a", "grub-2.12"), path("b", "x.sh"));
        let text = format!(
            "\0\u{fffd}INSTALL='{a}'\n<string value=\"{b}\" />{a}/bin /nix/store/short-x /nix/store/"
        );
        let found: Vec<_> = references(text.as_bytes()).iter().map(StorePath::to_string).collect();
        assert_eq!(found, [a, b]);
    }
}
