//! Every identifier, seed and time that other tools draw at random, fixed here with the reason beside it.
//!
//! Changing one changes the bytes of every image made from then on.

use crate::guid::Guid;

/// The boot disk's GUID. nixpkgs' `qemu-vm.nix` fixes the same one, so that disks made either way look alike.
pub const BOOT_DISK_GUID: Guid = Guid::from_u128(0x97FD_5997_D90B_4AA3_8D16_C172_3AEA_73C1);
/// The BIOS boot partition's unique GUID, from the same module.
pub const BIOS_BOOT_PARTITION_GUID: Guid = Guid::from_u128(0x1C06_F03B_704E_4657_B9CD_681A_087A_2FDC);
/// The EFI system partition's unique GUID, from the same module; a boot entry in NVRAM names it.
pub const ESP_GUID: Guid = Guid::from_u128(0x970C_694F_AFD0_4B99_B750_CDB7_A329_AB6F);

/// The FAT volume serial number, which mkfs.fat takes from the clock. GRUB's `search --fs-uuid` sees it as
/// `4E49-584F` ("NIXO" in ASCII).
pub const ESP_VOLUME_ID: u32 = 0x4E49_584F;
/// The ESP's volume label, as `mlabel ::boot` writes it.
pub const ESP_LABEL: [u8; 11] = *b"boot       ";

/// The day of every file of the ESP, at midnight: the first one that FAT knows. `esp` writes it as zeros and ones.
pub const FAT_DATE: &str = "1980-01-01";

/// The store image's file-system UUID when `--uuid` is not given: `nixsto…image` in ASCII, shaped as a version 4 UUID.
pub const STORE_IMAGE_UUID: Guid = Guid::from_u128(0x6E69_7873_746F_4E72_A5C1_6D61_6765_0001);
/// The UUID of a root disk's file system when `--uuid` is not given: the one that nixpkgs' make-disk-image fixes.
pub const ROOT_DISK_UUID: Guid = Guid::from_u128(0xF222_513B_DED1_49FA_B591_20CE_86A2_FE7F);
/// The label of a root disk's file system: what NixOS's images are mounted by.
pub const ROOT_DISK_LABEL: &str = "nixos";
/// The unique GUIDs of the partitions before a root disk's file system, by number, whatever is in them:
/// make-disk-image's.
pub const ROOT_DISK_PARTITION_GUIDS: [Guid; 2] = [BIOS_BOOT_PARTITION_GUID, ESP_GUID];
/// The unique GUID of the partition with a root disk's file system: make-disk-image's, the same as the UUID.
pub const ROOT_PARTITION_GUID: Guid = ROOT_DISK_UUID;
/// The label of a root disk's EFI system partition, by which NixOS's images mount it.
pub const ROOT_DISK_ESP_LABEL: [u8; 11] = *b"ESP        ";
/// The disk signature of a root disk with an MBR, which parted draws at random; Linux names the partition by it,
/// `4e49584f-01`. "NIXO" in ASCII.
pub const ROOT_DISK_SIGNATURE: u32 = 0x4E49_584F;
/// The seed of ext4's directory hash; mkfs draws it at random, and it decides where each name lies in a large
/// directory. It need not be secret: the store is read-only and its names are known.
pub const EXT4_HASH_SEED: Guid = Guid::from_u128(0x6E69_7873_746F_4E72_A5C1_6D61_6765_0002);
/// The label of a store image when `--label` is not given; the module mounts the store by it.
pub const STORE_IMAGE_LABEL: &str = "nix-store";

/// The time of every file, directory and file system: what the Nix store itself sets, 1970-01-01 00:00:01 UTC,
/// in seconds since the epoch. Not zero, since some programs take zero for "no time".
pub const STORE_TIME: u32 = 1;

/// The day on which boot menus say that a system was built. NixOS writes the day on which the generation was made,
/// which differs from one build to the next; this is the one day that every file of the store claims.
pub const BUILD_DATE: &str = "1970-01-01";

/// The logical store directory. Nix allows others, but no binary cache and no NixOS system uses one.
pub const STORE_DIR: &str = "/nix/store";
