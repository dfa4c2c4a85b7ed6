# A toplevel in the shape of a NixOS system's. It names its own store path in boot.json, as only an input-addressed
# path can, so a derivation makes it.
{
  busybox, kernel, initrd, systemd, init, kernelVersion
, name ? "guest"
, # What boots by it, and the busybox that builds it, which runs here.
  system ? builtins.currentSystem, builder ? busybox, kernelFile ? "bzImage", console ? "ttyS0"
, # Nothing where the architecture has no BIOS.
  grub ? ""
, # Nothing where there is nothing to be carried along.
  payload ? ""
, # More of the kernel's parameters, with spaces between them.
  parameters ? ""
, # A specialisation that has `guest.specialisation=NAME` among its parameters.
  specialisation ? ""
}:
let
  store = builtins.storePath;
  given = path: if path == "" then "" else store path;
  words = text: builtins.filter (word: builtins.isString word && word != "") (builtins.split " " text);
  allParameters = [ "console=${console}" "panic=-1" "loglevel=4" ] ++ words parameters;
  label = "23.05.guest (Linux ${kernelVersion})";
  bootspec = kernelParams: {
    inherit system kernelParams;
    init = "@out@/init";
    initrd = "${store initrd}/initrd";
    kernel = "${store kernel}/${kernelFile}";
    label = "NixOS ${label}";
    toplevel = "@out@";
  };
  # The way from a toplevel to its GRUB: the script that installs it, and the settings of that.
  grubConfig = builtins.toFile "grub-config.xml" (builtins.toXML { grub = "${store grub}"; grubTarget = "i386-pc"; });
  installer = builtins.toFile "install-grub.sh" "echo 'this is what would read ${grubConfig}'\n";
in
derivation {
  name = "nixos-system-${name}-23.05.guest";
  system = builtins.currentSystem;
  builder = "${store builder}/bin/sh";
  PATH = "${store builder}/bin";
  kernel = "${store kernel}/${kernelFile}";
  initrd = "${store initrd}/initrd";
  systemd = store systemd;
  payload = given payload;
  installBootLoader = if grub == "" then "" else installer;
  sw = store busybox;
  machine = system;
  init = builtins.replaceStrings [ "@busybox@" ] [ "${store busybox}" ] (builtins.readFile init);
  kernelParams = builtins.concatStringsSep " " allParameters;
  # The builder puts its own path in the place of @out@.
  boot = builtins.toJSON {
    "org.nixos.bootspec.v1" = bootspec allParameters;
    "org.nixos.specialisation.v1" = if specialisation == "" then { } else {
      ${specialisation}."org.nixos.bootspec.v1" =
        bootspec (allParameters ++ [ "guest.specialisation=${specialisation}" ]);
    };
  };
  inherit label;
  passAsFile = [ "init" "boot" ];
  args = [
    "-ec"
    ''
      mkdir -p $out/bin
      ln -s $kernel $out/kernel
      ln -s $initrd $out/initrd
      ln -s $systemd $out/systemd
      ln -s $sw $out/sw
      [ -z "$payload" ] || ln -s $payload $out/payload
      cp $initPath $out/init
      chmod +x $out/init
      echo -n "$kernelParams" > $out/kernel-params
      echo -n "23.05.guest" > $out/nixos-version
      echo -n "$machine" > $out/system
      echo "echo 'the boot loader is installed by $installBootLoader'" > $out/bin/switch-to-configuration
      chmod +x $out/bin/switch-to-configuration
      sed "s|@out@|$out|g" $bootPath > $out/boot.json
    ''
  ];
}
