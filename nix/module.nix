# A NixOS module in the place of what nixpkgs' virtualisation module makes in a helper machine: the boot disk, the
# store image and the start script. The names of the options are that module's; its assertions and the guest's own
# half (fileSystems, initrd) stay as they are.
#
#   imports = [ (nix-imagegen + "/nix/module.nix") ];
#   virtualisation.imagegen.package = …;   # with bin/nix-imagegen
#
# `config.system.build.vm` is then this program's; so are `imagegenVm`, which is the same, `imagegenStoreImage` and
# `imagegenBootDisk`. (A disk that boots by itself, in the place of make-disk-image, is `mkRootDisk` of nix/default.nix:
# the systems of this module have their root where the module's drives are.)
{ config, lib, options, pkgs, ... }:
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

  # `run` reads the options under the names that they have here; those of a later or older module than this one are left
  # out. What is null has its default there, but for these, where null means none. What a shell would expand
  # (`"$TMPDIR"/xchg`) is `run`'s own doing.
  nullable = [ "diskImage" "diskSize" ];
  plain = set: names: lib.filterAttrs
    (name: value: builtins.elem name names && (value != null || builtins.elem name nullable)) set;
  attrsIf = condition: set: if condition then set else { };

  # The module adds options, networking and drives of its own to these lists, and so does `run`: what counts is what
  # others have added. The module is told by the name of its file.
  isOwn = definition: builtins.match ".*/virtualisation/qemu-vm[.]nix" (toString definition.file) != null;
  definedElsewhere = option: builtins.concatLists (
    map (definition: definition.value)
      (builtins.filter (definition: !(isOwn definition)) (option.definitionsWithLocations or [ ]))
  );
  ofQemu = options.virtualisation.qemu;
  drive = given: plain given [ "name" "file" "driveExtraOpts" "deviceExtraOpts" "device" ];
  # A list with the root disk in it is the whole list for `run` too; so the order is the module's.
  allDrives = map drive cfg.qemu.drives;
  hasRoot = builtins.any (drive: drive.name or null == "root") allDrives;

  vmConfig =
    plain cfg [
      "memorySize" "msize" "cores" "diskSize" "diskImage" "bootDevice" "emptyDiskImages" "graphics"
      "restrictNetwork" "writableStore" "writableStoreUseTmpfs" "useNixStoreImage" "mountHostNixStore"
      "useBootLoader" "useBIOSBoot" "useEFIBoot" "efiVars" "useHostCerts"
    ]
    // {
      additionalPaths = map (path: "${path}") cfg.additionalPaths;
      registration = "${pkgs.closureInfo { rootPaths = cfg.additionalPaths; }}/registration";
      resolution = plain cfg.resolution [ "x" "y" ];
      sharedDirectories =
        builtins.mapAttrs (tag: directory: plain directory [ "source" "target" "securityModel" ]) cfg.sharedDirectories;
      forwardPorts = map (rule: {
        inherit (rule) from proto;
        host = { inherit (rule.host) address port; };
        guest = { inherit (rule.guest) address port; };
      }) cfg.forwardPorts;
      qemu =
        plain cfg.qemu [ "consoles" "diskInterface" "virtioKeyboard" ]
        // {
          package = "${cfg.qemu.package}";
          options = definedElsewhere ofQemu.options;
          drives = if hasRoot then allDrives else map drive (definedElsewhere ofQemu.drives);
        }
        // attrsIf (cfg.qemu ? guestAgent) { guestAgent = { inherit (cfg.qemu.guestAgent) enable; }; }
        # The evaluated list is in the place of the user network's options, those of the module included.
        // attrsIf (definedElsewhere ofQemu.networkingOptions != [ ]) { inherit (cfg.qemu) networkingOptions; };
    }
    // attrsIf (cfg.bios or null != null) { bios = "${cfg.bios}"; }
    // attrsIf (cfg ? directBoot) { directBoot = plain cfg.directBoot [ "enable" "initrd" ]; }
    // attrsIf (cfg ? tpm) {
      tpm = plain cfg.tpm [ "enable" "deviceModel" ] // attrsIf cfg.tpm.enable { package = "${cfg.tpm.package}"; };
    }
    // attrsIf cfg.useEFIBoot {
      efi = {
        firmware = "${cfg.efi.firmware or "${efiFirmware}_CODE.fd"}";
        variables = "${cfg.efi.variables or "${efiFirmware}_VARS.fd"}";
      } // plain (cfg.efi or { }) [ "keepVariables" ];
    };

  vm = imagegen.mkVm {
    inherit toplevel storeImage bootDisk;
    name = config.system.name;
    config = vmConfig;
    shell = pkgs.runtimeShell;
  };
in
{
  options.virtualisation.imagegen.package = lib.mkOption {
    type = lib.types.package;
    description = "The nix-imagegen that builds the images and starts the machine.";
  };

  config.system.build = {
    vm = lib.mkForce vm;
    imagegenVm = vm;
    imagegenStoreImage = storeImage;
    imagegenBootDisk = bootDisk;
  };
}
