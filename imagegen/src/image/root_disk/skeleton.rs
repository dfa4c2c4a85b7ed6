//! What a NixOS guest finds on its root file system at the first boot.

use super::Profile;
use super::directory::Directory;
use crate::fs::file_source::{FileSource, NamedFile};

/// Directories and their modes: what the initrd mounts on, what nixos-install makes, and what Nix itself would make
/// when it opens the store.
const DIRECTORIES: [(&str, u16); 24] = [
    ("boot", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("nix/store", 0o1775),
    ("nix/var/log/nix/drvs", 0o755),
    ("nix/var/nix/daemon-socket", 0o755),
    ("nix/var/nix/db", 0o755),
    ("nix/var/nix/gcroots/auto", 0o755),
    ("nix/var/nix/gcroots/per-user", 0o755),
    ("nix/var/nix/profiles/per-user/root", 0o755),
    ("nix/var/nix/temproots", 0o755),
    ("nix/var/nix/userpool", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var/cache", 0o755),
    ("var/empty", 0o555),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];
/// Where the initrd puts the store image and the layer over it, if the store is not on this disk.
const OVERLAY_DIRECTORIES: [&str; 2] = ["nix/.ro-store", "nix/.rw-store"];

/// The root directory without store and database.
pub fn root<'t>(profile: Option<&Profile<'_>>, store_is_elsewhere: bool) -> Directory<'t> {
    let mut root = Directory::default();
    for (path, mode) in DIRECTORIES {
        root.directory(path, mode);
    }
    if store_is_elsewhere {
        for path in OVERLAY_DIRECTORIES {
            root.directory(path, 0o755);
        }
    }
    // Without this file, switch-to-configuration takes the machine for another distribution's.
    root.file("etc/NIXOS", 0o644, FileSource::bytes(*b""));
    root.symlink("nix/var/nix/gcroots/profiles", "/nix/var/nix/profiles");
    if let Some(profile) = profile {
        let link = |number| format!("system-{number}-link");
        for (number, toplevel) in &profile.generations {
            root.symlink(&format!("nix/var/nix/profiles/{}", link(*number)), toplevel.to_string());
        }
        root.symlink("nix/var/nix/profiles/system", link(profile.current));
    }
    root
}

/// Adds the store's database.
pub fn add_database(root: &mut Directory<'_>, schema: u32, database: Vec<u8>) {
    root.file("nix/var/nix/db/db.sqlite", 0o644, FileSource::bytes(database));
    root.file("nix/var/nix/db/schema", 0o644, FileSource::bytes(schema.to_string().into_bytes()));
    // The lock that every Nix takes; it would make it.
    root.file("nix/var/nix/db/big-lock", 0o600, FileSource::bytes(*b""));
}

/// Adds what a boot loader reads from the root file system.
pub fn add_boot_files(root: &mut Directory<'_>, files: &[NamedFile]) {
    for file in files {
        root.file(&file.path, 0o644, file.content.clone());
    }
}
