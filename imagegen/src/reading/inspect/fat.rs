//! A FAT file system: its boot sector, its files, and what its boot loaders offer.

use serde::Serialize;

use crate::container::reader::{ReadError, Source};
use crate::fs::fat::reader::{FileSystem, Found, Listing};
use crate::on_disk::Field;
use crate::text::shown;

/// A larger configuration file is nobody's.
const CONFIG_MAX: u64 = 1 << 20;

/// A FAT file system.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Fat {
    /// `FAT12`, `FAT16` or `FAT32`.
    pub width: &'static str,
    /// The label in the root directory.
    pub label: Option<String>,
    /// The volume's number, as `4E49-584F`.
    pub volume_id: String,
    /// The size of a cluster.
    pub cluster_bytes: u64,
    /// The number of clusters.
    pub clusters: u32,
    /// Those that are free.
    pub free_clusters: u32,
    /// Where the first cluster begins, in bytes; tables lie before it.
    pub data_start: u64,
    /// Everything in it, each directory before what it contains.
    pub files: Vec<FatFile>,
    /// What systemd-boot or GRUB offers, in the order of the files.
    pub entries: Vec<LoaderEntry>,
    /// All fields of the boot sector, by their names in the specification.
    pub boot_sector: Vec<Field>,
}

/// A file or directory.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FatFile {
    /// Its path.
    pub path: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// Its length.
    pub bytes: u64,
    /// Where its contents begin on the disk.
    pub guest_offset: Option<u64>,
}

/// What a boot loader offers to start.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoaderEntry {
    /// The file that says so.
    pub file: String,
    /// Its title.
    pub title: String,
    /// The version, in a Boot Loader Specification entry.
    pub version: String,
    /// The kernel.
    pub linux: String,
    /// The initial RAM disk.
    pub initrd: String,
    /// The kernel's parameters.
    pub options: String,
}

impl Fat {
    pub(super) fn of(source: &dyn Source) -> Result<Self, ReadError> {
        let file_system = FileSystem::open(source)?;
        let Listing { label, found } = file_system.list()?;
        let boot = file_system.boot_sector();
        let id = boot.volume.bs_vol_id.get();
        let mut entries = Vec::new();
        for found in &found {
            entries.extend(loader_entries(&file_system, found)?);
        }
        Ok(Self {
            width: boot.width.name(),
            label,
            volume_id: format!("{:04X}-{:04X}", id >> 16, id & 0xFFFF),
            cluster_bytes: boot.cluster_size,
            clusters: boot.clusters,
            free_clusters: file_system.free_clusters()?,
            data_start: boot.data,
            files: found
                .iter()
                .map(|found| FatFile {
                    path: found.path.clone(),
                    directory: found.entry.is_directory(),
                    bytes: found.entry.size(),
                    guest_offset: found.guest_offset.map(|offset| offset.0),
                })
                .collect(),
            entries,
            boot_sector: boot.fields(),
        })
    }
}

/// The entries that a file defines, if it is a loader's.
fn loader_entries(file_system: &FileSystem<'_>, found: &Found) -> Result<Vec<LoaderEntry>, ReadError> {
    let path = found.path.to_ascii_lowercase();
    let is_bls =
        path.strip_prefix("loader/entries/").is_some_and(|name| name.strip_suffix(".conf").is_some());
    if !is_bls && path != "grub/grub.cfg" {
        return Ok(Vec::new());
    }
    let bytes = file_system.contents(found, CONFIG_MAX)?;
    let lines: Vec<String> = bytes.split(|&byte| byte == b'\n').map(shown).collect();
    let pairs = lines.iter().filter_map(|line| {
        let (key, value) = line.trim().split_once(char::is_whitespace)?;
        Some((key, value.trim()))
    });
    let blank = || LoaderEntry { file: found.path.clone(), ..LoaderEntry::default() };
    let mut entries = if is_bls { vec![blank()] } else { Vec::new() };
    for (key, value) in pairs {
        if !is_bls && key == "menuentry" {
            entries.push(LoaderEntry { title: first_word(value), ..blank() });
            continue;
        }
        let Some(entry) = entries.last_mut() else { continue };
        match key {
            "title" => value.clone_into(&mut entry.title),
            "version" => value.clone_into(&mut entry.version),
            "linux" if is_bls => value.clone_into(&mut entry.linux),
            "linux" => {
                let (linux, options) = value.split_once(' ').unwrap_or((value, ""));
                linux.clone_into(&mut entry.linux);
                options.clone_into(&mut entry.options);
            }
            "initrd" => value.clone_into(&mut entry.initrd),
            "options" => value.clone_into(&mut entry.options),
            _ => {}
        }
    }
    Ok(entries)
}

/// The first word of a line of GRUB's script, without its quotes (GRUB manual, section "Writing full configuration files
/// directly", "Quoting"). Variables stay as they are written.
fn first_word(line: &str) -> String {
    let mut word = String::new();
    let mut quote = None;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '\\') => word.extend(rest.next()),
            // Within double quotes only these are escaped.
            (Some('"'), '\\') if rest.peek().is_some_and(|next| "$\"\\".contains(*next)) => {
                word.extend(rest.next());
            }
            (None, _) if c.is_whitespace() => break,
            _ => word.push(c),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::first_word;

    #[test]
    fn a_title_is_a_word_without_its_quotes() {
        for (line, title) in [
            ("NixOS --class nixos {", "NixOS"),
            (r#"'it'\''s $x {"y"}' --class nixos"#, r#"it's $x {"y"}"#),
            (r#""a \"b\" \c" {"#, r#"a "b" \c"#),
            (r"some\ system {", "some system"),
            ("'not closed", "not closed"),
            ("", ""),
        ] {
            assert_eq!(first_word(line), title, "{line}");
        }
    }
}
