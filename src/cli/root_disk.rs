//! Options of `root-disk`.

use std::path::{Path, PathBuf};

use clap::builder::ArgPredicate;
use clap::{ArgAction, ArgGroup, Args, ValueEnum};
use imagegen::boot::Loader;
use imagegen::fs::ext4::Growth;
use imagegen::guid::Guid;
use imagegen::image::root_disk::PartitionTable;
use imagegen::units::{ByteCount, SizeError};

use super::words::one_of;
use super::{FromStoreArgs, ImageArgs, LOADERS, MenuArgs, ReportArg};

/// Arguments of `root-disk`.
#[derive(Debug, Args)]
#[command(mut_arg("optimise", |optimise| optimise.requires("whole")))]
#[command(mut_arg("paths", |paths| paths
    .value_name("SYSTEM")
    .help("The toplevel of a system for a disk that boots by itself; the same as --closure SYSTEM --toplevel SYSTEM \
        --with-store --partition-table auto, and its boot loaders")
    .action(ArgAction::Set)
    .num_args(1)))]
#[command(group(ArgGroup::new("whole").args(["with_store", "paths"]).multiple(true)))]
#[command(group(ArgGroup::new("system").args(["toplevel", "paths"])))]
#[command(after_help = "Example, a disk that boots by itself:
  nix-imagegen root-disk ./result -o disk.qcow2
The same with every part named, for UEFI and BIOSes:
  nix-imagegen root-disk --closure ./result --toplevel ./result --with-store \\
    --partition-table hybrid --loader systemd-boot,grub -o disk.qcow2
One without the store and boot loaders, for a machine that has a store image and a boot disk:
  nix-imagegen root-disk --closure ./result --toplevel ./result -o root.qcow2")]
pub struct RootDiskArgs {
    /// Which files
    #[command(flatten)]
    pub from: FromStoreArgs,
    /// The system of the profile /nix/var/nix/profiles/system: a store path, or a link to one
    #[arg(long, value_name = "STORE_PATH")]
    pub toplevel: Option<PathBuf>,
    /// Put the closure itself on the disk too, instead of directories to mount a store image on
    #[arg(long)]
    pub with_store: bool,
    /// How the disk is divided, in the words of nixpkgs' make-disk-image; `auto` if SYSTEM is given
    #[arg(long, value_name = "KIND", default_value = "none")]
    #[arg(default_value_if("paths", ArgPredicate::IsPresent, "auto"))]
    pub partition_table: PartitionTableArg,
    /// Where the EFI system partition ends, which begins at 8 MiB; rounded up to a MiB
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    pub boot_size: ByteCount,
    /// What the disk boots by, for a system and a --partition-table that has a place for it; several with commas between
    /// them. If not given, with SYSTEM or --partition-table auto those that the system leads to, else nothing
    #[arg(long, value_name = "LOADER", value_delimiter = ',', requires = "system", value_parser = one_of(&LOADERS))]
    pub loader: Vec<Loader>,
    /// What the loaders show and start
    #[command(flatten)]
    pub menu: MenuArgs,
    /// The image itself
    #[command(flatten)]
    pub image: ImageArgs,
    /// The file system's label
    #[arg(long, value_name = "TEXT", default_value = imagegen::fixed::ROOT_DISK_LABEL)]
    pub label: String,
    /// The file system's UUID
    #[arg(long, value_name = "UUID", default_value_t = imagegen::fixed::ROOT_DISK_UUID)]
    pub uuid: Guid,
    /// Free space to add when the size is computed
    #[arg(long, value_name = "SIZE", default_value = "512M")]
    pub additional_space: ByteCount,
    /// For how many bytes of the file system there is an inode, now and when it has grown: 1K to 64M; if not given, 16K,
    /// from 4 TiB on 32K, from 16 TiB on 64K
    #[arg(long, value_name = "N", value_parser = bytes_per_inode)]
    pub bytes_per_inode: Option<u32>,
    /// Its report
    #[command(flatten)]
    pub report: ReportArg,
}

