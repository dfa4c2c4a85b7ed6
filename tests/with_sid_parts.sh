#!/usr/bin/env bash
# Tries what people have today: images are made, by the debug build, of a guest with the kernel, systemd-boot and GRUB of
# Debian sid, booted by sid's QEMU and OVMF, and judged by sid's Nix, e2fsprogs, dosfstools and QEMU. Prints a line for
# each thing that was tried, and the versions; the exit status is 1 if anything failed.
#
# usage: tests/with_sid_parts.sh [PATTERN]    only what the extended regular expression fits
#
# Not part of `make test`: sid changes every day. It fetches about 200 MB, once (scripts/sid.sh), installs nothing, boots
# by translation, and takes about five minutes on two cores. Run `make setup` before; needs root as make-guest.sh does.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
pattern=${1-}
sid=$here/target/sid
tree=$sid/tree
guest=$here/target/guest-sid
out=$sid/tried
ovmf=$tree/usr/share/OVMF/OVMF
imagegen=$here/target/debug/nix-imagegen
export LC_ALL=C

scripts/sid.sh unpack busybox-static dosfstools e2fsprogs grub-common grub-pc-bin linux-image-cloud-amd64 nix-bin ovmf \
    qemu-efi-aarch64 qemu-system-x86 qemu-system-arm qemu-utils swtpm systemd-boot-efi
cargo build --quiet
rm -rf "$out"
mkdir -p "$out/tmp"
export TMPDIR=$out/tmp XDG_CACHE_HOME=$out/cache
# Nothing of the machine's own Nix is read or asked.
export NIX_REMOTE= NIX_PATH= NIX_CONFIG="build-users-group =
substitute = false
experimental-features = nix-command read-only-local-store"

# Packages as scripts/make-guest.sh expects them: each by itself, laid out as Debian 12's.
lay_packages_out() {
    local debian=$1 modules version
    modules=$(echo "$tree"/usr/lib/modules/*-cloud-amd64)
    version=${modules##*/}
    local kernel=$debian/linux-image-cloud-amd64
    mkdir -p "$kernel"/{boot,lib/modules} "$debian"/{busybox-static,systemd-boot-efi/usr/lib/systemd}
    cp -r "$modules" "$kernel/lib/modules/"
    find "$kernel" -name '*.ko.xz' -exec xz --decompress --force {} +
    ln -sf "$modules/vmlinuz" "$kernel/boot/vmlinuz-$version"
    ln -sfn "$tree/usr/bin" "$debian/busybox-static/bin"
    ln -sfn "$tree/usr/lib/systemd/boot" "$debian/systemd-boot-efi/usr/lib/systemd/boot"
    for package in linux-image-cloud-amd64 busybox-static systemd-boot-efi; do
        cp "$sid/done/$package" "$debian/$package.done"
    done
}

[ -e "$sid/debian/systemd-boot-efi.done" ] || lay_packages_out "$sid/debian"
mkdir -p "$sid/debian/bin"
ln -sf "$sid/bin/grub-mkimage" "$sid/debian/bin/"
PATH=$sid/debian/bin:$PATH GUEST_DEBIAN=$sid/debian GUEST_GRUB=$tree/usr/lib/grub scripts/make-guest.sh "$guest"
scripts/make-guest.sh target/guest-aarch64 aarch64
export PATH=$sid/bin:$PATH
toplevel=$(cat "$guest/toplevel")

