//! `boot.json`: the bootspec (RFC 0125, version 1) of a system and of its specialisations, and the extensions of it that
//! change what is booted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bootspec::v1::BootSpecV1;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ToplevelError;

const BOOTSPEC: &str = "org.nixos.bootspec.v1";
const SPECIALISATIONS: &str = "org.nixos.specialisation.v1";
const SYSTEMD_BOOT: &str = "org.nixos.systemd-boot";
/// The extension that names further initial RAM disks; messages name it too.
pub const EXTRA_INITRD: &str = "org.nixos.extra-initrd.v1";
/// Whatever its version, the Xen hypervisor is to be started, and Linux by it.
const XEN: &str = "org.xenproject.bootspec.";

/// What a `boot.json` says.
pub(super) struct Document {
    pub(super) bootspec: BootSpecV1,
    pub(super) systemd_boot: SystemdBoot,
    pub(super) extra_initrd: ExtraInitrd,
    /// Extensions that nothing is known of.
    pub(super) unknown_extensions: BTreeSet<String>,
    /// The same of variants of the system, by name. NixOS makes none inside of another.
    pub(super) specialisations: BTreeMap<String, Document>,
}

/// What systemd-boot's module of NixOS adds.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct SystemdBoot {
    pub(super) sort_key: Option<String>,
    pub(super) devicetree: Option<PathBuf>,
}

/// Initial RAM disks that are on the EFI system partition already, such as firmware of the machine's maker.
#[derive(Default, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct ExtraInitrd {
    /// Paths from the root of the partition, with or without a slash in front.
    #[serde(default)]
    pub(super) paths: Vec<String>,
}

impl Document {
    /// A document without extensions.
    pub(super) fn new(bootspec: BootSpecV1, specialisations: BTreeMap<String, Self>) -> Self {
        Self {
            bootspec,
            systemd_boot: SystemdBoot::default(),
            extra_initrd: ExtraInitrd::default(),
            unknown_extensions: BTreeSet::new(),
            specialisations,
        }
    }

    /// Reads the text of the file at `path`.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ToplevelError> {
        let not_json = |error: serde_json::Error| {
            let source = error.into();
            ToplevelError::Bootspec { path: path.into(), key: None, source }
        };
        let value = serde_json::from_str(text).map_err(not_json)?;
        let mut document = Object::of(path, "", value)?;
        let specialisations = document.take::<BTreeMap<String, Value>>(SPECIALISATIONS)?.unwrap_or_default();
        let mut specialisations_read = BTreeMap::new();
        for (name, value) in specialisations {
            let prefix = format!("{SPECIALISATIONS}.{name}.");
            let mut document = Object::of(path, &prefix, value)?;
            document.values.remove(SPECIALISATIONS);
            specialisations_read.insert(name, document.read(BTreeMap::new())?);
        }
        document.read(specialisations_read)
    }
}

/// The document of a system or specialisation, of which the keys that were read are taken away.
struct Object<'a> {
    path: &'a Path,
    /// The keys that lead to it, a dot behind each.
    prefix: &'a str,
    values: BTreeMap<String, Value>,
}

impl<'a> Object<'a> {
    fn of(path: &'a Path, prefix: &'a str, value: Value) -> Result<Self, ToplevelError> {
        let key = prefix.trim_end_matches('.');
        Ok(Self { path, prefix, values: deserialize(path, key, value)? })
    }

    fn read(mut self, specialisations: BTreeMap<String, Document>) -> Result<Document, ToplevelError> {
        let Some(bootspec) = self.take(BOOTSPEC)? else {
            let (path, key) = (self.path.display(), self.key(BOOTSPEC));
            let found: Vec<_> = self.values.keys().map(|found| format!("`{found}`")).collect();
            let instead = if found.is_empty() { "" } else { ", only " };
            return Err(ToplevelError::Unusable(format!(
                "`{path}` is not a bootspec of version 1, the only one that is read: it has no key `{key}`{instead}{}",
                found.join(", ")
            )));
        };
        if let Some(xen) = self.values.keys().find(|key| key.starts_with(XEN)) {
            return Err(ToplevelError::Xen { path: self.path.into(), key: self.key(xen) });
        }
        Ok(Document {
            bootspec,
            systemd_boot: self.take(SYSTEMD_BOOT)?.unwrap_or_default(),
            extra_initrd: self.take(EXTRA_INITRD)?.unwrap_or_default(),
            unknown_extensions: self.values.into_keys().collect(),
            specialisations,
        })
    }

