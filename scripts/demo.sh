#!/usr/bin/env bash
# The main job from end to end: a guest's closure, its store image and boot disk, a boot by UEFI firmware, and what
# the guest says of its store compared with the source. Called by `make demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
guest=target/guest
out=target/demo
imagegen=target/release/nix-imagegen

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

step "Building nix-imagegen"
cargo build --release --quiet
mkdir -p "$out"
rm -f "$out"/*

step "Making a guest's closure out of Debian's packages"
scripts/make-guest.sh "$guest"
toplevel=$(cat "$guest/toplevel")
echo "$toplevel"

step "Writing its store image"
$imagegen store-image --store-root "$guest/root" --registration "$guest/registration" \
    -o "$out/store.qcow2" --report "$out/store.json"
sha256sum "$out/store.qcow2"

step "Writing its boot disk"
$imagegen boot-disk --store-root "$guest/root" --toplevel "$toplevel" --loader systemd-boot --timeout 0 \
    -o "$out/boot.qcow2" --efi-vars-template /usr/share/OVMF/OVMF_VARS_4M.fd --efi-vars "$out/efi-vars.fd"
sha256sum "$out/boot.qcow2"

step "Booting it under UEFI"
cat > "$out/vm.toml" << END
name = "demo"
memorySize = 512
graphics = false
diskImage = "$out/root.qcow2"
useNixStoreImage = true
storeImage = "$out/store.qcow2"
useBootLoader = true
useEFIBoot = true
bootDisk = "$out/boot.qcow2"
efiVars = "$out/efi-vars.fd"
END
# By translation, which works on every machine. The console goes to a file, so that its last lines can be compared; five minutes are plenty.
timeout 300 $imagegen run --accel tcg --config "$out/vm.toml" -- -display none -serial "file:$PWD/$out/console.log" \
    -monitor none < /dev/null

step "What the guest said"
tr -d '\r' < "$out/console.log" | grep -ao 'GUEST-.*\|NIX-IMAGEGEN-.*' | tee "$out/guest.txt"

step "Comparing with the source"
scripts/expected-guest.sh "$guest" | while read -r line; do
    grep -qxF "$line" "$out/guest.txt" || { echo "demo: the guest should have said: $line" >&2; exit 1; }
    echo "the same: $line"
done
grep -qx 'NIX-IMAGEGEN-GUEST-OK' "$out/guest.txt"