# A store path with Nix, which the guest runs: it looks at its own database and store.
make_check() {
    local files=$out/guest-check
    local binary=$tree/usr/bin/nix library
    mkdir "$files"
    cp "$binary" "$files/nix"
    for library in $("$tree"/usr/lib/*/ld-linux-*.so.* --library-path "$(echo "$tree"/usr/lib/*-linux-gnu)" --list "$binary" |
        grep -o '/[^ ]*'); do cp -L "$library" "$files/"; done
    cat > "$files/check" << END
#!$(sed -n '1s/^#! *//p' "$guest/root$toplevel/init")
here=\${0%/*}
export NIX_REMOTE= HOME=/root USER=root NIX_CONFIG="build-users-group =
substitute = false
experimental-features = nix-command read-only-local-store"
as() { name=\$1; shift; "\$here"/ld-linux-*.so.* --library-path "\$here" --argv0 "\$name" "\$here/nix" "\$@"; }
# Without a root disk there is no database.
[ -e /nix/var/nix/db/db.sqlite ] || exit 0
as nix --store 'local?read-only=true' path-info --recursive /nix/var/nix/profiles/system > /tmp/paths 2> /tmp/errors &&
    echo "GUEST-NIX-READ-ONLY \$(wc -l < /tmp/paths)" || sed 's/^/GUEST-NIX-SAYS /' /tmp/errors
as nix-store --verify --check-contents && echo "GUEST-NIX-VERIFIES"
as nix path-info --json --recursive /nix/var/nix/profiles/system > /tmp/json 2> /tmp/errors &&
    echo "GUEST-NIX-PATH-INFO \$(grep -o narHash /tmp/json | wc -l)" || sed 's/^/GUEST-NIX-SAYS /' /tmp/errors
END
    chmod 755 "$files/check"
    nix-store --store "$guest/root" --add "$files"
}
check=$(make_check)
closure=(--store-root "$guest/root" --closure "$toplevel" "$check")
paths=$(nix-store --store "$guest/root" --query --requisites "$toplevel" | wc -l)

failures=0
say() { printf '%-44s %s\n' "$1" "$2"; }
# A thing to try: its name and the command that does it, whose output is kept and shown where it fails.
try() {
    local name=$1 log
    shift
    [[ $name =~ $pattern ]] || return 0
    log=$out/$(tr -c 'a-z0-9A-Z\n' - <<< "$name").log
    if "$@" > "$log" 2>&1 < /dev/null; then
        say "$name" ok
    else
        failures=$((failures + 1))
        say "$name" FAILED
        sed 's/^/    /' "$log" | tail -n 15
    fi
}

# Made once, however many things are tried with it.
made() {
    local name=$1
    shift
    [ -e "$out/$name" ] || "$imagegen" "$1" --store-root "$guest/root" --quiet -o "$out/$name" "${@:2}"
}
boot_disk() { made "boot-$1" boot-disk --toplevel "$toplevel" --timeout 0 --loader "$1"; }
root_disk() { # TABLE LOADER
    local loader=()
    [ "$1" = none ] || loader=(--loader "$2" --timeout 0)
    made "root-$1-$2" root-disk --closure "$toplevel" "$check" --toplevel "$toplevel" --with-store --partition-table "$1" \
        "${loader[@]}"
}
store_image() { made "store" store-image --closure "$toplevel" "$check"; }

# Starts a machine from these disks and looks for what its guest must say; QEMU must say nothing.
machine() { # bios|efi DISK…
    local firmware=$1 arguments=() disk
    shift
    rm -f "$out/console"
    if [ "$firmware" = efi ]; then
        cp "${ovmf}_VARS_4M.fd" "$out/variables.fd"
        arguments+=(-drive "if=pflash,format=raw,unit=0,readonly=on,file=${ovmf}_CODE_4M.fd")
        arguments+=(-drive "if=pflash,format=raw,unit=1,file=$out/variables.fd")
    else
        arguments+=(-vga std)
    fi
    for disk in "$@"; do arguments+=(-drive "file=$out/${disk/,/,,},if=virtio,snapshot=on"); done
    timeout 600 qemu-system-x86_64 -machine pc,accel=tcg -cpu max -m 768 -nodefaults -no-reboot -display none \
        -serial "file:$out/console" "${arguments[@]}" 2> "$out/errors" || echo "QEMU's exit status is $?"
    tr -d '\r' < "$out/console" || true
    cat "$out/errors"
    [ ! -s "$out/errors" ] && said "GUEST-FIRMWARE $firmware" && said NIX-IMAGEGEN-GUEST-OK
}
said() {
    grep -aqE "(^|[^ -~])$1\$" <(tr -d '\r' < "$out/console") || { echo "the guest has not said: $1"; return 1; }
}

boots_from_boot_disk() { # bios|efi LOADER
    boot_disk "$2" && store_image && machine "$1" "boot-$2" store
}
boots_with_root_disk() { # bios|efi LOADER
    boot_disk "$2" && root_disk none - && machine "$1" "boot-$2" root-none--
}
boots_from_one_disk() { # bios|efi TABLE LOADER
    root_disk "$2" "$3" && machine "$1" "root-$2-$3"
}
# What Nix has said in the last boot, which must have been of a root disk.
nix_in_guest() { tr -d '\r' < "$out/console" | grep -aE 'GUEST-NIX|error'; said "$1"; }
nix_judges() { # DISK
    try "$1: Nix opens its database read-only" nix_in_guest "GUEST-NIX-READ-ONLY $paths"
    try "$1: nix-store --verify --check-contents" nix_in_guest GUEST-NIX-VERIFIES
    try "$1: nix path-info" nix_in_guest "GUEST-NIX-PATH-INFO $paths"
}

for loader in systemd-boot grub systemd-boot,grub; do
    [ "$loader" = systemd-boot ] || try "boot-disk $loader, BIOS" boots_from_boot_disk bios "$loader"
    [ "$loader" = grub ] || try "boot-disk $loader, UEFI" boots_from_boot_disk efi "$loader"
done
try "root-disk none, boot-disk grub, BIOS" boots_with_root_disk bios grub
try "root-disk none, boot-disk systemd-boot, UEFI" boots_with_root_disk efi systemd-boot
nix_judges "root-disk none"
try "root-disk legacy grub, BIOS" boots_from_one_disk bios legacy grub
nix_judges "root-disk legacy"
try "root-disk efi systemd-boot, UEFI" boots_from_one_disk efi efi systemd-boot
nix_judges "root-disk efi"
try "root-disk hybrid grub, BIOS" boots_from_one_disk bios hybrid grub
try "root-disk hybrid systemd-boot, UEFI" boots_from_one_disk efi hybrid systemd-boot
try "root-disk hybrid systemd-boot,grub, BIOS" boots_from_one_disk bios hybrid systemd-boot,grub
try "root-disk hybrid systemd-boot,grub, UEFI" boots_from_one_disk efi hybrid systemd-boot,grub
nix_judges "root-disk hybrid"

# Other judges, without a machine.
e2fsck_judges() { # IMAGE, without a partition table
    qemu-img convert -O raw "$out/$1" "$out/raw" && e2fsck -fn "$out/raw"
}
fsck_fat_judges() { # DISK START SECTORS
    qemu-img convert -O raw "$out/$1" "$out/raw" &&
        dd "if=$out/raw" "of=$out/esp" bs=512 "skip=$2" "count=$3" status=none && fsck.fat -nv "$out/esp"
}
store_image_is_right() { store_image && qemu-img check "$out/store" && e2fsck_judges store; }
root_disk_is_right() { root_disk none - && qemu-img check "$out/root-none--" && e2fsck_judges root-none--; }
boot_disk_is_right() {
    boot_disk systemd-boot,grub && qemu-img check "$out/boot-systemd-boot,grub" &&
        fsck_fat_judges boot-systemd-boot,grub 2048 120799
}
try "store-image: e2fsck, qemu-img check" store_image_is_right
try "root-disk: e2fsck, qemu-img check" root_disk_is_right
try "boot-disk: fsck.fat, qemu-img check" boot_disk_is_right

# `run` starts a machine, which does not run but is complete: QEMU warns before. It must say nothing.
silent() { # GUEST CONFIG
    rm -f "$out"/tmp/*.qcow2 "$out"/tmp/*.fd
    printf 'toplevel = "%s"\n%s\n' "$(cat "$1/toplevel")" "$2" > "$out/tmp/vm.toml"
    cat "$out/tmp/vm.toml"
    (cd "$out/tmp" && echo quit | timeout 300 "$imagegen" run --accel tcg --store-root "$1/root" --config vm.toml -- \
        -S -display none -monitor stdio -serial null > "$out/said" 2> "$out/errors") || { cat "$out/errors"; return 1; }
    cat "$out/said"
    # Not QEMU's are what tells of the images that are made, and the program's own warnings.
    grep -vE '^(/.*: qcow2 of |warning: )' "$out/errors" && return 1
    grep -q 'QEMU.*monitor' "$out/said"
}
run_is_silent() { try "run, $1: QEMU says nothing" silent "$guest" "$2"; }
firmware='useEFIBoot = true
efi.firmware = "'$ovmf'_CODE_4M.fd"
efi.variables = "'$ovmf'_VARS_4M.fd"'
images='useNixStoreImage = true
registration = "'$guest'/registration"'
run_is_silent "direct boot" 'graphics = false'
run_is_silent "graphics and a keyboard" 'qemu.virtioKeyboard = true
cores = 2'
run_is_silent "BIOS" "useBootLoader = true
useBIOSBoot = true
$images"
run_is_silent "UEFI" "useBootLoader = true
$firmware
$images"
run_is_silent "store image" "$images"
run_is_silent "shares" 'sharedDirectories.a = { source = "/", target = "/a", securityModel = "mapped-xattr" }
sharedDirectories.b = { source = "/", target = "/b", securityModel = "mapped-file" }
sharedDirectories.c = { source = "/", target = "/c", securityModel = "passthrough" }'
run_is_silent "no share, no disk" 'mountHostNixStore = false
diskImage = false'
run_is_silent "TPM" 'tpm.enable = true'
run_is_silent "TPM by CRB" 'tpm.enable = true
tpm.deviceModel = "tpm-crb"'
run_is_silent "networks" 'vlans = [1, 2]
interfaces.lan = { vlan = 3, assignIP = true }'
run_is_silent "forwarded ports" 'restrictNetwork = true
forwardPorts = [
    { from = "host", host.port = 22222, guest.port = 22 },
    { from = "host", proto = "udp", host.port = 22223, guest.port = 23 },
    { from = "guest", host = { address = "127.0.0.1", port = 22224 }, guest = { address = "10.0.2.10", port = 80 } },
]'
for interface in virtio scsi ide; do
    run_is_silent "empty disks by $interface" "emptyDiskImages = [10, 20]
qemu.diskInterface = \"$interface\""
done
truncate -s 1M "$out/own.raw"
run_is_silent "a drive of one's own" 'qemu.drives = [{ name = "own", file = "'$out'/own.raw",
    driveExtraOpts = { format = "raw", cache = "unsafe" }, deviceExtraOpts = { serial = "own" } }]'
arm() { try "run, aarch64, $1: QEMU says nothing" silent "$here/target/guest-aarch64" "$2"; }
arm "direct boot" 'graphics = false'
arm "UEFI and a TPM" "useBootLoader = true
useEFIBoot = true
tpm.enable = true
efi.firmware = \"$tree/usr/share/AAVMF/AAVMF_CODE.fd\"
efi.variables = \"$tree/usr/share/AAVMF/AAVMF_VARS.fd\"
useNixStoreImage = true
registration = \"$here/target/guest-aarch64/registration\""

echo
for package in grub-pc-bin systemd-boot-efi ovmf qemu-system-x86 nix-bin e2fsprogs; do
    say "$package" "$(cat "$sid/done/$package")"
done
say Linux "$(basename "$tree"/usr/lib/modules/*-cloud-amd64)"
[ "$failures" = 0 ] || { echo "$failures failed; what they said is in ${out#"$here/"}"; exit 1; }
