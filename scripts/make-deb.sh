#!/usr/bin/env bash
# Makes a Debian package of a static nix-imagegen, with its manual pages and completions: target/deb/*.deb. Needs
# cargo-deb, musl-tools and the Rust target x86_64-unknown-linux-musl.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-musl
export CC_x86_64_unknown_linux_musl=musl-gcc
cargo build --release --locked --target "$target"
program=${CARGO_TARGET_DIR:-target}/$target/release/nix-imagegen

rm -rf target/deb
mkdir -p target/deb/man
"$program" man -o target/deb/man
"$program" completions bash > target/deb/nix-imagegen
"$program" completions zsh > target/deb/_nix-imagegen
"$program" completions fish > target/deb/nix-imagegen.fish
cargo deb --no-build --target "$target" --output target/deb/
