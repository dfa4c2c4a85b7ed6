//! Removing what is half written.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Removes a file or a tree, directories without write permission too. A failure has nobody to hear of it.
pub fn remove(path: &Path) {
    if std::fs::remove_file(path).is_ok() {
        return;
    }
    if let Err(error) = std::fs::remove_dir_all(path)
        && error.kind() == io::ErrorKind::PermissionDenied
    {
        make_writable(path);
        let _ = std::fs::remove_dir_all(path);
    }
}

fn make_writable(directory: &Path) {
    let _ = std::fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}
