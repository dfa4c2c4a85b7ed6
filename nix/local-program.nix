# A package of a nix-imagegen that was built outside of Nix and is linked dynamically: the program behind a script
# that starts it with the shared libraries it was built with. A static program needs none of this: put it into the
# store as it is, with `nix-store --add` on a directory that has it in bin/.
{
  # A store path with nix-imagegen, ld-linux-x86-64.so.2 and the shared libraries.
  files,
  # A store path with bin/sh.
  shell,
  system ? builtins.currentSystem,
}:
let
  inStore = path: if builtins.hasContext path then path else builtins.storePath path;
  interpreter = "${inStore shell}/bin/sh";
in
derivation {
  name = "nix-imagegen-local";
  inherit system;
  builder = interpreter;
  PATH = "${inStore shell}/bin";
  script = ''
    #! ${interpreter}
    exec ${inStore files}/ld-linux-x86-64.so.2 --library-path ${inStore files} ${inStore files}/nix-imagegen "$@"
  '';
  passAsFile = [ "script" ];
  args = [
    "-ec"
    "mkdir -p $out/bin; cp $scriptPath $out/bin/nix-imagegen; chmod +x $out/bin/nix-imagegen"
  ];
}
