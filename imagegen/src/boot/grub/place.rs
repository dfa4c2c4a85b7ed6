//! Where GRUB's files and the kernels lie, and how GRUB finds them there.

use super::config::quoted;
use crate::boot::toplevel::BootFile;
use crate::guid::Guid;

/// The file system that GRUB reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The EFI system partition of a disk with a GPT.
    Esp {
        /// Its number in the table.
        partition: u32,
        /// Its volume id, by which the menu finds it.
        volume_id: u32,
    },
    /// `/boot` of an ext4 file system in the first partition of a disk with an MBR.
    Root {
        /// The file system's UUID, by which the menu finds it.
        uuid: Guid,
        /// Whether the store is in that file system too, so that kernels need no copy.
        with_store: bool,
    },
}

impl Place {
    /// The modules of the core image: the BIOS's disks, partition tables and this file system. GRUB loads all others
    /// from the file system.
    pub const fn core_modules(self) -> &'static [&'static str] {
        match self {
            Self::Esp { .. } => &["biosdisk", "part_gpt", "part_msdos", "fat"],
            Self::Root { .. } => &["biosdisk", "part_msdos", "ext2"],
        }
    }

    /// Where GRUB finds its files. A device name that begins with a comma is on the disk that the BIOS booted from,
    /// whatever its number.
    pub fn prefix(self) -> String {
        format!("(,{})/{}", self.partition(), self.in_boot("grub"))
    }

    /// GRUB's name for the partition.
    pub(super) fn partition(self) -> String {
        match self {
            Self::Esp { partition, .. } => format!("gpt{partition}"),
            Self::Root { .. } => "msdos1".to_owned(),
        }
    }

    /// The path of a file in what NixOS mounts on `/boot`, from the root of the file system. Has no `/` in front.
    pub fn in_boot(self, path: &str) -> String {
        match self {
            Self::Esp { .. } => path.to_owned(),
            Self::Root { .. } => format!("boot/{path}"),
        }
    }

    /// Whether kernels and initrds have to be copied.
    pub const fn copies_kernels(self) -> bool {
        !matches!(self, Self::Root { with_store: true, .. })
    }

    /// The path of a kernel or initrd, from the root of the file system. Has no `/` in front.
    pub(super) fn path(self, file: &BootFile) -> String {
        if self.copies_kernels() {
            return self.in_boot(&format!("kernels/{}", file.copy_name()));
        }
        let place = format!("{}/{}", file.store_path, file.inside);
        place.trim_matches('/').to_owned()
    }

    /// The path of a file of the EFI system partition, from the root of the file system, if that is it.
    pub(super) const fn on_esp(self, path: &str) -> Option<&str> {
        match self {
            Self::Esp { .. } => Some(path),
            Self::Root { .. } => None,
        }
    }

    /// The command that sets `drive1` to the file system.
    pub(super) fn search(self) -> String {
        let name = match self {
            Self::Esp { volume_id, .. } => format!("{:04X}-{:04X}", volume_id >> 16, volume_id & 0xffff),
            Self::Root { uuid, .. } => uuid.to_string(),
        };
        format!("search --set=drive1 --fs-uuid {name}")
    }

    /// The name of a file for GRUB, after [`Place::search`].
    pub(super) fn named(path: &str) -> String {
        format!("($drive1)/{}", quoted(path))
    }
}