    /// Removes and reads the value of a key, if there is one.
    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, ToplevelError> {
        let value = self.values.remove(key);
        value.map(|value| deserialize(self.path, &self.key(key), value)).transpose()
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

fn deserialize<T: DeserializeOwned>(path: &Path, key: &str, value: Value) -> Result<T, ToplevelError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inside = error.path().to_string();
        let key = match inside.as_str() {
            // What is wrong with the whole.
            "." => key.to_owned(),
            inside if key.is_empty() => inside.to_owned(),
            inside => format!("{key}.{inside}"),
        };
        ToplevelError::Bootspec { path: path.into(), key: Some(key), source: error.into_inner().into() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bootspec() -> Value {
        json!({
            "init": "/i", "kernel": "/k", "kernelParams": [], "label": "l", "system": "x86_64-linux", "toplevel": "/t"
        })
    }

    fn error(document: &Value) -> String {
        let error = Document::parse(Path::new("/boot.json"), &document.to_string()).err().unwrap();
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    }

    #[test]
    fn errors_name_the_key() {
        for (key, value, expected) in [
            (
                "kernelParams",
                json!("quiet"),
                "its key `org.nixos.bootspec.v1.kernelParams` is wrong: invalid type",
            ),
            (
                "kernelParams",
                json!(["a", 1]),
                "its key `org.nixos.bootspec.v1.kernelParams[1]` is wrong: invalid type",
            ),
            ("label", json!(null), "its key `org.nixos.bootspec.v1.label` is wrong: invalid type: null"),
        ] {
            let mut bootspec = bootspec();
            bootspec[key] = value;
            let found = error(&json!({ "org.nixos.bootspec.v1": bootspec }));
            assert!(found.contains(expected), "{found}");
        }
        let mut without = bootspec();
        without.as_object_mut().unwrap().remove("kernel");
        for (document, expected) in [
            (json!([]), "the document is wrong: invalid type: sequence, expected a map"),
            (
                json!({ "org.nixos.bootspec.v1": without.clone() }),
                "its key `org.nixos.bootspec.v1` is wrong: missing field `kernel`",
            ),
            (
                json!({ "org.nixos.bootspec.v2": bootspec() }),
                "it has no key `org.nixos.bootspec.v1`, only `org.nixos.bootspec.v2`",
            ),
            (json!({}), "it has no key `org.nixos.bootspec.v1`"),
            (
                json!({ "org.nixos.bootspec.v1": bootspec(), "org.nixos.specialisation.v1": { "a b": [] } }),
                "its key `org.nixos.specialisation.v1.a b` is wrong",
            ),
            (
                json!({
                    "org.nixos.bootspec.v1": bootspec(),
                    "org.nixos.specialisation.v1": { "x": { "org.nixos.bootspec.v1": without } },
                }),
                "its key `org.nixos.specialisation.v1.x.org.nixos.bootspec.v1` is wrong: missing field `kernel`",
            ),
            (
                json!({ "org.nixos.bootspec.v1": bootspec(), "org.nixos.extra-initrd.v1": { "paths": "a" } }),
                "its key `org.nixos.extra-initrd.v1.paths` is wrong",
            ),
            (
                json!({ "org.nixos.bootspec.v1": bootspec(), "org.nixos.systemd-boot": null }),
                "its key `org.nixos.systemd-boot` is wrong: invalid type: null, expected an object",
            ),
            (
                json!({ "org.nixos.bootspec.v1": bootspec(), "org.nixos.extra-initrd.v1": 5 }),
                "its key `org.nixos.extra-initrd.v1` is wrong: invalid type: integer `5`, expected an object",
            ),
            (
                json!({ "org.nixos.bootspec.v1": bootspec(), "org.xenproject.bootspec.v2": {} }),
                "the Xen hypervisor (`org.xenproject.bootspec.v2`)",
            ),
        ] {
            let found = error(&document);
            assert!(found.contains(expected), "{found}");
            assert!(found.contains("`/boot.json`"), "{found}");
        }
    }

    #[test]
    fn unknown_extensions_are_kept_apart() {
        let document = json!({
            "org.nixos.bootspec.v1": bootspec(),
            "org.nixos.extra-initrd.v1": { "paths": ["a", "/b"] },
            "com.example.notes.v1": null,
            "org.nixos.specialisation.v1": {
                "x": { "org.nixos.bootspec.v1": bootspec(), "com.example.other": 1, "org.nixos.specialisation.v1": {} },
            },
        });
        let document = Document::parse(Path::new("/boot.json"), &document.to_string()).unwrap();
        assert_eq!(document.extra_initrd.paths, ["a", "/b"]);
        assert_eq!(document.unknown_extensions, ["com.example.notes.v1".to_owned()].into());
        assert_eq!(document.specialisations["x"].unknown_extensions, ["com.example.other".to_owned()].into());
    }
}
