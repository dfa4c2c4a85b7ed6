# The module with as much of `lib`, `pkgs` and NixOS's configuration as it uses: every part is evaluated, nothing built.
{ program, toplevel, loader, efi }:
let
  inStore = builtins.storePath;
  fake = name: builtins.toFile name "";
  # What the virtualisation module adds by itself, then what a user has.
  moduleFile = "/nix/store/x-nixpkgs/nixos/modules/virtualisation/qemu-vm.nix";
  defined = own: users: {
    definitionsWithLocations = [ { file = moduleFile; value = own; } { file = "/etc/nixos/vm.nix"; value = users; } ];
  };
  moduleDrives = [
    {
      name = "root"; file = "\"$NIX_DISK_IMAGE\""; device = "/dev/vda"; deviceExtraOpts = { };
      driveExtraOpts = { cache = "writeback"; werror = "report"; };
    }
    {
      name = "nix-store"; file = "\"$TMPDIR\"/store.img"; device = "/dev/vdb"; driveExtraOpts = { };
      deviceExtraOpts.bootindex = "3";
    }
    {
      name = "boot"; file = "\"$TMPDIR\"/disk.img"; device = "/dev/vdc"; driveExtraOpts.media = "disk";
      deviceExtraOpts.bootindex = "1";
    }
  ];
  userDrives = [
    { name = null; file = "data.qcow2"; device = "/dev/vdd"; driveExtraOpts = { }; deviceExtraOpts.serial = "data"; }
  ];
  module = import ../../nix/module.nix {
    lib = {
      mkOption = option: option;
      mkForce = content: { forced = content; };
      types.package = "package";
      filterAttrs =
        keep: set:
        removeAttrs set (builtins.filter (name: !(keep name set.${name})) (builtins.attrNames set));
    };
    pkgs = {
      stdenv.hostPlatform = { system = "x86_64-linux"; isAarch64 = false; };
      OVMF.fd = fake "OVMF";
      runtimeShell = "/bin/sh";
      closureInfo = { rootPaths }: assert rootPaths == [ (inStore toplevel) ]; fake "closure-info";
    };
    options.virtualisation.qemu = {
      options = defined [ "-nographic" "-usb" ] [ "-device virtio-balloon" ];
      networkingOptions = defined [ "-net nic,netdev=user.0,model=virtio" ] [ ];
      drives = defined moduleDrives userDrives;
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
        memorySize = 384; msize = 262144; cores = 1; diskSize = null; diskImage = "./stub.qcow2";
        bootDevice = "/dev/vda"; emptyDiskImages = [ 64 ]; graphics = false; resolution = { x = 800; y = 600; };
        writableStore = true; writableStoreUseTmpfs = false; useNixStoreImage = true; useBootLoader = true;
        useEFIBoot = efi; efiVars = "./stub-efi-vars.fd"; bios = null;
        # Options that `run` has no use for.
        vlans = [ 1 ]; fileSystems = throw "the guest's half is not for the launcher";
        sharedDirectories = {
          xchg = { source = "\"$TMPDIR\"/xchg"; target = "/tmp/xchg"; };
          shared = { source = "\"\${SHARED_DIR:-$TMPDIR/xchg}\""; target = "/tmp/shared"; };
          home = { source = "$HOME"; target = "/mnt/home"; securityModel = "mapped-xattr"; };
        };
        forwardPorts = [ {
          from = "host"; proto = "tcp";
          host = { address = ""; port = 2222; };
          guest = { address = ""; port = 22; };
        } ];
        qemu = {
          consoles = [ "ttyS0,115200n8" ]; diskInterface = "virtio"; package = fake "qemu";
          options = throw "the evaluated list has the module's own options too";
          networkingOptions = throw "the evaluated list has the user network of the module";
          drives = moduleDrives ++ userDrives; guestAgent.enable = false;
        };
      } // (if efi then { tpm = { enable = true; deviceModel = "tpm-tis"; package = fake "swtpm"; }; } else { });
    };
  };
  build = module.config.system.build;
in
{
  option = module.options.virtualisation.imagegen.package.type;
  inherit (build) imagegenStoreImage imagegenBootDisk imagegenVm;
  vm = build.vm.forced;
}
