# Not evaluated against nixpkgs by this project's tests; nix/default.nix needs no nixpkgs and is.
{
  description = "Reproducible boot disks and Nix store images without a helper VM";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
  outputs =
    { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      forAll = f: builtins.listToAttrs (map (system: { name = system; value = f system; }) systems);
    in
    {
      packages = forAll (system: {
        default = nixpkgs.legacyPackages.${system}.callPackage ./nix/package.nix { };
      });
      # mkStoreImage, mkBootDisk, mkRootDisk and mkVm.
      lib = forAll (system: import ./nix { inherit system; program = self.packages.${system}.default; });
      nixosModules.default = ./nix/module.nix;
      devShells = forAll (system: {
        default = import ./shell.nix { pkgs = nixpkgs.legacyPackages.${system}; };
      });
    };
}
