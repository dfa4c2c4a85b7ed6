//! Options of `root-disk`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use imagegen::boot::Loader;
use imagegen::fs::ext4::Growth;
use imagegen::guid::Guid;
use imagegen::image::root_disk::PartitionTable;
use imagegen::units::{ByteCount, SizeError};

use super::words::one_of;
use super::{FromStoreArgs, ImageArgs, LOADERS, MenuArgs, ReportArg};

/// Arguments of `root-disk`.
#[derive(Debug, Args)]
#[command(mut_arg("optimise", |optimise| optimise.requires("with_store")))]
#[command(after_help = "Example:
  nix-imagegen root-disk --closure ./result --toplevel ./result -o root.qcow2
The same with the store in it:
  nix-imagegen root-disk --closure ./result --toplevel ./result --with-store -o whole.qcow2
And with boot loaders, so that this one disk boots under UEFI and BIOSes:
  nix-imagegen root-disk --closure ./result --toplevel ./result --with-store \\
    --partition-table hybrid --loader systemd-boot,grub -o disk.qcow2")]
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
    /// How the disk is divided, in the words of nixpkgs' make-disk-image
    #[arg(long, value_name = "KIND", default_value = "none")]
    pub partition_table: PartitionTableArg,
    /// Where the EFI system partition ends, which begins at 8 MiB; rounded up to a MiB
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    pub boot_size: ByteCount,
    /// What the disk boots by, for --toplevel and a --partition-table that has a place for it; several with commas
    /// between them, nothing if not given
    #[arg(long, value_name = "LOADER", value_delimiter = ',', requires = "toplevel", value_parser = one_of(&LOADERS))]
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

    /// The table that is asked for.
    pub const fn table(&self) -> PartitionTable {
        self.table_of(self.partition_table)
    }

    const fn table_of(&self, kind: PartitionTableArg) -> PartitionTable {
        let boot_end = self.boot_size;
        match kind {
            PartitionTableArg::None => PartitionTable::None,
            PartitionTableArg::Legacy => PartitionTable::Legacy,
            PartitionTableArg::Efi => PartitionTable::Efi { boot_end },
            PartitionTableArg::Hybrid => PartitionTable::Hybrid { boot_end },
        }
    }

    /// The names of the tables that have a place for every loader that is asked for; `hybrid` has one for any.
    fn tables_for_loaders(&self) -> Vec<String> {
        let has_place = |kind: &PartitionTableArg| {
            self.loader.iter().all(|loader| self.table_of(*kind).loaders().contains(loader))
        };
        let kinds = PartitionTableArg::value_variants().iter().copied();
        kinds.filter(has_place).map(PartitionTableArg::name).collect()
    }

    /// What is wrong with the options together.
    pub fn contradiction(&self) -> Option<String> {
        let table = self.partition_table;
        if self.menu.fat.is_some() && !self.table().has_esp() {
            let table = table.name();
            return Some(format!(
                "a disk with --partition-table {table} has no EFI system partition for --fat"
            ));
        }
        if let Some(loader) = self.loader.iter().find(|loader| !self.table().loaders().contains(loader)) {
            let (table, others) = (table.name(), self.tables_for_loaders().join(" or "));
            return Some(format!(
                "{loader} has no place on a disk with --partition-table {table}; --partition-table {others} has one"
            ));
        }
        if let Some((option, loader)) = self.menu.option_without_loader(&self.loader) {
            return Some(format!("{option} is for {loader}, which --loader does not name"));
        }
        let option = self.menu.option_of_any_loader().filter(|_| self.loader.is_empty())?;
        Some(format!("{option} is for boot loaders, and --loader names none"))
    }
}
