//! Names of files that are open already: `/dev/stdout`, `/dev/fd/3`, `/proc/self/fd/3` (proc(5)).

use std::path::Path;

use super::directory_of;
use crate::host_file::LINKS_MAX;

/// Whether a name is a magic link, in `/proc`, or a link that leads to one. To replace it would take `/dev/stdout` away from
/// the machine.
pub fn leads_to_open_file(name: &Path) -> bool {
    let mut name = name.to_owned();
    for _ in 0..LINKS_MAX {
        // Through links of directories, as `/dev/fd` is one.
        let Ok(directory) = directory_of(&name).canonicalize() else { return false };
        let Ok(link) = name.read_link() else { return false };
        if is_in_proc(&directory) {
            return true;
        }
        name = directory.join(link);
    }
    false
}

fn is_in_proc(directory: &Path) -> bool {
    rustix::fs::statfs(directory).is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_to_open_files_are_known_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let file = std::fs::File::create(at("file")).unwrap();
        let number = file.as_raw_fd();
        let directory_number = std::fs::File::open(directory.path()).unwrap();
        symlink(format!("/proc/self/fd/{number}"), at("stdout")).unwrap();
        symlink("stdout", at("further")).unwrap();
        symlink("/proc/self/fd", at("fd")).unwrap();
        symlink("file", at("plain")).unwrap();
        symlink("round", at("round")).unwrap();
        for magic in [
            "/proc/self/exe",
            "/proc/self/cwd",
            &format!("/proc/thread-self/fd/{number}"),
            &format!("/proc/{}/fd/{number}", std::process::id()),
        ] {
            assert!(leads_to_open_file(Path::new(magic)), "{magic}");
        }
        for magic in ["stdout", "further", &format!("fd/{number}")] {
            assert!(leads_to_open_file(&at(magic)), "{magic}");
        }
        for other in ["file", "plain", "round", "new", "missing/file", "fd/new"] {
            assert!(!leads_to_open_file(&at(other)), "{other}");
        }
        let through = format!("/proc/self/fd/{}/file", directory_number.as_raw_fd());
        assert!(!leads_to_open_file(Path::new(&through)), "a directory that is open is one like any other");
    }
}
