# The demo guest's images as derivations.
{ files, shell, toplevel }:
let
  program = import ../../nix/local-program.nix { inherit files shell; };
  imagegen = import ../../nix { inherit program; };
  efiVarsTemplate = "${/usr/share/OVMF/OVMF_VARS_4M.fd}";
in
rec {
  inherit program;
  storeImage = imagegen.mkStoreImage { paths = [ toplevel ]; };
  # The attributes in the environment, and a format of its own.
  storeImageByEnvironment = imagegen.mkStoreImage {
    paths = [ toplevel ];
    format = "raw";
    options.additionalSpace = "1M";
    structuredAttrs = false;
  };
  bootDisk = imagegen.mkBootDisk {
    inherit toplevel efiVarsTemplate;
    timeout = 0;
    options.kernelParam = [ "quiet" "a=b" ];
  };
  rootDisk = imagegen.mkRootDisk { inherit toplevel; partitionTable = "hybrid"; timeout = 0; };
  # Of a system whose store is another image, with the attributes in the environment.
  rootDiskByEnvironment = imagegen.mkRootDisk {
    inherit toplevel;
    format = "raw";
    withStore = false;
    options.additionalSpace = "16M";
    structuredAttrs = false;
  };
  vm = imagegen.mkVm {
    inherit toplevel storeImage bootDisk;
    name = "demo";
    config = {
      memorySize = 512;
      graphics = false;
      useNixStoreImage = true;
      useBootLoader = true;
      useEFIBoot = true;
    };
  };

  # What must fail.
  unknownOption = imagegen.mkStoreImage { paths = [ toplevel ]; options.noSuchOption = true; };
  reservedOption = imagegen.mkStoreImage { paths = [ toplevel ]; options.output = "/tmp/x"; };
  noClosure = imagegen.mkStoreImage { paths = [ ]; };
  wrongLoader = imagegen.mkRootDisk { inherit toplevel; partitionTable = "efi"; loaders = [ "grub" ]; };
}
