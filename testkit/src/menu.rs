//! systemd-boot's menu on the EFI system partition of a raw boot disk, read with mtools.

use std::collections::BTreeMap;
use std::path::Path;

use super::{text, tool};

/// The menu: `loader.conf`, and the entries by the names of their files.
pub struct Menu {
    pub loader_conf: String,
    pub entries: BTreeMap<String, String>,
}

impl Menu {
    /// Reads the menu of a disk whose partition begins at 1 MiB.
    pub fn read(disk: &Path) -> Self {
        let esp = format!("{}@@1M", text(disk));
        let file = |path: &str| tool(&["mtype", "-i", &esp, &format!("::/{path}")]);
        let names = tool(&["mdir", "-b", "-i", &esp, "::/loader/entries"]);
        let entries = names.lines().map(|path| {
            let name = path.rsplit_once('/').unwrap().1;
            (name.to_owned(), file(&format!("loader/entries/{name}")))
        });
        Self { loader_conf: file("loader/loader.conf"), entries: entries.collect() }
    }

    /// The only entry with this title, and the name of its file.
    pub fn entry(&self, title: &str) -> (&str, &str) {
        let line = format!("title {title}");
        let mut found = self.entries.iter().filter(|(_, text)| text.lines().next() == Some(&line));
        let (name, text) = found.next().unwrap_or_else(|| panic!("no {title}: {:?}", self.entries));
        assert!(found.next().is_none(), "{title}: {:?}", self.entries);
        (name, text)
    }

    /// The name of the file that `loader.conf` calls the default.
    pub fn default(&self) -> &str {
        self.loader_conf.lines().find_map(|line| line.strip_prefix("default ")).unwrap()
    }
}
