#!/usr/bin/env bash
# Draws the pictures of the README anew, in docs/pictures: a disk made of the demo's guest, and the benchmark's chart out of
# docs/pictures/bench.json. The same packages of Debian give the same disk.svg. Called by `make pictures`.
set -euo pipefail
cd "$(dirname "$0")/.."
pictures=$PWD/docs/pictures
guest=$PWD/target/guest
imagegen=$PWD/target/release/nix-imagegen

cargo build --release --quiet
scripts/make-guest.sh "$guest"
mkdir -p target/pictures
# The drawing has the image's name as it is given.
cd target/pictures
"$imagegen" root-disk --store-root "$guest/root" --registration "$guest/registration" --toplevel "$(cat "$guest/toplevel")" \
    --with-store --partition-table hybrid --boot-size 64M --loader systemd-boot,grub -o disk.qcow2
"$imagegen" inspect disk.qcow2 --svg "$pictures/disk.svg" > /dev/null
rm disk.qcow2
cd ../..
DRAW_PICTURES=1 cargo test --quiet --bin nix-imagegen the_chart_of_the_readme
