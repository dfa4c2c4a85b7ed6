//! Who takes part: the limit, this program, and today's tools. Each is a line for a shell, as anybody can type it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

/// A way to do the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Contender {
    /// What `--only` and `--skip` know it by.
    pub name: String,
    /// What it does, in a few words.
    pub about: String,
    /// Its part in the comparison.
    pub role: Role,
    /// The command; it finds its input in variables and writes `$OUT`.
    pub command: String,
    /// It was given by `--peer`: whoever asks for it wants to see it run, or fail.
    #[serde(skip)]
    pub is_given: bool,
}

/// The part of a contender in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Not a tool for the work, but what no tool can be much faster than.
    Limit,
    /// This program.
    Ours,
    /// Another tool.
    Peer,
}

/// A program and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Program {
    /// Its file name.
    pub program: &'static str,
    /// Where to get it.
    pub package: &'static str,
}

/// The contender that stands for this program in ratios.
pub const REFERENCE: &str = "qcow2";

/// The programs that commands call and a machine may lack.
const PROGRAMS: [(&str, &str); 11] = [
    ("mkfs.ext4", "e2fsprogs"),
    ("qemu-img", "qemu-utils"),
    ("mkfs.erofs", "erofs-utils"),
    ("mksquashfs", "squashfs-tools"),
    ("genext2fs", "genext2fs"),
    ("cp", "coreutils"),
    ("cat", "coreutils"),
    ("xargs", "findutils"),
    ("sgdisk", "gdisk"),
    ("mkfs.fat", "dosfstools"),
    ("mcopy", "mtools"),
];

