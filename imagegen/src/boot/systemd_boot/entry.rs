//! An entry of the menu, in the form and under the name that NixOS's own installer gives it, so that it takes ours for its
//! own: what it would write again stays, and what it would not is removed.

use sha2::{Digest, Sha256};

use super::SystemdBootError;
use crate::boot::linux::command_line_max;
use crate::boot::toplevel::{Boot, BootFile};
use crate::boot::{Generation, Menu};
use crate::fixed;

/// NixOS's default for generations whose `boot.json` names no key.
const SORT_KEY: &str = "nixos";

/// An entry of the menu.
pub(super) struct Entry<'a> {
    pub(super) title: String,
    pub(super) generation: &'a Generation,
    pub(super) boot: &'a Boot,
}

impl Entry<'_> {
    /// The entry in the form of the Boot Loader Specification, type 1. The name is made of it, so that keys, their order and
    /// the missing line break at the end are those of nixpkgs' `systemd-boot-builder.py`.
    pub(super) fn text(&self, menu: &Menu) -> Result<String, SystemdBootError> {
        let boot = self.boot;
        let number = self.generation.number;
        let version = format!("Generation {number} {}, built on {}", boot.label, fixed::BUILD_DATE);
        let mut options = format!("init={}", boot.init);
        for parameter in boot.kernel_params.iter().chain(&menu.kernel_params) {
            options.push(' ');
            options.push_str(parameter);
        }
        let initrds: Vec<_> = initrds(boot).collect();
        self.check_length(&initrds, &options)?;

        let path = |file| format!("/{}", path_on_esp(file));
        let mut lines =
            vec![("title", self.title.clone()), ("version", version), ("linux", path(&boot.kernel))];
        lines.extend(initrds.into_iter().map(|initrd| ("initrd", initrd)));
        lines.push(("options", options));
        lines.extend(menu.machine_id.iter().map(|id| ("machine-id", id.to_string())));
        lines.extend(boot.device_tree.as_ref().map(|tree| ("devicetree", path(tree))));
        lines.push(("sort-key", boot.sort_key.clone().unwrap_or_else(|| SORT_KEY.to_owned())));
        Ok(lines.iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join("\n"))
    }

    /// systemd-boot puts `initrd=` and the file's path in front of the options, for each initrd
    /// (`initrd_prepare` of its `boot.c`), and all of it is the kernel's command line.
    fn check_length(&self, initrds: &[String], options: &str) -> Result<(), SystemdBootError> {
        let in_front: usize = initrds.iter().map(|path| "initrd= ".len() + path.len()).sum();
        let (length, limit) = (in_front + options.len(), command_line_max(&self.generation.system.system));
        if length <= limit {
            return Ok(());
        }
        let (entry, number) = (&self.title, self.generation.number);
        Err(SystemdBootError::CommandLineTooLong(format!(
            "the command line of `{entry}` in generation {number} has {length} bytes, {in_front} of them `initrd=…`, which \
             systemd-boot puts in front; Linux takes at most {limit} and drops the rest, so give it fewer parameters"
        )))
    }
}

/// The name of an entry's file: `nixos-` and the SHA-256 of its text. There is no boot counter in such a name, two of them
/// never differ in case only, and `bootctl` takes all of its characters.
pub(super) fn file_name(text: &str) -> String {
    format!("nixos-{}.conf", hexadecimal(text))
}

/// The initial RAM disks of a system in their order, as paths on the EFI system partition.
fn initrds(boot: &Boot) -> impl Iterator<Item = String> {
    let own = boot.initrd.as_ref().map(|initrd| format!("/{}", initrd_path(boot, initrd)));
    own.into_iter().chain(boot.extra_initrds.iter().map(|path| format!("/{path}")))
}

/// Where NixOS puts the initrd. One to which a script may add secrets is another file with each script: its name is made of
/// where both would be.
pub(super) fn initrd_path(boot: &Boot, initrd: &BootFile) -> String {
    match &boot.initrd_secrets {
        None => path_on_esp(initrd),
        Some(secrets) => {
            let both = format!("{}\n{}", path_on_esp(initrd), path_on_esp(&secrets.script));
            format!("EFI/nixos/{}-initrd.efi", hexadecimal(&both))
        }
    }
}

/// Where NixOS puts a file of the store.
pub(super) fn path_on_esp(file: &BootFile) -> String {
    format!("EFI/nixos/{}.efi", file.copy_name())
}

/// The SHA-256 of a text.
fn hexadecimal(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text))
}
