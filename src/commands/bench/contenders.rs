//! Who takes part: the limit, this program, and today's tools. Each is a line for a shell, as anybody can type it.

use std::path::{Path, PathBuf};

/// A way to do the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// What `--only` and `--skip` know it by.
    pub name: String,
    /// What it does, in a few words.
    pub about: String,
    /// Its part in the comparison.
    pub role: Role,
    /// What it needs on `PATH`.
    pub programs: &'static [Program],
    /// The command; it finds its input in variables and writes `$OUT`.
    pub command: String,
}

/// The part of a contender in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Program {
    /// Its file name.
    pub program: &'static str,
    /// Where to get it.
    pub package: &'static str,
}

/// The contender that stands for this program in ratios.
pub const REFERENCE: &str = "qcow2";

const MKFS_EXT4: Program = Program { program: "mkfs.ext4", package: "e2fsprogs" };
const QEMU_IMG: Program = Program { program: "qemu-img", package: "qemu-utils" };
const MKFS_EROFS: Program = Program { program: "mkfs.erofs", package: "erofs-utils" };
const MKSQUASHFS: Program = Program { program: "mksquashfs", package: "squashfs-tools" };
const GENEXT2FS: Program = Program { program: "genext2fs", package: "genext2fs" };
const CP: Program = Program { program: "cp", package: "coreutils" };
const CAT: Program = Program { program: "cat", package: "coreutils" };
const XARGS: Program = Program { program: "xargs", package: "findutils" };
const SGDISK: Program = Program { program: "sgdisk", package: "gdisk" };
const MKFS_FAT: Program = Program { program: "mkfs.fat", package: "dosfstools" };
const MTOOLS: Program = Program { program: "mcopy", package: "mtools" };

/// Makers of store images and of what comes near. `$STORE` is the directory of the store paths, `$ROOT/nix/store`.
pub fn store_image() -> Vec<Contender> {
    let ours =
        r#""$IMAGEGEN" store-image --quiet --registration "$REGISTRATION" --store-root "$ROOT" -o "$OUT""#;
    let mkfs = r#"mkfs.ext4 -q -F -L nix-store -N "$INODES" -d "$STORE" "$OUT.raw" "${KIBIBYTES}k""#;
    vec![
        limit(
            "cat",
            "the limit: all files' bytes into one file",
            &[XARGS, CAT],
            r#"find "$STORE" -type f -print0 | xargs -0 cat > "$OUT""#,
        ),
        this("raw", "ext4 in a raw image, every NAR hash checked", format!("{ours} --format raw")),
        this("qcow2", "ext4 in qcow2, every NAR hash checked", ours.to_owned()),
        this("qcow2-no-verify", "ext4 in qcow2, nothing checked", format!("{ours} --no-verify")),
        this("qcow2-zstd", "compressed by zstd, every NAR hash checked", format!("{ours} --compress zstd")),
        this("qcow2-zlib", "compressed by zlib, every NAR hash checked", format!("{ours} --compress zlib")),
        peer("cp", "a copy of the tree, no image", &[CP], r#"cp -a "$STORE" "$OUT""#),
        peer("mkfs.erofs", "EROFS, not compressed", &[MKFS_EROFS], r#"mkfs.erofs --quiet "$OUT" "$STORE""#),
        peer(
            "mksquashfs",
            "SquashFS, zstd level 3",
            &[MKSQUASHFS],
            r#"mksquashfs "$STORE" "$OUT" -quiet -no-progress -comp zstd -Xcompression-level 3"#,
        ),
        peer(
            "genext2fs",
            "ext2 in a raw image",
            &[GENEXT2FS],
            r#"genext2fs -B 4096 -b "$((KIBIBYTES / 4))" -N "$INODES" -d "$STORE" "$OUT""#,
        ),
        peer("mkfs.ext4", "ext4 in a raw image", &[MKFS_EXT4], format!(r#"{mkfs} && mv "$OUT.raw" "$OUT""#)),
        peer(
            "mkfs.ext4+qcow2",
            "ext4, then qemu-img convert: today's way",
            &[MKFS_EXT4, QEMU_IMG],
            format!(r#"{mkfs} && qemu-img convert -f raw -O qcow2 "$OUT.raw" "$OUT""#),
        ),
        peer(
            "mkfs.ext4+qcow2-c",
            "ext4, then qemu-img convert -c (zlib)",
            &[MKFS_EXT4, QEMU_IMG],
            format!(r#"{mkfs} && qemu-img convert -c -f raw -O qcow2 "$OUT.raw" "$OUT""#),
        ),
    ]
}

/// Makers of boot disks.
pub fn boot_disk() -> Vec<Contender> {
    let ours = r#""$IMAGEGEN" boot-disk --quiet --toplevel "$TOPLEVEL" --store-root "$ROOT" --loader systemd-boot -o "$OUT""#;
    vec![
        limit(
            "cat",
            "the limit: kernel, initrd and loader into one file",
            &[CAT],
            r#"cat "$KERNEL" "$INITRD" "$LOADER" > "$OUT""#,
        ),
        this("raw", "boot disk in a raw image", format!("{ours} --format raw")),
        this("qcow2", "boot disk in qcow2", ours.to_owned()),
        peer(
            "sgdisk+mtools",
            "sgdisk, mkfs.fat and mcopy, without a machine",
            &[SGDISK, MKFS_FAT, MTOOLS],
            SGDISK_AND_MTOOLS,
        ),
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

fn limit(name: &str, about: &str, programs: &'static [Program], command: &str) -> Contender {
    contender(name, about, Role::Limit, programs, command)
}

fn this(name: &str, about: &str, command: String) -> Contender {
    contender(name, about, Role::Ours, &[], command)
}

fn peer(name: &str, about: &str, programs: &'static [Program], command: impl Into<String>) -> Contender {
    contender(name, about, Role::Peer, programs, command)
}

fn contender(
    name: &str,
    about: &str,
    role: Role,
    programs: &'static [Program],
    command: impl Into<String>,
) -> Contender {
    Contender { name: name.to_owned(), about: about.to_owned(), role, programs, command: command.into() }
}

impl Contender {
    /// One that the command line adds.
    pub fn added(name: &str, command: &str) -> Self {
        peer(name, "given by --peer", &[], command)
    }

    /// The programs it needs and this machine lacks.
    pub fn missing(&self, path: &[PathBuf]) -> Vec<Program> {
        let is_there = |program: &Program| path.iter().any(|directory| is_program(directory, program));
        self.programs.iter().filter(|program| !is_there(program)).copied().collect()
    }
}

fn is_program(directory: &Path, program: &Program) -> bool {
    directory.join(program.program).is_file()
}

/// `PATH`, and the directories of system tools, which it often lacks for those who are not root.
pub fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).collect()
}
