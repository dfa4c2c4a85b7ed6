//! What a benchmark runs on, as far as the kernel tells. Whatever it does not tell is left empty: figures are worth
//! having without it.

use std::fs::read_to_string;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

/// The machine.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Machine {
    /// The name of its processor.
    pub processor: String,
    /// How many of them this program may use.
    pub processors: usize,
    /// Its memory.
    pub memory_bytes: u64,
    /// The version of the kernel.
    pub kernel: String,
    /// The type of the file system that outputs went to.
    pub file_system: String,
    /// How many processes were at work in the last minute before the first round.
    pub load_before: f64,
}

impl Machine {
    /// This machine; `directory` is where outputs go to.
    pub fn here(directory: &Path) -> Self {
        let read = |path: &str| read_to_string(path).unwrap_or_default();
        let after_colon = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = after_colon(&read("/proc/meminfo"), "MemTotal");
        let kibibytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
        Self {
            processor: after_colon(&read("/proc/cpuinfo"), "model name"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kibibytes * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/self/mounts"), directory),
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
        }
    }

    /// The machine in a line.
    pub fn summary(&self) -> String {
        format!(
            "{} × {}, {:.0} GiB, Linux {}, {}; load before {}",
            self.processors,
            if self.processor.is_empty() { "processor" } else { &self.processor },
            self.gibibytes(),
            self.kernel,
            self.file_system,
            self.load_before
        )
    }

    fn gibibytes(&self) -> f64 {
        let mebibytes = u32::try_from(self.memory_bytes >> 20).unwrap_or(u32::MAX);
        f64::from(mebibytes) / 1024.0
    }
}

/// The type of the file system that a directory is in: that of the longest mount point above it (proc(5)).
fn file_system(mounts: &str, directory: &Path) -> String {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let above = fields.filter(|fields| fields.len() > 2 && directory.starts_with(fields[1]));
    above.max_by_key(|fields| fields[1].len()).map(|fields| fields[2].to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_above_decides() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/x xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/y")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/tmp/x/y")), "xfs");
        assert_eq!(file_system(mounts, Path::new("/tmpx")), "ext4");
        assert_eq!(file_system("", Path::new("/")), "");
    }
}
