# A NixOS module in the place of what nixpkgs' virtualisation module makes in a helper machine: the boot disk, the
# store image and the start script. The names of the options are that module's; its assertions and the guest's own
# half (fileSystems, initrd) stay as they are.
#
#   imports = [ (nix-imagegen + "/nix/module.nix") ];
#   virtualisation.imagegen.package = …;   # with bin/nix-imagegen
#
# then `config.system.build.{imagegenVm,imagegenStoreImage,imagegenBootDisk}`.
{ config, lib, pkgs, ... }:
let
  cfg = config.virtualisation;
  own = cfg.imagegen;
  toplevel = config.system.build.toplevel;

  imagegen = import ./. {
    program = own.package;
    system = pkgs.stdenv.hostPlatform.system;
  };

  efiFirmware =
    if pkgs.stdenv.hostPlatform.isAarch64 then "${pkgs.OVMF.fd}/FV/AAVMF" else "${pkgs.OVMF.fd}/FV/OVMF";

  # GRUB's timeout is null for a menu that waits; nix-imagegen has a word for it.
  timeout = if config.boot.loader.timeout == null then "menu-force" else config.boot.loader.timeout;

  loaders =
    (if config.boot.loader.systemd-boot.enable then [ "systemd-boot" ] else [ ])
    ++ (if config.boot.loader.grub.enable then [ "grub" ] else [ ]);

  storeImage = imagegen.mkStoreImage {
    name = "nixos-store-image";
    paths = cfg.additionalPaths;
  };

  bootDisk = imagegen.mkBootDisk {
    inherit toplevel loaders timeout;
    efiVarsTemplate = if cfg.useEFIBoot then "${efiFirmware}_VARS.fd" else null;
  };

  # `run` reads the options under the names that they have here. What is null has its default there; what a shell
  # would expand (`"$TMPDIR"/xchg`) is `run`'s own doing.
  plain = names: lib.filterAttrs (name: value: builtins.elem name names && value != null) cfg;
  vmConfig =
    plain [
      "memorySize" "cores" "diskSize" "diskImage" "emptyDiskImages" "graphics" "useNixStoreImage"
      "useBootLoader" "useEFIBoot" "efiVars"
    ]
    // {
      forwardPorts = map (rule: {
        inherit (rule) from proto;
        host = { inherit (rule.host) address port; };
        guest = { inherit (rule.guest) address port; };
      }) cfg.forwardPorts;
      qemu = {
        inherit (cfg.qemu) consoles diskInterface;
        package = "${cfg.qemu.package}";
      };
    }
    // (if cfg.bios == null then { } else { bios = "${cfg.bios}"; })
    // (if cfg.useEFIBoot then {
      efi = {
        firmware = "${efiFirmware}_CODE.fd";
        variables = "${efiFirmware}_VARS.fd";
      };
    } else { });
in
{
  options.virtualisation.imagegen.package = lib.mkOption {
    type = lib.types.package;
    description = "The nix-imagegen that builds the images and starts the machine.";
  };

  config.system.build = {
    imagegenStoreImage = storeImage;
    imagegenBootDisk = bootDisk;
    imagegenVm = imagegen.mkVm {
      inherit toplevel storeImage bootDisk;
      name = config.system.name;
      config = vmConfig;
      shell = pkgs.runtimeShell;
    };
  };
}
