# The module with as much of `lib`, `pkgs` and NixOS's configuration as it uses: every part is evaluated, nothing built.
{ program, toplevel, loader, efi }:
let
  inStore = builtins.storePath;
  fake = name: builtins.toFile name "";
  module = import ../../nix/module.nix {
    lib = {
      mkOption = option: option;
      types.package = "package";
      filterAttrs =
        keep: set:
        removeAttrs set (builtins.filter (name: !(keep name set.${name})) (builtins.attrNames set));
    };
    pkgs = {
      stdenv.hostPlatform = { system = "x86_64-linux"; isAarch64 = false; };
      OVMF.fd = fake "OVMF";
      runtimeShell = "/bin/sh";
    };
    config = {
      system = { name = "stub"; build.toplevel = inStore toplevel; };
      boot.loader = {
        timeout = 3;
        systemd-boot.enable = loader == "systemd-boot";
        grub.enable = loader == "grub";
      };
      virtualisation = {
        imagegen.package = inStore program;
        additionalPaths = [ (inStore toplevel) ];
        memorySize = 384; cores = 1; diskSize = 1024; diskImage = "./stub.qcow2"; emptyDiskImages = [ 64 ];
        graphics = false; useNixStoreImage = true; useBootLoader = true; useEFIBoot = efi;
        efiVars = "./stub-efi-vars.fd"; bios = null;
        forwardPorts = [ {
          from = "host"; proto = "tcp";
          host = { address = ""; port = 2222; };
          guest = { address = ""; port = 22; };
        } ];
        qemu = { consoles = [ "ttyS0,115200n8" ]; diskInterface = "virtio"; package = fake "qemu"; };
      };
    };
  };
  build = module.config.system.build;
in
{
  option = module.options.virtualisation.imagegen.package.type;
  inherit (build) imagegenStoreImage imagegenBootDisk imagegenVm;
}
