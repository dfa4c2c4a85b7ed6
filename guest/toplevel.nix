# A toplevel in the shape of a NixOS system's. It names its own store path in boot.json, as only an input-addressed
# path can, so a derivation makes it.
{ busybox, kernel, initrd, systemd, payload, init, kernelVersion, name ? "guest" }:
let
  store = builtins.storePath;
  parameters = [ "console=ttyS0" "panic=-1" "loglevel=4" ];
  label = "23.05.guest (Linux ${kernelVersion})";
in
derivation {
  name = "nixos-system-${name}-23.05.guest";
  system = builtins.currentSystem;
  builder = "${store busybox}/bin/sh";
  PATH = "${store busybox}/bin";
  kernel = "${store kernel}/bzImage";
  initrd = "${store initrd}/initrd";
  systemd = store systemd;
  payload = store payload;
  sw = store busybox;
  init = builtins.replaceStrings [ "@busybox@" ] [ "${store busybox}" ] (builtins.readFile init);
  kernelParams = builtins.concatStringsSep " " parameters;
  # The builder puts its own path in the place of @out@.
  boot = builtins.toJSON {
    "org.nixos.bootspec.v1" = {
      system = builtins.currentSystem;
      init = "@out@/init";
      initrd = "${store initrd}/initrd";
      kernel = "${store kernel}/bzImage";
      kernelParams = parameters;
      label = "NixOS ${label}";
      toplevel = "@out@";
    };
    "org.nixos.specialisation.v1" = { };
  };
  inherit label;
  passAsFile = [ "init" "boot" ];
  args = [
    "-ec"
    ''
      mkdir $out
      ln -s $kernel $out/kernel
      ln -s $initrd $out/initrd
      ln -s $systemd $out/systemd
      ln -s $sw $out/sw
      ln -s $payload $out/payload
      cp $initPath $out/init
      chmod +x $out/init
      echo -n "$kernelParams" > $out/kernel-params
      echo -n "23.05.guest" > $out/nixos-version
      echo -n "$system" > $out/system
      sed "s|@out@|$out|g" $bootPath > $out/boot.json
    ''
  ];
}
