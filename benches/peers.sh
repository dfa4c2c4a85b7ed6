#!/usr/bin/env bash
# The same work by nix-imagegen and by today's tools, on a real closure of at least 2.2 GB and 52,000 files and on a
# real boot disk; prints the ratios. Takes about ten minutes on two cores; see benches/README.md.
#
#   benches/peers.sh [DIR]     DIR/root and DIR/registration; made of this machine's files if not given
#
#   ROUNDS=5     how often each contender runs
#   SLOW=1       also mkfs.ext4 alone, qemu-img convert -c and genext2fs: three times as long
#   OUT=DIR      where tables, JSON and charts go; target/peers/results if not given
#   TMPDIR=DIR   where images are written; about three times the closure's size of room
set -euo pipefail
start=$SECONDS
status=0
given=${1:+$(cd "$1" && pwd)}
cd "$(dirname "$0")/.."
peers=$PWD/target/peers
out=${OUT:-$peers/results}
rounds=${ROUNDS:-5}
imagegen=$PWD/target/release/nix-imagegen
guest=$PWD/target/guest
export PATH="$PATH:/usr/sbin:/sbin"
say() { printf '\n\033[1m== %s\033[0m\n' "$*" >&2; }

missing=()
while read -r program package; do
    command -v "$program" > /dev/null || missing+=("$package")
done << 'END'
mksquashfs squashfs-tools
mkfs.erofs erofs-utils
genext2fs genext2fs
END
if [ ${#missing[@]} -gt 0 ]; then
    echo "peers: without ${missing[*]}; to have them take part: apt-get install ${missing[*]}" >&2
fi

say "Building nix-imagegen"
cargo build --release --quiet
mkdir -p "$out" "$peers"

tree=${given:-$peers/tree}
if [ -z "$given" ]; then
    say "Making a closure of this machine's files"
    benches/make-tree.sh "$tree" system
fi

# mkext4's own example, which writes a raw image and hashes nothing.
added=()
if [ ! -x "$peers/bin/mkfs" ]; then
    say "Building mkext4's example"
    cargo install --quiet mkext4 --version =0.0.3 --example mkfs --root "$peers" --target-dir "$peers/build" ||
        echo "peers: without mkext4, which could not be built" >&2
fi
if [ -x "$peers/bin/mkfs" ]; then
    added+=(--peer "mkext4=\"$peers/bin/mkfs\" \"\$STORE\" \"\$OUT\" \$((KIBIBYTES / 4 * 4096))")
fi
skipped=()
if [ -z "${SLOW:-}" ]; then
    skipped=(--skip "mkfs.ext4,mkfs.ext4+qcow2-c,genext2fs")
fi

say "Store image: $rounds rounds"
"$imagegen" bench --store-root "$tree/root" --registration "$tree/registration" --rounds "$rounds" \
    "${skipped[@]}" "${added[@]}" --json "$out/store-image.json" --svg "$out/store-image.svg" |
    tee "$out/store-image.txt" || status=1

say "Boot disk: $rounds rounds, one of them by a throwaway machine under emulation"
scripts/setup.sh
scripts/make-guest.sh "$guest"
benches/make-machine.sh "$guest" "$peers/machine"
both='"$IMAGEGEN" boot-disk --quiet --toplevel "$TOPLEVEL" --store-root "$ROOT" --loader systemd-boot,grub -o "$OUT"'
"$imagegen" bench --store-root "$guest/root" --toplevel "$(cat "$guest/toplevel")" --rounds "$rounds" \
    --peer "qcow2+grub=$both" --peer "machine=\"$PWD/benches/run-machine.sh\" \"$peers/machine\" \"\$OUT\"" \
    --json "$out/boot-disk.json" --svg "$out/boot-disk.svg" | tee "$out/boot-disk.txt" || status=1

say "Ratios"
python3 benches/ratios.py "$out/store-image.json" "$out/boot-disk.json" | tee "$out/ratios.txt"
say "$((SECONDS - start)) s in all; tables, JSON and charts are in $out"
# A contender that failed is a row of its table.
exit $status
