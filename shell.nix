# What the build and the tests need, for those who have nixpkgs. `make test` itself is for Debian.
{ pkgs ? import <nixpkgs> { } }:
pkgs.mkShell {
  packages = with pkgs; [
    cargo clippy rustc rustfmt
    cpio dosfstools e2fsprogs gptfdisk mtools qemu sqlite fish mandoc zsh
  ];
}
