# A NixOS system and its images, built by Nix with nix-imagegen as the builder:
#
#     nix build .#disk     # result/nixos.qcow2: one disk with all, which boots under UEFI
#     nix build .#store    # result/nixos.qcow2: the store image alone
#
# To start the disk, make a copy that can be written to, and take one-disk.toml:
#
#     nix build .#disk && cp --no-preserve=mode result/nixos.qcow2 disk.qcow2
#     nix run .#nix-imagegen -- run --config one-disk.toml
{
  description = "Images of a NixOS system by nix-imagegen";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
  # The place that you have it from; `--override-input imagegen PATH` takes a checkout.
  inputs.imagegen.url = "github:OWNER/nix-imagegen";
  inputs.imagegen.inputs.nixpkgs.follows = "nixpkgs";
  outputs =
    { self, nixpkgs, imagegen }:
    let
      system = "x86_64-linux";
      toplevel = self.nixosConfigurations.demo.config.system.build.toplevel;
      images = imagegen.lib.${system};
      disk = images.mkRootDisk { inherit toplevel; partitionTable = "efi"; };
    in
    {
      nixosConfigurations.demo = nixpkgs.lib.nixosSystem {
        inherit system;
        modules = [
          "${nixpkgs}/nixos/modules/profiles/qemu-guest.nix"
          {
            networking.hostName = "demo";
            boot.loader.systemd-boot.enable = true;
            # The labels that root-disk gives the file systems.
            fileSystems."/" = { device = "/dev/disk/by-label/nixos"; fsType = "ext4"; autoResize = true; };
            fileSystems."/boot" = { device = "/dev/disk/by-label/ESP"; fsType = "vfat"; };
            services.openssh.enable = true;
            system.stateVersion = "25.05";
          }
        ];
      };
      packages.${system} = {
        inherit disk;
        default = disk;
        store = images.mkStoreImage { paths = [ toplevel ]; };
        nix-imagegen = imagegen.packages.${system}.default;
      };
    };
}
