# For nixpkgs' callPackage. Not evaluated against nixpkgs by this project's tests.
{ lib, rustPlatform, installShellFiles }:
rustPlatform.buildRustPackage {
  pname = "nix-imagegen";
  version = (builtins.fromTOML (builtins.readFile ../Cargo.toml)).workspace.package.version;
  src = lib.cleanSource ../.;
  cargoLock.lockFile = ../Cargo.lock;
  nativeBuildInputs = [ installShellFiles ];
  # The tests boot machines and need firmware, QEMU and Debian's packages: `make test`.
  doCheck = false;
  postInstall = ''
    mkdir man
    $out/bin/nix-imagegen man -o man
    installManPage man/*.1
    installShellCompletion --cmd nix-imagegen \
      --bash <($out/bin/nix-imagegen completions bash) \
      --zsh <($out/bin/nix-imagegen completions zsh) \
      --fish <($out/bin/nix-imagegen completions fish)
  '';
  meta = {
    description = "Reproducible boot disks and Nix store images without a helper VM";
    license = with lib.licenses; [ mit asl20 ];
    mainProgram = "nix-imagegen";
    platforms = lib.platforms.linux;
  };
}
