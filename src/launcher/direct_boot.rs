//! A direct boot: QEMU loads kernel and initrd itself.

use std::path::{Path, PathBuf};

use imagegen::nix::store_path::StoreRoot;
use imagegen::units::ByteCount;

use super::toplevel;
use crate::input;

/// More than a toplevel's `system` and `kernel-params` have.
pub const LINE_MAX: ByteCount = ByteCount(1 << 20);

/// What QEMU loads, all of it from the toplevel unless the config says otherwise.
pub struct DirectBoot {
    /// The kernel's path on this machine.
    pub kernel: PathBuf,
    /// The initrd's path on this machine.
    pub initrd: PathBuf,
    /// The system's own kernel parameters.
    pub kernel_params: String,
    /// The toplevel's path in the guest.
    pub toplevel: String,
}

impl DirectBoot {
    /// Finds the parts of a toplevel.
    pub fn of_toplevel(toplevel: &str, store: &StoreRoot, current_directory: &Path) -> anyhow::Result<Self> {
        let toplevel = toplevel::store_path(toplevel)?;
        let unresolved = store.physical(&toplevel);
        let resolve = |name: &str| -> anyhow::Result<PathBuf> {
            let found = store.resolve(&Path::new(&toplevel.to_string()).join(name))?.physical;
            // In this machine's own store the link leads to the same file, and the module passes the link to QEMU.
            let link = unresolved.join(name);
            let is_same =
                link.canonicalize().is_ok_and(|path| found.canonicalize().is_ok_and(|found| path == found));
            Ok(current_directory.join(if is_same { link } else { found }))
        };
        let params = input::read_text(&resolve("kernel-params")?, LINE_MAX)?;
        Ok(Self {
            kernel: resolve("kernel")?,
            initrd: resolve("initrd")?,
            kernel_params: params.trim_end_matches('\n').to_owned(),
            toplevel: toplevel.to_string(),
        })
    }
}