/// How a root disk is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PartitionTableArg {
    /// One with places for the boot loaders: hybrid for both, efi for systemd-boot, legacy for grub, none without
    Auto,
    /// The file system fills the disk; it boots from another one
    None,
    /// An MBR with one partition from 1 MiB on; GRUB goes before it
    Legacy,
    /// A GPT with an EFI system partition and the file system's
    Efi,
    /// The same with a partition for GRUB's core image
    Hybrid,
}

impl PartitionTableArg {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The smallest that has a place for these loaders.
    pub fn with_places(loaders: &[Loader]) -> Self {
        match (loaders.contains(&Loader::SystemdBoot), loaders.contains(&Loader::Grub)) {
            (true, true) => Self::Hybrid,
            (true, false) => Self::Efi,
            (false, true) => Self::Legacy,
            (false, false) => Self::None,
        }
    }
}

fn bytes_per_inode(text: &str) -> Result<u32, String> {
    let ByteCount(bytes) = text.parse().map_err(|error: SizeError| error.to_string())?;
    let bytes = u32::try_from(bytes).ok().filter(|bytes| Growth::BYTES_PER_INODE.contains(bytes));
    bytes.ok_or_else(|| "1K to 64M can be given".to_owned())
}

impl RootDiskArgs {
    /// How the file system is prepared for being made larger.
    pub const fn growth(&self) -> Growth {
        Growth { bytes_per_inode: self.bytes_per_inode }
    }

    /// The system of the profile.
    pub fn toplevel(&self) -> Option<&Path> {
        self.toplevel.as_deref().or_else(|| self.whole_system())
    }

    /// The system that was given without an option, so that all of it is meant.
    pub fn whole_system(&self) -> Option<&Path> {
        self.from.closure.paths.first().map(PathBuf::as_path)
    }

    /// Whether the closure itself goes on the disk.
    pub fn has_store(&self) -> bool {
        self.with_store || self.whole_system().is_some()
    }

    /// Whether the boot loaders are those of the system.
    pub fn takes_loaders_of_system(&self) -> bool {
        let is_asked = match self.partition_table {
            PartitionTableArg::None => false,
            PartitionTableArg::Auto => true,
            _ => self.whole_system().is_some(),
        };
        is_asked && self.loader.is_empty() && self.toplevel().is_some()
    }

    /// A table of this kind. `auto` has to be decided first.
    pub const fn table(&self, kind: PartitionTableArg) -> PartitionTable {
        let boot_end = self.boot_size;
        match kind {
            PartitionTableArg::None | PartitionTableArg::Auto => PartitionTable::None,
            PartitionTableArg::Legacy => PartitionTable::Legacy,
            PartitionTableArg::Efi => PartitionTable::Efi { boot_end },
            PartitionTableArg::Hybrid => PartitionTable::Hybrid { boot_end },
        }
    }

    /// The names of the tables that have a place for each of these loaders; `hybrid` has one for any.
    fn tables_for(&self, loaders: &[Loader]) -> Vec<String> {
        let has_place =
            |kind: &PartitionTableArg| loaders.iter().all(|one| self.table(*kind).loaders().contains(one));
        let kinds = PartitionTableArg::value_variants().iter().copied();
        kinds.filter(has_place).map(PartitionTableArg::name).collect()
    }

    /// What is wrong with the options together, for a disk with this table and these loaders.
    pub fn contradiction(&self, kind: PartitionTableArg, loaders: &[Loader]) -> Option<String> {
        let table = self.table(kind);
        if self.menu.fat.is_some() && !table.has_esp() {
            let table = kind.name();
            return Some(format!(
                "a disk with --partition-table {table} has no EFI system partition for --fat"
            ));
        }
        if let Some(loader) = loaders.iter().find(|loader| !table.loaders().contains(loader)) {
            let (table, others) = (kind.name(), self.tables_for(loaders).join(" or "));
            return Some(format!(
                "{loader} has no place on a disk with --partition-table {table}; --partition-table {others} has one"
            ));
        }
        let named = if self.loader.is_empty() { "the disk does not get" } else { "--loader does not name" };
        if let Some((option, loader)) = self.menu.option_without_loader(loaders) {
            return Some(format!("{option} is for {loader}, which {named}"));
        }
        let option = self.menu.option_of_any_loader().filter(|_| loaders.is_empty())?;
        Some(format!("{option} is for boot loaders, and --loader names none"))
    }
}
