//! Where GRUB's boot directory lies, and how GRUB finds files there.

use super::script::quoted;
use crate::boot::toplevel::BootFile;
use crate::guid::Guid;

/// The directory with GRUB's files, and the file system that it lies in. Only the products that lay out a disk make one,
/// so that it fits the disk.
///
/// ```compile_fail
/// use imagegen::boot::grub::BootDirectory;
/// // A boot disk has its EFI system partition elsewhere, and GRUB would not find its files.
/// let _ = BootDirectory::Esp { partition: 7, volume_id: 0 };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootDirectory {
    /// The root of the EFI system partition of a disk with a GPT.
    #[non_exhaustive]
    Esp {
        /// Its number in the table.
        partition: u32,
        /// Its volume id, by which the menu finds it.
        volume_id: u32,
    },
    /// `/boot` of an ext4 file system in the first partition of a disk with an MBR.
    #[non_exhaustive]
    Root {
        /// The file system's UUID, by which the menu finds it.
        uuid: Guid,
        /// Whether the store is in that file system too, so that kernels need no copy.
        with_store: bool,
    },
}

impl BootDirectory {
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
        format!("(,{})/{}", self.partition(), self.path("grub"))
    }

    /// GRUB's name for the partition.
    pub(super) fn partition(self) -> String {
        match self {
            Self::Esp { partition, .. } => format!("gpt{partition}"),
            Self::Root { .. } => "msdos1".to_owned(),
        }
    }

    /// The path of a file in the directory, from the root of the file system, without a `/` in front.
    pub fn path(self, inside: &str) -> String {
        match self {
            Self::Esp { .. } => inside.to_owned(),
            Self::Root { .. } => format!("boot/{inside}"),
        }
    }

    /// Whether kernels and initrds have to be copied.
    pub const fn copies_kernels(self) -> bool {
        !matches!(self, Self::Root { with_store: true, .. })
    }

    /// The path of a kernel or initrd, from the root of the file system, without a `/` in front.
    pub(super) fn path_of_kernel(self, file: &BootFile) -> String {
        if self.copies_kernels() {
            return self.path(&format!("kernels/{}", file.copy_name()));
        }
        file.logical().trim_matches('/').to_owned()
    }

    /// The command that sets `drive1` to the file system.
    pub(super) fn search(self) -> String {
        let name = match self {
            Self::Esp { volume_id, .. } => format!("{:04X}-{:04X}", volume_id >> 16, volume_id & 0xffff),
            Self::Root { uuid, .. } => uuid.to_string(),
        };
        format!("search --set=drive1 --fs-uuid {name}")
    }
}

/// The name of a file for GRUB, after [`BootDirectory::search`].
pub(super) fn on_drive(path: &str) -> String {
    format!("($drive1)/{}", quoted(path))
}
