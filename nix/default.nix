# Derivations whose builder is nix-imagegen. They need no `kvm` feature, no nixpkgs and no other program in the
# sandbox, and the closure comes from Nix itself, with its hashes, without a closureInfo step.
#
#   imagegen = import ./nix { program = /nix/store/…-nix-imagegen; };
#   imagegen.mkStoreImage { paths = [ toplevel ]; }
#
# Every function takes `options`: what its subcommand takes on the command line, in camel case
# (`additionalSpace = "1G"` for `--additional-space 1G`; lists where an option can be repeated).
{
  # A package with bin/nix-imagegen. One that cargo built must be linked statically, or come from local-program.nix: else
  # the builds fail with "executing '…/bin/nix-imagegen': No such file or directory" (docs/nix.md).
  program,
  system ? builtins.currentSystem,
}:
let
  # A store path as a string becomes one that the derivation depends on.
  inStore = path: if builtins.isString path && !(builtins.hasContext path) then builtins.storePath path else "${path}";

  # What is left of a set without attributes that are null: those have the program's own default.
  given = attributes: removeAttrs attributes (
    builtins.filter (name: attributes.${name} == null) (builtins.attrNames attributes)
  );

  mkDerivation =
    {
      name,
      product,
      options,
      # The roots of the closure, if the product holds one.
      paths ? [ ],
      # The attributes as one JSON file, in which Nix tells the hashes of the closure too; otherwise as the
      # environment, in which it tells none, so that nothing can be verified.
      structuredAttrs ? true,
    }:
    let
      closure = map inStore paths;
      numbered = builtins.genList (n: [ "closure-${toString n}" (builtins.elemAt closure n) ]) (builtins.length closure);
      structured = {
        __structuredAttrs = true;
        inherit options;
      }
      # An image names the paths that it holds, but whoever has the image does not need them in the store. Older Nix
      # than 2.16 does not know this and keeps them. A machine is a script that needs the paths it names, images and
      # program among them.
      // (if product == "vm" then { } else { unsafeDiscardReferences.out = true; })
      // (if closure == [ ] then { } else { exportReferencesGraph.closure = closure; });
      environment = {
        options = builtins.toJSON options;
      } // (if closure == [ ] then { } else { exportReferencesGraph = builtins.concatLists numbered; });
    in
    derivation ({
      inherit name system;
      builder = "${inStore program}/bin/nix-imagegen";
      args = [ "builder" ];
      imagegen = product;
    } // (if structuredAttrs then structured else environment));
in
rec {
  # An ext4 image of the closure of `paths`, labelled nix-store: $out/nixos.qcow2, or nixos.img if `format` is "raw".
  mkStoreImage =
    {
      paths,
      name ? "nixos-store-image",
      format ? "qcow2",
      options ? { },
      structuredAttrs ? true,
    }:
    mkDerivation {
      inherit name paths structuredAttrs;
      product = "store-image";
      options = { inherit format; } // options;
    };

  # The disk that a virtual machine boots from: $out/disk.img and, from a template, $out/efi-vars.fd.
  mkBootDisk =
    {
      toplevel,
      name ? "nixos-boot-disk",
      # "systemd-boot" or "grub", or both.
      loaders ? [ "systemd-boot" ],
      # The firmware's empty variables, such as "${OVMF.fd}/FV/OVMF_VARS.fd".
      efiVarsTemplate ? null,
      # Packages of the boot loaders, where the toplevel does not lead to them.
      systemd ? null,
      grub ? null,
      timeout ? null,
      options ? { },
      structuredAttrs ? true,
    }:
    mkDerivation {
      inherit name structuredAttrs;
      product = "boot-disk";
      options = given {
        inherit efiVarsTemplate timeout;
        toplevel = inStore toplevel;
        loader = loaders;
        systemd = if systemd == null then null else inStore systemd;
        grub = if grub == null then null else inStore grub;
      } // options;
    };

  # A root disk whose Nix knows the closure of `paths`: $out/nixos.qcow2, or nixos.img if `format` is "raw".
  # `partitionTable` is "none", "legacy", "efi" or "hybrid" as in make-disk-image; with one of the latter three the disk
  # boots by itself, with "none" it needs a boot disk beside it.
  mkRootDisk =
    {
      toplevel,
      name ? "nixos-disk-image",
      format ? "qcow2",
      paths ? [ toplevel ],
      # The closure itself too, and not only its registration.
      withStore ? true,
      partitionTable ? "none",
      loaders ? {
        none = [ ];
        legacy = [ "grub" ];
        efi = [ "systemd-boot" ];
        hybrid = [ "systemd-boot" "grub" ];
      }.${partitionTable},
      # Packages of the boot loaders, where the toplevel does not lead to them.
      systemd ? null,
      grub ? null,
      timeout ? null,
      options ? { },
      structuredAttrs ? true,
    }:
    mkDerivation {
      inherit name paths structuredAttrs;
      product = "root-disk";
      options = given {
        inherit format withStore partitionTable timeout;
        toplevel = inStore toplevel;
        loader = loaders;
        systemd = if systemd == null then null else inStore systemd;
        grub = if grub == null then null else inStore grub;
      } // options;
    };

  # A virtual machine: $out/bin/run-NAME-vm, which `nix-imagegen run` is behind. `config` has the names of NixOS's
  # `virtualisation` options; the images come with it where these ask for them.
  mkVm =
    {
      toplevel,
      name ? "nixos",
      config ? { },
      storeImage ? mkStoreImage { paths = [ toplevel ]; },
      bootDisk ? mkBootDisk {
        inherit toplevel loaders efiVarsTemplate;
      },
      loaders ? if config.useEFIBoot or false then [ "systemd-boot" ] else [ "grub" ],
      efiVarsTemplate ? null,
      # What interprets the start script; "${runtimeShell}" of nixpkgs where /bin/sh is missing.
      shell ? "/bin/sh",
      structuredAttrs ? true,
    }:
    mkDerivation {
      name = "${name}-vm";
      product = "vm";
      inherit structuredAttrs;
      options = {
        inherit name shell;
        toplevel = inStore toplevel;
        config = {
          inherit name;
          toplevel = inStore toplevel;
        }
        // (if config.useNixStoreImage or false then { storeImage = "${storeImage}"; } else { })
        // (if config.useBootLoader or false then { bootDisk = "${bootDisk}"; } else { })
        // config;
      };
    };
}