/// Makers of store images and of what comes near. `$STORE` is the directory of the store paths, `$ROOT/nix/store`.
pub fn store_image() -> Vec<Contender> {
    use Role::{Limit, Ours, Peer};
    let ours =
        r#""$IMAGEGEN" store-image --quiet --registration "$REGISTRATION" --store-root "$ROOT" -o "$OUT""#;
    let mkfs = r#"mkfs.ext4 -q -F -L nix-store -N "$INODES" -d "$STORE" "$OUT.raw" "${KIBIBYTES}k""#;
    let convert =
        |options: &str| format!(r#"{mkfs} && qemu-img convert {options}-f raw -O qcow2 "$OUT.raw" "$OUT""#);
    vec![
        Limit.contender(
            "cat",
            "the limit: all files' bytes into one file",
            r#"find "$STORE" -type f -print0 | xargs -0 cat > "$OUT""#,
        ),
        Ours.contender("raw", "ext4 in a raw image, every NAR hash checked", format!("{ours} --format raw")),
        Ours.contender("qcow2", "ext4 in qcow2, every NAR hash checked", ours),
        Ours.contender("qcow2-no-verify", "ext4 in qcow2, nothing checked", format!("{ours} --no-verify")),
        Ours.contender(
            "qcow2-zstd",
            "compressed by zstd, every NAR hash checked",
            format!("{ours} --compress zstd"),
        ),
        Ours.contender(
            "qcow2-zlib",
            "compressed by zlib, every NAR hash checked",
            format!("{ours} --compress zlib"),
        ),
        Peer.contender("cp", "a copy of the tree, no image", r#"cp -a "$STORE" "$OUT""#),
        Peer.contender("mkfs.erofs", "EROFS, not compressed", r#"mkfs.erofs --quiet "$OUT" "$STORE""#),
        Peer.contender(
            "mksquashfs",
            "SquashFS, zstd level 3",
            r#"mksquashfs "$STORE" "$OUT" -quiet -no-progress -comp zstd -Xcompression-level 3"#,
        ),
        Peer.contender(
            "genext2fs",
            "ext2 in a raw image",
            r#"genext2fs -B 4096 -b "$((KIBIBYTES / 4))" -N "$INODES" -d "$STORE" "$OUT""#,
        ),
        Peer.contender("mkfs.ext4", "ext4 in a raw image", format!(r#"{mkfs} && mv "$OUT.raw" "$OUT""#)),
        Peer.contender("mkfs.ext4+qcow2", "ext4, then qemu-img convert: today's way", convert("")),
        Peer.contender("mkfs.ext4+qcow2-c", "ext4, then qemu-img convert -c (zlib)", convert("-c ")),
    ]
}

/// Makers of boot disks.
pub fn boot_disk() -> Vec<Contender> {
    use Role::{Limit, Ours, Peer};
    let ours = r#""$IMAGEGEN" boot-disk --quiet --toplevel "$TOPLEVEL" --store-root "$ROOT" --loader systemd-boot -o "$OUT""#;
    let about_limit = "the limit: kernel, initrd and loader into one file";
    vec![
        Limit.contender("cat", about_limit, r#"cat "$KERNEL" "$INITRD" "$LOADER" > "$OUT""#),
        Ours.contender("raw", "boot disk in a raw image", format!("{ours} --format raw")),
        Ours.contender("qcow2", "boot disk in qcow2", ours),
        Peer.contender("sgdisk+mtools", "sgdisk, mkfs.fat and mcopy, without a machine", SGDISK_AND_MTOOLS),
    ]
}

/// What nixpkgs' boot disk has, by the tools with which it is made there.
const SGDISK_AND_MTOOLS: &str = r#"truncate -s 60M "$OUT" &&
sgdisk --set-alignment=1 --new=1:34:2047 --change-name=1:BIOSBootPartition --typecode=1:ef02 \
  --set-alignment=512 --largest-new=2 --change-name=2:EFISystem --typecode=2:ef00 \
  --attributes=1:set:1 --attributes=2:set:2 --disk-guid=97FD5997-D90B-4AA3-8D16-C1723AEA73C1 \
  --partition-guid=1:1C06F03B-704E-4657-B9CD-681A087A2FDC \
  --partition-guid=2:970C694F-AFD0-4B99-B750-CDB7A329AB6F --hybrid 2 --recompute-chs "$OUT" &&
mkfs.fat -F16 -h 2048 --offset 2048 "$OUT" 60399 &&
export MTOOLS_SKIP_CHECK=1 &&
mlabel -i "$OUT@@1M" ::boot &&
mmd -i "$OUT@@1M" ::EFI ::EFI/BOOT ::EFI/systemd ::EFI/nixos ::loader ::loader/entries &&
mcopy -i "$OUT@@1M" "$LOADER" ::EFI/BOOT/BOOTX64.EFI &&
mcopy -i "$OUT@@1M" "$LOADER" ::EFI/systemd/systemd-bootx64.efi &&
mcopy -i "$OUT@@1M" "$KERNEL" ::EFI/nixos/kernel.efi &&
mcopy -i "$OUT@@1M" "$INITRD" ::EFI/nixos/initrd.efi &&
printf 'default nixos-generation-1.conf\n' | mcopy -i "$OUT@@1M" - ::loader/loader.conf &&
printf 'title NixOS\nlinux /EFI/nixos/kernel.efi\ninitrd /EFI/nixos/initrd.efi\noptions init=%s/init\n' "$TOPLEVEL" |
  mcopy -i "$OUT@@1M" - ::loader/entries/nixos-generation-1.conf"#;

impl Role {
    /// A contender with this part.
    pub fn contender(self, name: &str, about: &str, command: impl Into<String>) -> Contender {
        let (name, about, command) = (name.to_owned(), about.to_owned(), command.into());
        Contender { name, about, role: self, command, is_given: false }
    }

    /// What stands before names and descriptions of this program's contenders.
    pub fn prefix(self) -> &'static str {
        if self == Self::Ours { "nix-imagegen: " } else { "" }
    }
}

impl Contender {
    /// One of the user's.
    pub fn given(name: &str, command: &str) -> Self {
        Self { is_given: true, ..Role::Peer.contender(name, "given by --peer", command) }
    }

    /// The programs it calls and this machine lacks.
    pub fn missing(&self, path: &[PathBuf]) -> Vec<Program> {
        let calls = |program| self.command.split_whitespace().any(|word| word == program);
        let is_there = |program| path.iter().any(|directory| directory.join(program).is_file());
        let missing = PROGRAMS.into_iter().filter(|(program, _)| calls(*program) && !is_there(*program));
        missing.map(|(program, package)| Program { program, package }).collect()
    }
}

/// `PATH`, and the directories of system tools, which it often lacks for those who are not root.
pub fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{boot_disk, store_image};
    use crate::cli::CONTENDERS;

    #[test]
    fn shells_are_told_every_name() {
        let names: BTreeSet<_> =
            store_image().into_iter().chain(boot_disk()).map(|contender| contender.name).collect();
        assert_eq!(names, CONTENDERS.map(str::to_owned).into());
    }
}
